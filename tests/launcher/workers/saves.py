"""A rank that saves plain tensors in every way, and checks which checkpoints are there when."""

import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from launcher.files import read_json
from launcher.results.run_folder import RunFolder
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.workers import measure, train
from launcher.workers.checkpoints import tensorfile
from launcher.workers.checkpoints.checkpoints import NOTHING, READY, WRITING, Checkpoints
from launcher.workers.checkpoints.manifest import Piece
from launcher.workers.checkpoints.matrix_regions import Region
from launcher.workers.checkpoints.saving import HostMemory
from launcher.workers.checkpoints.tensorfile import KINDS, CheckpointReader, PieceTensors
from launcher.workers.model import platform
from tests import limits
from tests.launcher.workers import ranks

RANK, RANKS = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE"))
AT_ONCE, MEANWHILE = Checkpointing(), Checkpointing(asynchronous=True)


class Weights:
    """As many parameters as a model has, in one matrix of one row; each rank has a part of it."""

    def __init__(self, spec: RunSpec) -> None:
        width = spec.model.params // RANKS
        self.region = Region(0, 1, RANK * width, (RANK + 1) * width)
        self.tensors = {kind: torch.randn(width) for kind in KINDS}

    def contents(self) -> list[PieceTensors]:
        columns = (self.region.left, self.region.right)
        return [
            PieceTensors(Piece(name="all", rows=(0, 1), columns=columns, steps=1), self.tensors)
        ]

    def lacks(self, reader: CheckpointReader) -> str | None:
        return None if reader.has("all", self.region) else "all is not all there"

    def restore(self, reader: CheckpointReader) -> None:
        for kind, tensor in self.tensors.items():
            reader.read("all", kind, self.region, tensor.view(1, -1))


class Run:
    """A run's folder, and what one attempt does there."""

    def __init__(self, path: Path, policy: Checkpointing, spec: RunSpec | None = None) -> None:
        self.folder = RunFolder(path)
        self.spec = spec or ranks.spec(RANKS)
        self.state: Any = Weights(self.spec)
        path.mkdir(parents=True, exist_ok=True)
        measure.gather([0.0])
        self.checkpoints = Checkpoints(self.folder, self.spec, 1, policy)

    def save(self, step: int, score: float | None = None) -> bool:
        return self.checkpoints.save(step, self.state, {"step": step}, score)

    def settle(self) -> list[int]:
        """Settle by the flags of all ranks, and return these."""
        flags = [int(flag) for (flag,) in measure.gather([self.checkpoints.flag])]
        self.checkpoints.settle(flags)
        return flags

    def load(self, until: int | None = None) -> int | None:
        loaded = self.checkpoints.load(self.state, until)
        return loaded and loaded.step

    @property
    def names(self) -> list[str]:
        """Names in the folder, those of steps without their zeros."""
        measure.gather([0.0])
        names = sorted(path.name.replace("-000000", "-") for path in self.path.iterdir())
        measure.gather([0.0])
        return names

    @property
    def path(self) -> Path:
        return self.folder.checkpoints

    def events(self) -> list[dict[str, Any]]:
        return self.folder.events()


def main() -> None:
    """Do what MEGALAUNCH_TRY names, in the folder MEGALAUNCH_FOLDER."""
    platform.join(timedelta(seconds=limits.EVENT))
    torch.manual_seed(RANK)
    for name in os.environ["MEGALAUNCH_TRY"].split():
        TRIES[name](Path(os.environ["MEGALAUNCH_FOLDER"]))
    train._leave(0)


