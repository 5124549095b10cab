"""Points that one run rules out without any model."""

from typing import Any

import numpy as np
import pytest

from launcher.planner.forecast import Observation
from sweeps.dominance import dominated
from tests.launcher.planner.made import grid, points

OOM, FITS = Observation(fitted=False), Observation(fitted=True, step=1.0)

ROWS: list[dict[str, Any]] = [
    {"micro_batch": 1, "recompute": "none"},  # 0
    {"micro_batch": 1, "recompute": "full"},
    {"micro_batch": 2, "recompute": "none"},  # 2
    {"micro_batch": 2, "recompute": "selective"},
    {"micro_batch": 2, "recompute": "full"},  # 4
    {"micro_batch": 4, "recompute": "none"},
    {"micro_batch": 4, "recompute": "full"},  # 6
]


def ruled_out(runs: dict[int, Observation], *rows: dict[str, Any]) -> dict[int, str]:
    return dominated(grid(points(*(rows or ROWS))), runs)


@pytest.mark.parametrize(
    ("runs", "gone"),
    [
        ({}, set()),
        ({2: OOM}, {5}),  # a larger micro batch, without more recomputation
        ({3: OOM}, {2, 5}),
        ({4: OOM}, {2, 3, 5, 6}),
        ({5: OOM}, set()),
        ({0: OOM}, {2, 5}),
        ({0: FITS}, {1}),
        ({2: FITS}, {3, 4}),
        ({4: FITS}, set()),
        ({2: FITS, 4: OOM}, {2, 3, 4, 5, 6}),
        ({2: Observation(fitted=None)}, set()),  # it failed of something else
        ({2: Observation(fitted=True)}, set()),  # and so did this one, later
    ],
)
def test_more_of_the_same(runs: dict[int, Observation], gone: set[int]) -> None:
    assert set(ruled_out(runs)) == gone


PARTS: list[dict[str, Any]] = [
    {"recompute": "none"},  # 0
    {"recompute": "selective", "recompute_modules": ("layernorm",)},
    {"recompute": "selective", "recompute_modules": ("layernorm", "mlp")},  # 2
    {"recompute": "selective"},
    {"recompute": "full", "recompute_layers": 2},  # 4
    {"recompute": "full", "recompute_layers": 3},
    {"recompute": "full"},  # 6
]


@pytest.mark.parametrize(
    ("runs", "gone"),
    [
        ({1: FITS}, {2, 6}),  # core attention, and some layers, are other work
        ({0: FITS}, {1, 2, 3, 4, 5, 6}),
        ({4: FITS}, {5, 6}),
        ({2: OOM}, {0, 1}),
        ({5: OOM}, {0, 4}),
        ({6: OOM}, {0, 1, 2, 3, 4, 5}),
    ],
)
def test_what_recomputes_the_same_and_more(runs: dict[int, Observation], gone: set[int]) -> None:
    assert set(ruled_out(runs, *PARTS)) == gone


def test_the_reason_names_the_run() -> None:
    assert ruled_out({2: OOM}) == {5: "micro batch 2 ran out of memory, the rest equal"}
    assert ruled_out({0: FITS}) == {1: "the same fits with less recomputation"}


@pytest.mark.parametrize(
    "change",
    [
        {"tp": 2}, {"pp": 2}, {"cp": 2}, {"zero": 1}, {"sequence": 256}, {"layers": 2},
        {"gpus": 8}, {"engine": "deepspeed"}, {"offload": 1}, {"flash": 0}, {"global_batch": 4},
        {"number_format": "fp32"},
        {"ffn": 1024}, {"vocab": 128}, {"kv_heads": 2}, {"memory": 200 * 2**30},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_is_otherwise_different_is_open(change: dict[str, Any]) -> None:
    rows = [{"micro_batch": 1, "gpus": 4}, {"micro_batch": 2, "gpus": 4, **change}]
    assert ruled_out({0: OOM}, *rows) == {}
    assert ruled_out({0: OOM}, rows[0], {**rows[0], "micro_batch": 2}).keys() == {1}


def test_another_value_of_an_unknown_axis_is_open() -> None:
    choices = grid(
        points({"micro_batch": 1}, {"micro_batch": 2}, {"micro_batch": 2}), [[0], [0], [1]]
    )
    assert dominated(choices, {0: OOM}).keys() == {1}


def test_it_agrees_with_the_formulas() -> None:
    """Whatever is ruled out for memory is predicted to take at least as much."""
    rows = [{**row, "pp": pp, "tp": tp} for row in ROWS for pp in (1, 2) for tp in (1, 2)]
    choices = grid(points(*rows, gpus=4))
    for i in range(len(rows)):
        gone = list(dominated(choices, {i: OOM}))
        assert (choices.room[gone] <= choices.room[i] + 1e-9).all()
        slower = list(dominated(choices, {i: FITS}))
        assert (choices.seconds[slower] > choices.seconds[i]).all()
    assert np.isfinite(choices.room).all()
