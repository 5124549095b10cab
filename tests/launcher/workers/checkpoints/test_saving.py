"""Synchronous and asynchronous saves, their remains when they fail, and which are retained.

Modules: launcher.workers.checkpoints.directory, launcher.workers.checkpoints.pruning,
launcher.workers.checkpoints.retention, launcher.workers.checkpoints.saving.
"""

import errno
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psutil
import pytest
import torch

from launcher.workers.checkpoints import saving
from launcher.workers.checkpoints.manifest import Piece
from launcher.workers.checkpoints.saving import HostMemory
from launcher.workers.checkpoints.tensorfile import KINDS, HashedFile, PieceTensors, Staging
from launcher.workers.model import platform
from tests.launcher.workers import ranks

NOT_ROOT = os.geteuid() != 0


def tried(folder: Path, *names: str, alive: bool = True) -> list[str]:
    """Have two ranks call functions of `saves`; return the lines they printed."""
    env = {"MEGALAUNCH_TRY": " ".join(names), "MEGALAUNCH_FOLDER": str(folder)}
    program = "from tests.launcher.workers import saves; saves.main()"
    run = ranks.train(ranks.spec(2), folder / names[0], folder, program=program, env=env)
    assert not alive or run.codes == [0, 0], run.log(0) + run.log(1)
    return [line for rank in range(2) for line in run.log(rank).splitlines()]


def test_saves(tmp_path: Path) -> None:
    lines = tried(tmp_path, "meanwhile", "failing", "retained", "without_memory")
    assert lines[:2] == [
        "WARNING checkpoint at step 2 failed: rank 1: Input/output error",
        "WARNING checkpoint at step 3 failed: rank 0: Input/output error",
    ]
    line = r"checkpoint took [0-9.e-]+ s; for an MTBF of 6 h the interval that loses least is \d+ s"
    assert re.fullmatch(line + r", every 1 steps of 100 s", lines[2]), lines[2]
    assert re.fullmatch(line, lines[3]), "the second attempt does not know what a step takes"
    remain = "checkpoints after step 3 remain: 2 of 2 later ones could not be removed"
    assert lines[4:] == [
        f"WARNING {remain}",
        "WARNING training waits for checkpoints: no host memory for a copy",
        "WARNING checkpoint at step 1 failed: rank 1: Cannot allocate memory",
    ]


def test_killed_while_it_writes(tmp_path: Path) -> None:
    tried(tmp_path, "killed", alive=False)
    assert tried(tmp_path, "after") == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a small disk in it; a checkpoint takes 2.3 MiB."""
    (tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", tmp_path / "disk"], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path / "disk"], check=True)


@pytest.mark.skipif(NOT_ROOT, reason="only root may mount")
def test_a_full_disk(disk: Path) -> None:
    assert [re.sub(r"rank \d", "RANK", line) for line in tried(disk, "full")] == [
        "WARNING checkpoint at step 4 failed: RANK: No space left on device",
        "WARNING checkpoint at step 5 failed: RANK: No space left on device",
        "WARNING checkpoint at step 7 failed: RANK: Read-only file system",
    ]


class Cudart:
    """CUDA's runtime, as far as it pins memory: a record of what it was asked for."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.calls = code, list[tuple[str, int]]()

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        self.calls.append(("pin", size))
        return self.code

    def cudaHostUnregister(self, address: int) -> int:
        self.calls.append(("unpin", address))
        return 0


def piece(elements: int) -> PieceTensors:
    columns = (0, elements)
    tensors = {kind: torch.zeros(elements) for kind in KINDS}
    return PieceTensors(Piece(name="all", rows=(0, 1), columns=columns, steps=1), tensors)


def test_pinned_memory_is_not_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Cudart()
    monkeypatch.setattr(platform, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    memory = HostMemory()
    assert memory.reserve([piece(1000)]) == memory.reserve([piece(1000)]) == 0
    assert memory._buffer is not None
    first = memory._buffer.data_ptr()
    assert memory.reserve([piece(1000), piece(1)]) == 0
    assert runtime.calls == [("pin", 12_000), ("unpin", first), ("pin", 12_012)]
    runtime.code, five = 2, piece(5)  # cudaErrorMemoryAllocation
    kernels = mock.Mock(side_effect=RuntimeError("CUDA error: out of memory"))
    monkeypatch.setattr(torch, "zeros", kernels)
    assert memory.reserve([five]) == errno.ENOMEM and memory._buffer is None
    assert kernels.called, "the error of CUDA is taken away"


def test_memory_that_nobody_asked_for_is_what_may_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(saving, "free_memory", lambda: 2 * 12_000 - 1)
    assert HostMemory().reserve([piece(1000)], asked=False) == errno.ENOMEM
    assert HostMemory().reserve([piece(1000)]) == 0
    monkeypatch.setattr(saving, "free_memory", lambda: 2 * 12_000)
    assert HostMemory().reserve([piece(1000)], asked=False) == 0


def test_a_cgroup_limits_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < saving.free_memory() <= psutil.virtual_memory().total
    monkeypatch.setattr(saving, "CGROUPS", tmp_path)
    files = {
        "memory.max": "9000",
        "memory.current": "5000",
        "memory.stat": "file 3\ninactive_file 70",
    }
    inner = {"memory.max": "max"}
    texts = {tmp_path / "job" / name: text for name, text in files.items()}
    texts |= {tmp_path / "job" / "step" / name: text for name, text in inner.items()}
    texts[Path("/proc/self/cgroup")] = "0::/job/step\n"

    def read(path: Path) -> str:
        if path not in texts:
            raise FileNotFoundError(path)
        return texts[path]

    monkeypatch.setattr(Path, "read_text", read)
    assert saving.free_memory() == 9000 - 5000 + 70


class OnCard(torch.Tensor):
    """A tensor that says it is a card's."""

    device = SimpleNamespace(type="cuda")  # type: ignore[assignment]


def test_chunks_of_a_card_pass_through_pinned_memory_while_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = torch.empty, []

    def empty(*sizes: int, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        made.append(pin_memory)
        return real(*sizes, **options)

    monkeypatch.setattr(torch, "empty", empty)
    values = [torch.full((1000,), float(n)).as_subclass(OnCard) for n in range(9)]
    file, staging = HashedFile(tmp_path / "file"), Staging()
    for value in values:
        file.write(staging.on_host(value).numpy())
    size, digest = file.finish()
    file.close()
    assert made == [True] * 3, "as many as are under way, and the one that is copied"
    content = b"".join(value.as_subclass(torch.Tensor).numpy().tobytes() for value in values)
    assert (tmp_path / "file").read_bytes() == content
    assert (size, digest) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_write_that_fails_is_told(tmp_path: Path) -> None:
    file = HashedFile(tmp_path / "file")
    file._file.close()
    file._file = (tmp_path / "file").open("rb")  # type: ignore[assignment]
    with pytest.raises(OSError):
        for _ in range(9):
            file.write(b"x")
    file.close()
