"""Checkpoints at another layout, node count or engine: the same training goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
import ranks

DS = {"backend": "deepspeed"}
PP = {"layout__pp": 2}
SP = {"layout__tp": 2, "layout__sequence_parallel": True}

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
                    {**DS, **SP, "layout__zero": 1},
                    {**DS, **PP, "layout__zero": 0},
                    {**DS, "layout__zero": 3, "layout__offload": True},
                    {**DS, **PP, "layout__zero": 1},
                    {**PP, "layout__vpp": 2},
                    {**DS, "layout__zero": 0},
                ],
            ),
        ],
    ),
    "bf16": (
        {"train__precision": "bf16"},
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
                    {"layout__ep": 1, "layout__zero": 1},
                    {**DS, "layout__ep": 2, "layout__zero": 1},
                    {**SP, "layout__ep": 2, "layout__zero": 1},
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
"""What all have in common, and ranks and layouts: one start of Python for each number of ranks."""


@pytest.mark.parametrize("name", CHAINS)
def test_each_goes_on_bit_by_bit_and_takes_over_from_the_one_before(
    name: str, tmp_path: Path, cache: Path
) -> None:
    common, parts = CHAINS[name]
    before = None
    for number, (count, layouts) in enumerate(parts):
        folder = tmp_path / str(number)
        chain(folder, cache, count, [common | changes for changes in layouts], before)
        before = folder / str(len(layouts) - 1)


def chain(
    folder: Path, cache: Path, count: int, cases: list[dict[str, Any]], before: Path | None
) -> None:
    """Try cases, the first one after another process's ``before``."""
    env = {"MEGALAUNCH_CASES": json.dumps(cases)}
    env |= {"MEGALAUNCH_BEFORE": str(before)} if before else {}
    program = "import rebuilt; rebuilt.main()"
    run = ranks.train(ranks.spec(count, **cases[0]), folder, cache, program=program, env=env)
    assert not any(run.codes), "\n".join(run.log(rank) for rank in range(count))
