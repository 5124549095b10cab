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

from launcher.spec.checkpointing import Checkpointing
from launcher.workers.checkpoints.retention import retained_steps
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


@pytest.mark.parametrize(
    ("steps", "policy", "scores", "distance", "stay"),
    [
        ([], {}, {}, None, []),
        ([1], {}, {}, None, [1]),
        ([3, 1, 2], {}, {}, None, [2, 3]),
        ([1, 2, 3], {"keep_last": 1}, {}, None, [3]),
        ([0, 5, 10, 15, 20, 25], {"keep_every": 10}, {}, None, [10, 20, 25]),
        ([10, 20, 30, 40], {"keep_last": 1}, {}, None, [30, 40]),  # 30 is the last of the run
        ([1, 2, 3, 4], {}, {1: 0.5, 2: 0.7, 4: 0.9}, None, [3, 4]),  # nobody asked for the best
        ([1, 2, 3, 4], {"keep_best": True}, {1: 0.5, 2: 0.7, 4: 0.9}, None, [1, 3, 4]),
        ([1, 2, 3, 4], {"keep_best": True}, {1: 0.5, 2: 0.5}, None, [2, 3, 4]),
        ([1, 2, 3, 4], {"keep_best": True}, {0: 0.1}, None, [3, 4]),
        # a guard that goes back 20 steps or more: one that is old enough, and the next to be
        ([5, 10, 15], {"keep_last": 1}, {}, 20, [5, 15]),
        ([5, 15, 20, 25], {"keep_last": 1}, {}, 20, [5, 15, 25]),
        ([5, 15, 25, 35], {"keep_last": 1}, {}, 20, [15, 25, 35]),
    ],
)  # fmt: skip
def test_retained_steps(
    steps: list[int],
    policy: dict[str, object],
    scores: dict[int, float],
    distance: int | None,
    stay: list[int],
) -> None:
    checkpointing = Checkpointing(**policy)  # type: ignore[arg-type]
    assert sorted(retained_steps(steps, checkpointing, 30, scores, distance)) == stay


@pytest.mark.parametrize("every", [1, 7, 30, 200])
def test_a_rollback_always_finds_one(every: int) -> None:
    """There is one, and it is older than it has to be by at most the distance and a save."""
    steps: set[int] = set()
    for step in range(every, 2000, every):
        steps = retained_steps({*steps, step}, Checkpointing(keep_last=1), 10**6, {}, 100)
        ages = [step - retained for retained in steps if step - retained >= 100]
        assert (min(ages) < 200 + 2 * every) if ages else step < 100 + every
        assert len(steps) <= 3
