"""Synchronous and asynchronous saves, their remains when they fail, and which are retained.

Modules: launcher.workers.checkpoints.directory, launcher.workers.checkpoints.pruning,
launcher.workers.checkpoints.retention.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    lines = tried(tmp_path, "meanwhile", "failing", "retained")
    assert lines[:2] == [
        "WARNING checkpoint at step 2 failed: rank 1: Input/output error",
        "WARNING checkpoint at step 3 failed: rank 0: Input/output error",
    ]
    line = r"checkpoint took [0-9.e-]+ s; for an MTBF of 6 h the interval that loses least is \d+ s"
    assert re.fullmatch(line + r", every 1 steps of 100 s", lines[2]), lines[2]
    assert re.fullmatch(line, lines[3]), "the second attempt does not know what a step takes"
    remain = "checkpoints after step 3 remain: 2 of 2 later ones could not be removed"
    assert lines[4:] == [f"WARNING {remain}"]


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