def meanwhile(folder: Path) -> None:
    """Compare an asynchronous save with a synchronous one: the same to the bit."""
    sync, asynchronous = Run(folder / "at_once", AT_ONCE), Run(folder / "meanwhile", MEANWHILE)
    asynchronous.state = sync.state
    assert sync.save(1) and sync.checkpoints.flag == NOTHING
    with held_back() as go_on:
        assert asynchronous.save(1)
        for tensor in asynchronous.state.tensors.values():
            tensor.add_(1)
        assert asynchronous.settle() == [WRITING, WRITING] and "step-01" not in asynchronous.names
        if RANK:
            go_on()
            asynchronous.checkpoints._pending.writing.result()
        measure.gather([0.0])
        assert asynchronous.settle() == [WRITING, READY] and "step-01" not in asynchronous.names
        go_on()
        asynchronous.checkpoints._pending.writing.result()
    assert asynchronous.settle() == [READY, READY] and asynchronous.names == ["latest", "step-01"]
    assert asynchronous.settle() == [NOTHING, NOTHING] and asynchronous.checkpoints.finish() is None
    for name in (f"rank{RANK}.safetensors", "manifest.json"):
        first, second = (run.path / "step-00000001" / name for run in (sync, asynchronous))
        assert first.read_bytes() == second.read_bytes(), name
    # The next one waits for the one before, and is from the same memory.
    assert asynchronous.save(2) and asynchronous.save(3) and "step-02" in asynchronous.names
    assert asynchronous.checkpoints.finish() and asynchronous.load() == 3
    assert asynchronous.names == ["latest", "step-02", "step-03"], (
        "what does not stay is gone by then"
    )
    kinds = [(event["kind"], event["step"], event["bytes"]) for event in asynchronous.events()]
    size = sum(path.stat().st_size for path in (asynchronous.path / "step-00000003").glob("rank*"))
    assert kinds == [("save", step, size) for step in (1, 2, 3)]
    assert all(0 < event["waited_s"] <= event["seconds"] + 1 for event in asynchronous.events())


@contextmanager
def held_back() -> Iterator[Any]:
    """Hold all writing back until the function that this gives is called."""
    gate, write = threading.Event(), tensorfile.write

    def waiting(*args: Any) -> None:
        assert gate.wait(limits.EVENT)
        write(*args)

    with mock.patch.object(tensorfile, "write", waiting):
        yield gate.set


def failing(folder: Path) -> None:
    """Fail in the thread, and when the save is made visible: earlier checkpoints stay."""
    run = Run(folder / "failing", MEANWHILE)
    assert run.save(1) and run.checkpoints.finish()
    broken = OSError(errno.EIO, "")
    with mock.patch.object(tensorfile, "write", side_effect=broken if RANK else tensorfile.write):
        assert run.save(2) and run.checkpoints.finish() is False
    assert run.names == ["latest", "step-01"]
    with mock.patch.object(Path, "rename", side_effect=broken):
        assert run.save(3) and run.checkpoints.finish() is False
    assert run.names == ["latest", "step-01"] and run.load() == 1
    assert [(event["kind"], event.get("reason")) for event in run.events()] == [
        ("save", None),
        ("save_failed", "Input/output error"),
        ("save_failed", "Input/output error"),
    ]


