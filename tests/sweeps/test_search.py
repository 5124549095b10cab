"""Questions to a strategy: open points, trials that may be started, budgets."""

import numpy as np
import pytest

from launcher.planner.forecast import Observation
from sweeps import STRATEGIES, Search, Stop
from tests.sweeps.made import layouts

GRID = layouts()


@pytest.mark.parametrize(
    ("stop", "room", "slots"),
    [
        (Stop(), 8, 6),  # two run
        (Stop(), 1, 0),
        (Stop(trials=4), 8, 1),  # one has ended besides
        (Stop(trials=2), 8, 0),
        (Stop(trials=64), 4, 2),
    ],
)
def test_trials_that_may_be_started(stop: Stop, room: int, slots: int) -> None:
    runs = {5: Observation(fitted=False)}
    search = Search(grid=GRID, observations=runs, running=frozenset({0, 1}), stop=stop, room=room)
    assert search.free_slots == slots
    assert search.open == [i for i in range(64) if i not in (0, 1, 5)]


@pytest.mark.parametrize(
    ("stop", "gpu_hours", "reason"),
    [
        (Stop(), 1e6, None),
        (Stop(trials=3), 0.0, None),
        (Stop(trials=2), 0.0, "sweep.stop.trials=2 have run"),
        (Stop(gpu_hours=1.5), 1.4, None),
        (Stop(gpu_hours=1.5), 1.5, "sweep.stop.gpu_hours=1.5 have been spent"),
    ],
)
def test_budgets(stop: Stop, gpu_hours: float, reason: str | None) -> None:
    runs = {5: Observation(fitted=False)}
    search = Search(
        grid=GRID, observations=runs, running=frozenset({0}), stop=stop, gpu_hours=gpu_hours
    )
    assert search.exhausted_budget == reason


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_more_is_asked_for_than_the_budget_has_left(name: str) -> None:
    search = Search(
        grid=GRID,
        stop=Stop(trials=3),
        running=frozenset({0}),
        room=8,
        steps=np.zeros(64),
        twins=np.arange(64),
    )
    assert len(STRATEGIES[name](search).next) == (0 if name == "in_order" else 2)  # one at a time


@pytest.mark.parametrize(
    ("speeds", "vain"),
    [
        ([], 0),
        ([3.0], 0),
        ([3.0, 2.0, 3.02], 2),  # less than 1 % better is not better
        ([3.0, 2.0, 3.05, 1.0], 1),
        ([None, None, 2.0, None], 1),  # of those that failed none is better
        ([2.0, 2.01, 2.02, 2.03], 3),  # small steps: each is compared with the best so far
    ],
)
def test_trials_in_vain(speeds: list[float | None], vain: int) -> None:
    """Counted in the order in which they ended, not in that of the points."""
    order = range(len(speeds) - 1, -1, -1)
    runs = {
        i: Observation(
            fitted=speed is not None, step=speed and float(GRID.tokens_per_device[i] / speed)
        )
        for i, speed in zip(order, speeds, strict=True)
    }
    assert Search(grid=GRID, observations=runs).trials_since_best == vain
