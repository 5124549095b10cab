"""Checkpoints at another layout, node count or engine: the same training goes on.

Modules: launcher.workers.checkpoints.training_state.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from launcher.backends import BACKENDS
from tests.conftest import ROOT
from tests.launcher.workers import ranks

DS = {"backend": "deepspeed"}
PP = {"layout__pp": 2}
BF16 = {"train__precision": "bf16"}
SP = {"layout__tp": 2, "layout__sequence_parallel": True}

SMALL = {"train__global_batch": 4}

CHAINS: dict[str, tuple[dict[str, Any], list[tuple[int, list[dict[str, Any]]]]]] = {
    "fp32": (
        {},
        [
            (1, [{}]),
            (
                2,
                [
                    {**SP, "layout__zero": 0},
                    {**PP, "layout__zero": 0},
                    {"layout__zero": 1},
                    {**DS, "layout__zero": 3},
                    {**DS, "layout__zero": 2},
                    {"layout__zero": 0},
                    {"layout__cp": 2, "layout__zero": 0},
                    {**DS, **SP, "layout__zero": 1},
                    {**DS, **PP, "layout__zero": 0},
                    {**DS, "layout__zero": 3, "layout__offload": True},
                    {**DS, **PP, "layout__zero": 1},
                    {**PP, "layout__vpp": 2},
                    {**PP, "layout__pipeline": "Et|t*3L"},
                    {**DS, **PP, "layout__zero": 1, "layout__pipeline": "Et*3|tL"},
                    {**PP, "layout__vpp": 3, "layout__pipeline": "E|(t|)*4L"},
                    {**DS, "layout__zero": 0},
                ],
            ),
        ],
    ),
    "bf16": (
        BF16,
        [
            (
                2,
                [
                    {"layout__zero": 1},
                    {**DS, "layout__zero": 2},
                    {"layout__zero": 0},
                    {**DS, "layout__zero": 1},
                    {**DS, "layout__zero": 3},
                    {**DS, **PP, "layout__zero": 0},
                    {**DS, "layout__zero": 2, "layout__offload": True},
                ],
            )
        ],
    ),
    "experts": (
        {"model__experts": 4, "train__moe_aux_loss": 0.05},
        [
            (
                2,
                [
                    {"layout__ep": 2, "layout__zero": 0},
                    {**DS, "layout__zero": 3},
                    {"layout__ep": 1, "layout__zero": 1},
                    {**DS, "layout__ep": 2, "layout__zero": 1},
                    {**SP, "layout__ep": 2, "layout__zero": 1},
                    {**SP, "layout__ep": 1, "layout__zero": 0},
                    {**DS, "layout__zero": 2, "layout__ep": 2},
                ],
            )
        ],
    ),
    "tied": (
        {"model__tied": True},
        [(2, [{**PP, "layout__zero": 0}, {**DS, "layout__zero": 3}, PP])],
    ),
    "three ranks, which divide no size": (
        {"train__global_batch": 6},
        [
            (3, [{"layout__zero": 1}, {**DS, "layout__zero": 1}, {**DS, "layout__zero": 3}]),
            (1, [{}]),
        ],
    ),
}
"""Changes common to a chain, then its layouts by number of ranks: one start of Python for each."""


@pytest.mark.parametrize("name", CHAINS)
def test_each_goes_on_bit_by_bit_and_takes_over_from_the_one_before(
    name: str, tmp_path: Path, cache: Path
) -> None:
    common, parts = CHAINS[name]
    previous = None
    for number, (count, layouts) in enumerate(parts):
        folder = tmp_path / str(number)
        chain(folder, cache, count, [SMALL | common | changes for changes in layouts], previous)
        previous = folder / str(len(layouts) - 1)


def chain(
    folder: Path, cache: Path, count: int, cases: list[dict[str, Any]], previous: Path | None
) -> None:
    """Try cases, the first one after the case that is in folder ``previous``."""
    env = {"MEGALAUNCH_CASES": json.dumps(cases)}
    env |= {"MEGALAUNCH_PREVIOUS": str(previous)} if previous else {}
    program = "from tests.launcher.workers import rebuilt; rebuilt.main()"
    run = ranks.train(ranks.spec(count, **cases[0]), folder, cache, program=program, env=env)
    assert not any(run.codes), "\n".join(run.log(rank) for rank in range(count))


P = ranks.TINY.params
VECTORS = ranks.TINY.hidden * (2 * ranks.TINY.layers + 1)

BYTES_READ: list[tuple[dict[str, Any], int]] = [
    ({"layout__zero": 0}, 2 * 12 * P),  # weights and moments, on each of two ranks
    ({"layout__zero": 1}, 2 * 4 * P + 8 * P),  # every weight on each, moments once
    ({"layout__tp": 2, "layout__zero": 0}, 12 * (P + VECTORS)),  # but for norms, all once
    (PP, 12 * P),
    ({**BF16, "layout__zero": 1}, 2 * 4 * P + 12 * P),  # fp32 besides what is cast from it
    ({**DS, "layout__zero": 2}, 2 * 4 * P + 12 * P),
    ({**DS, "layout__zero": 3}, 4 * P + 12 * P),
    ({**DS, **BF16, "layout__zero": 3}, 4 * P + 12 * P),
]
"""Bytes that two ranks read of one checkpoint."""

LINES = """\
| none
| (4, {'step': 4})
| flipped
| (2, {'step': 2})
| truncated
WARNING checkpoint at step 4 skipped: rank0.safetensors is not what was written
| (2, {'step': 2})
| missing
| (2, {'step': 2})
| manifest flipped
WARNING checkpoint at step 4 skipped: manifest.json is not what was written
| (2, {'step': 2})
| manifest missing
WARNING checkpoint at step 4 skipped: manifest.json: No such file or directory
| (2, {'step': 2})
| older format
WARNING checkpoint at step 4 skipped: manifest.json is not of format 3
| (2, {'step': 2})
| incomplete
WARNING checkpoint at step 4 skipped: decoder.layers.1.mlp.linear_fc1.weight is not all there
| (2, {'step': 2})
| renamed
WARNING checkpoint at step 5 skipped: it is of step 4
| (2, {'step': 2})
WARNING checkpoint at step 4 skipped: it is of trajectory X, this run of X
WARNING checkpoint at step 2 skipped: it is of trajectory X, this run of X
| another trajectory: None
| another model: step-00000004 is of another model: ffn is 128 in the checkpoint and 192 here
| another name: 4
| same run: 4
WARNING checkpoint at step 4 of RUNS/whole skipped: the stage before it ends with step 5
WARNING checkpoint at step 2 of RUNS/whole skipped: the stage before it ends with step 5
| too early: stage 2 (next) goes on from step 5, of which no whole checkpoint is in RUNS/whole; without its result.json the same command trains the end of that stage again
WARNING checkpoint at step 4 skipped: it is of trajectory X, this run of X
WARNING checkpoint at step 2 skipped: it is of trajectory X, this run of X
| in its own folder: stage 2 (next) goes on from step 4, of which no whole checkpoint is in RUNS/whole; without its result.json the same command trains the end of that stage again
| nothing: stage 2 (next) goes on from step 4, of which no whole checkpoint is in RUNS/here; without its result.json the same command trains the end of that stage again
WARNING checkpoint at step 2 of RUNS/flipped skipped: the stage before it ends with step 4
| damaged: stage 2 (next) goes on from step 4, of which no whole checkpoint is in RUNS/flipped; without its result.json the same command trains the end of that stage again
"""


def test_what_is_wrong_with_a_checkpoint_and_how_much_is_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"MEGALAUNCH_CASES": json.dumps([changes for changes, _ in BYTES_READ])}
    env |= {"MEGALAUNCH_FOLDER": str(tmp_path / "runs"), "MEGALAUNCH_CACHE": str(cache)}
    program = "from tests.launcher.workers import damaged; damaged.main()"
    run = ranks.train(ranks.spec(2), tmp_path / "run", cache, program=program, env=env)
    assert not any(run.codes), run.log(0) + run.log(1)
    logs = [run.log(rank).replace(str(tmp_path / "runs"), "RUNS") for rank in range(2)]
    logs = [re.sub(r"(trajectory|run of) [0-9a-f]{12}", r"\1 X", log) for log in logs]
    lines = [line for line in logs[0].splitlines() if line.startswith(("|", "WARNING"))]
    bytes_lines = [f"| read {number}" for _, number in BYTES_READ]
    assert lines == [*LINES.splitlines(), *bytes_lines]
    assert [line for line in logs[1].splitlines() if "WARNING" in line] == [
        "WARNING checkpoint at step 4 skipped: rank1.safetensors is not what was written",
        "WARNING checkpoint at step 4 skipped: rank1.safetensors: No such file or directory",
        "WARNING checkpoint at step 4 of RUNS/flipped skipped: rank1.safetensors is not what was written",
    ]
    path = tmp_path / "runs" / "whole" / "checkpoints" / "step-00000004"
    expected = BACKENDS["megatron"].checkpoint_bytes(ranks.spec(2))
    assert expected <= sum(file.stat().st_size for file in path.iterdir()) < 1.05 * expected
    monkeypatch.chdir(path)
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "checkpoints.md").read_text(), re.S
    )
    exec(code, namespace := {})
    assert namespace["whole"].shape == (256, 64) and namespace["whole"].isfinite().all()