def full(folder: Path) -> None:
    """Save on a disk for two checkpoints and a half, then for none, then read-only."""
    run = Run(folder / "disk" / "run", AT_ONCE)
    assert run.save(1) and run.save(2) and run.names == ["latest", "step-01", "step-02"]
    assert run.save(3), "there is room without the first"
    assert run.names == ["latest", "step-02", "step-03"]
    ballast = folder / "disk" / "ballast"
    if RANK == 0:
        fill(ballast)
    measure.gather([0.0])
    assert not run.save(4) and run.names == ["latest", "step-03"], "the first to go was no use"
    assert not run.save(5) and run.names == ["latest", "step-03"], "the last good one stays"
    if RANK == 0:
        ballast.unlink()
    measure.gather([0.0])
    assert run.save(6) and run.names == ["latest", "step-03", "step-06"]
    assert run.load() == 6
    steps = [event["step"] for event in run.events() if event["kind"] == "save"]
    assert steps == [1, 2, 3, 6], "every line is whole; there may have been no room for others"
    if RANK == 0:
        subprocess.run(["mount", "-o", "remount,ro", folder / "disk"], check=True)
    measure.gather([0.0])
    run = Run(folder / "disk" / "run", AT_ONCE)
    assert not run.save(7) and run.load() == 6


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def retained(folder: Path) -> None:
    """Retain the best, name the newest in `latest`; a rollback goes back and begins anew."""
    policy = Checkpointing(keep_last=1, keep_every=4, keep_best=True, mtbf_hours=6)
    run = Run(folder / "retained", policy)
    run.checkpoints.step_seconds = 100.0
    scores = [2.5, 1.5, 2.0, 3.0, float("nan"), 1.5]
    for step, score in enumerate(scores, 1):
        assert run.save(step, score)
    assert run.names == ["latest", "step-04", "step-06"], "of two that are as good, the later"
    run = Run(folder / "retained", policy)
    assert run.save(7, 1.6) and run.names == ["latest", "step-04", "step-06", "step-07"]
    latest = run.path / "latest"
    assert latest.read_text() == "step-00000007\n"
    assert run.load(until=6) == 6
    assert run.load(until=5) == 4
    stuck = run.path / ".step-00000006.dropped"
    if RANK == 0:
        stuck.mkdir()
        (stuck / ".nfs01").touch()
    with mock.patch.object(shutil, "rmtree"):
        assert run.checkpoints.forget_after(5), "although what is dropped cannot be swept"
    if RANK == 0:
        run.checkpoints._directory.sweep()
    assert run.names == ["latest", "step-04"] and latest.read_text() == "step-00000004\n"
    assert run.save(5, 9.0) and run.names == ["latest", "step-04", "step-05"]
    with mock.patch.object(Path, "rename", side_effect=OSError(errno.EACCES, "")):
        assert not run.checkpoints.forget_after(3), "every rank is told"
    assert run.checkpoints.forget_after(3)
    assert run.names == [] and run.load() is None
    every = [event.get("suggested_every") for event in run.events()]
    assert [number is None for number in every] == [False, *[True] * 5, True, True], every


def killed(folder: Path) -> None:
    """Be killed in the middle of what the thread writes."""
    run = Run(folder / "killed", MEANWHILE)
    assert run.save(1) and run.checkpoints.finish()
    write, calls = tensorfile.HashedFile.write, []

    def last(self: Any, data: Any) -> None:
        calls.append(data)
        if len(calls) == 4:
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, data)

    with mock.patch.object(tensorfile.HashedFile, "write", last):
        assert run.save(2)
        signal.pause()


def after(folder: Path) -> None:
    """Find the earlier checkpoint in the attempt after that."""
    hidden = folder / "killed" / "checkpoints" / ".step-00000002.attempt1"
    assert hidden.is_dir() and not (hidden / "manifest.json").exists()
    measure.gather([0.0])
    run = Run(folder / "killed", MEANWHILE)
    assert run.names == ["latest", "step-01"] and run.load() == 1
    assert read_json(run.path / "step-00000001" / "manifest.json")["step"] == 1


def without_memory(folder: Path) -> None:
    """Wait for saves where nobody asked for a copy, and rank 1 has no memory for one."""
    run = Run(folder / "without_memory", AT_ONCE)
    run.checkpoints._asynchronous = True  # as on a card
    no_memory = mock.patch.object(HostMemory, "reserve", lambda *_, **__: errno.ENOMEM * RANK)
    with no_memory:
        assert run.save(1) and run.checkpoints.flag == NOTHING and "step-01" in run.names
        assert run.save(2) and run.checkpoints._memory._buffer is None
    asked = Run(folder / "asked_for", MEANWHILE)
    with no_memory:
        assert not asked.save(1) and asked.names == []


TRIES = {
    function.__name__: function
    for function in (meanwhile, failing, full, retained, without_memory, killed, after)
}
