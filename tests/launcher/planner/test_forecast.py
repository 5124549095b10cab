"""Predictions of a grid, corrected by the runs that have ended."""

from typing import Any

import numpy as np
import pytest

from launcher.planner.forecast import Forecast, Grid, Observation
from launcher.planner.points import GIB
from tests.launcher.planner.made import grid as grid_of
from tests.launcher.planner.made import points

ROWS: list[dict[str, Any]] = [
    {"tp": tp, "micro_batch": micro, "sp": tp > 1} for tp in (1, 2, 4) for micro in (1, 2, 4)
]
GRID = grid_of(points(*ROWS, gpus=8, zero=1, global_batch=64))


def forecast(runs: dict[int, Observation] | None = None, grid: Grid = GRID) -> Forecast:
    return Forecast(grid=grid, observations=runs or {})


def test_before_any_run_the_formulas_are_what_is_expected() -> None:
    now = forecast()
    assert now.log_seconds.tolist() == np.log(GRID.seconds).tolist()
    assert now.reported_bytes.tolist() == GRID.reported_bytes.tolist()
    # 64 sequences of 512 tokens, on 8 cards
    assert now.speed == pytest.approx(64 * 512 / 8 / GRID.seconds)


def test_a_machine_that_is_slower_is_slower_everywhere() -> None:
    runs = {i: Observation(fitted=True, step=1.3 * GRID.seconds[i]) for i in (0, 4, 8)}
    now = forecast(runs)
    assert np.exp(now.log_seconds) / GRID.seconds == pytest.approx([1.3] * 9, rel=0.06)
    assert (now.deviation < forecast().deviation).all()


def test_a_run_that_failed_of_something_else_says_nothing() -> None:
    now, unchanged = forecast({3: Observation(fitted=None)}), forecast()
    for name in ("log_seconds", "deviation", "oom", "required_bytes"):
        assert getattr(now, name).tolist() == getattr(unchanged, name).tolist()


def tight(factor: float) -> Grid:
    """Put the points on cards with so many times the memory that the second one requires."""
    memory = float(factor * forecast().required_bytes[1])
    return grid_of(points(*ROWS, gpus=8, zero=1, global_batch=64, memory=memory))


def test_room_is_what_the_device_has_over_what_is_wanted() -> None:
    grid = tight(1.1)
    assert grid.room[1] == pytest.approx(np.log(1.1))
    assert forecast(grid=tight(1.0)).oom[1] == pytest.approx(0.5)


def test_whether_a_run_fitted_moves_what_the_others_want() -> None:
    grid = tight(1.03)
    prior = forecast(grid=grid)
    worse = forecast({1: Observation(fitted=False)}, grid)
    better = forecast({1: Observation(fitted=True, step=1.0)}, grid)
    assert (better.required_bytes < prior.required_bytes).all() and (
        prior.required_bytes < worse.required_bytes
    ).all()
    assert better.oom[1] < 0.8 * prior.oom[1] and worse.oom[1] > 0.6 > 0.5 > prior.oom[1]


def test_measured_memory_says_it_exactly() -> None:
    grid = tight(1.03)
    now = forecast(
        {1: Observation(fitted=True, step=1.0, memory=0.9 * grid.reported_bytes[1])}, grid
    )
    assert now.reported_bytes[1] / grid.reported_bytes[1] == pytest.approx(0.9, rel=0.01)
    assert now.required_bytes[1] / GIB == pytest.approx(
        0.9 * grid.points.memory[1] / 1.03 / GIB, rel=0.01
    )
    assert now.oom[1] < 0.01


def test_an_axis_that_no_formula_knows_is_learnt() -> None:
    rows = [{**row} for row in ROWS for _ in range(2)]
    kernel = [[i % 2] for i in range(len(rows))]
    grid = grid_of(points(*rows, gpus=8, zero=1, global_batch=64), kernel)
    runs = {
        i: Observation(fitted=True, step=(1.4 if i % 2 else 1.0) * grid.seconds[i])
        for i in (0, 1, 6, 7)
    }
    factor = np.exp(forecast(runs, grid).log_seconds) / grid.seconds
    assert factor[[10, 16]] == pytest.approx([1.0, 1.0], rel=0.06)
    assert factor[[11, 17]] == pytest.approx([1.4, 1.4], rel=0.06)


def test_where_memory_has_no_known_end_everything_fits() -> None:
    grid = grid_of(points(*ROWS, gpus=8, global_batch=64, cpu=1, memory=np.inf))
    runs = {
        0: Observation(fitted=True, step=1.0),
        1: Observation(fitted=False),
        2: Observation(fitted=None),
    }
    for now in (forecast(grid=grid), forecast(runs, grid)):
        assert now.oom.tolist() == [0.0] * 9
        assert np.isfinite(now.reported_bytes).all() and np.isfinite(now.speed).all()


def test_draws_are_around_what_is_expected_and_move_together() -> None:
    chosen = np.array([0, 1])
    drawn = np.log(forecast().draw(chosen, 20_000, seed=3))
    assert drawn.mean(axis=0) == pytest.approx(np.log(forecast().speed[chosen]), abs=0.01)
    assert drawn.std(axis=0) == pytest.approx(forecast().deviation[chosen], rel=0.05)
    assert np.corrcoef(drawn.T)[0, 1] > 0.7
    assert (drawn == np.log(forecast().draw(chosen, 20_000, seed=3))).all()


def test_one_point_alone_has_no_axes() -> None:
    grid = grid_of(points())
    assert grid.time_axes.modelled.shape == (1, 0)
    assert forecast({0: Observation(fitted=True, step=1.0)}, grid).speed[0] == pytest.approx(
        4096, rel=0.05
    )


def test_points_that_recompute_other_work_or_have_other_stages_are_apart() -> None:
    rows: list[dict[str, Any]] = [
        {},
        {"recompute": "selective"},
        {"recompute": "selective", "recompute_modules": ("layernorm",)},
        {"recompute": "selective", "recompute_modules": ("layernorm", "mlp")},
        {"recompute": "selective", "recompute_modules": ("core_attn", "mlp")},
        {"recompute": "selective", "recompute_modules": ("moe_act",)},
        {"recompute": "full", "recompute_layers": 1},
        {"recompute": "full"},
        {"recompute": "full", "recompute_layers": 2, "recompute_method": "uniform"},
        {"stages": [1, 3]},
        {"stages": [0, 4]},
    ]
    choices = grid_of(points(*rows, pp=2, gpus=2))
    for axes in (choices.time_axes, choices.memory_axes):
        assert len({tuple(place) for place in axes.modelled.tolist()}) == len(rows)
