"""Predictions of a grid, corrected by the runs that have been seen."""

from typing import Any

import numpy as np
import pytest

from launcher.planner.forecast import Forecast, Grid, Observation
from launcher.planner.points import GIB
from tests.launcher.planner.made import grid, points

ROWS: list[dict[str, Any]] = [
    {"tp": tp, "micro_batch": micro, "sp": tp > 1} for tp in (1, 2, 4) for micro in (1, 2, 4)
]
GRID = grid(points(*ROWS, gpus=8, zero=1, global_batch=64))


def forecast(seen: dict[int, Observation] | None = None, where: Grid = GRID) -> Forecast:
    return Forecast(grid=where, observations=seen or {})


def test_before_any_run_the_formulas_are_what_is_expected() -> None:
    now = forecast()
    assert now.log_seconds.tolist() == np.log(GRID.seconds).tolist()
    assert now.reported_bytes.tolist() == GRID.reported_bytes.tolist()
    # 64 sequences of 512 tokens, on 8 cards
    assert now.speed == pytest.approx(64 * 512 / 8 / GRID.seconds)


def test_a_machine_that_is_slower_is_slower_everywhere() -> None:
    seen = {i: Observation(fitted=True, step=1.3 * GRID.seconds[i]) for i in (0, 4, 8)}
    now = forecast(seen)
    assert np.exp(now.log_seconds) / GRID.seconds == pytest.approx([1.3] * 9, rel=0.06)
    assert (now.deviation < forecast().deviation).all()


def test_a_run_that_failed_of_something_else_says_nothing() -> None:
    now, before = forecast({3: Observation(fitted=None)}), forecast()
    for name in ("log_seconds", "deviation", "oom", "required_bytes"):
        assert getattr(now, name).tolist() == getattr(before, name).tolist()


def tight(factor: float) -> Grid:
    """The same points on cards that have so many times what the second one is predicted to want."""
    memory = float(factor * forecast().required_bytes[1])
    return grid(points(*ROWS, gpus=8, zero=1, global_batch=64, memory=memory))


def test_room_is_what_the_device_has_over_what_is_wanted() -> None:
    where = tight(1.1)
    assert where.room[1] == pytest.approx(np.log(1.1))
    assert forecast(where=tight(1.0)).oom[1] == pytest.approx(0.5)


def test_whether_a_run_fitted_moves_what_the_others_want() -> None:
    where = tight(1.03)
    before = forecast(where=where)
    worse = forecast({1: Observation(fitted=False)}, where)
    better = forecast({1: Observation(fitted=True, step=1.0)}, where)
    assert (better.required_bytes < before.required_bytes).all() and (
        before.required_bytes < worse.required_bytes
    ).all()
    assert better.oom[1] < 0.8 * before.oom[1] and worse.oom[1] > 0.6 > 0.5 > before.oom[1]


def test_measured_memory_says_it_exactly() -> None:
    where = tight(1.03)
    now = forecast(
        {1: Observation(fitted=True, step=1.0, memory=0.9 * where.reported_bytes[1])}, where
    )
    assert now.reported_bytes[1] / where.reported_bytes[1] == pytest.approx(0.9, rel=0.01)
    assert now.required_bytes[1] / GIB == pytest.approx(
        0.9 * where.points.memory[1] / 1.03 / GIB, rel=0.01
    )
    assert now.oom[1] < 0.01


def test_an_axis_that_no_formula_knows_is_learnt() -> None:
    rows = [{**row} for row in ROWS for _ in range(2)]
    kernel = [[i % 2] for i in range(len(rows))]
    where = grid(points(*rows, gpus=8, zero=1, global_batch=64), kernel)
    seen = {i: Observation(fitted=True, step=(1.4 if i % 2 else 1.0) * where.seconds[i])
            for i in (0, 1, 6, 7)}  # fmt: skip
    factor = np.exp(forecast(seen, where).log_seconds) / where.seconds
    assert factor[[10, 16]] == pytest.approx([1.0, 1.0], rel=0.06)
    assert factor[[11, 17]] == pytest.approx([1.4, 1.4], rel=0.06)


def test_where_memory_has_no_known_end_everything_fits() -> None:
    where = grid(points(*ROWS, gpus=8, global_batch=64, cpu=1, memory=np.inf))
    seen = {
        0: Observation(fitted=True, step=1.0),
        1: Observation(fitted=False),
        2: Observation(fitted=None),
    }
    for now in (forecast(where=where), forecast(seen, where)):
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
    one = grid(points())
    assert one.time_axes.modelled.shape == (1, 0)
    assert forecast({0: Observation(fitted=True, step=1.0)}, one).speed[0] == pytest.approx(
        4096, rel=0.05
    )
