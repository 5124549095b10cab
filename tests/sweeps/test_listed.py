"""Strategies that look at no result, and which strategy is taken where none is named.

Modules: sweeps, sweeps.search.
"""

import pytest

from launcher.planner.forecast import Observation
from sweeps import LEARNING, STRATEGIES, Search, Stop, Strategy, Sweep, strategy
from sweeps.listed import grid, shuffled
from tests.sweeps.made import layouts

GRID = layouts()
RUNS = {
    1: Observation(fitted=False),
    3: Observation(fitted=True, step=1.0),
    4: Observation(fitted=None),
}


def test_grid_is_in_the_order_of_the_axes() -> None:
    assert grid(Search(grid=GRID, room=64)).next == tuple(range(64))
    assert grid(Search(grid=GRID, room=64)).given_up == {}


def test_what_has_run_or_runs_is_not_asked_for_again() -> None:
    search = Search(grid=GRID, observations=RUNS, running=frozenset({0, 2}), room=5)
    assert grid(search).next == (5, 6, 7)
    assert not set(shuffled(search).next) & {0, 1, 2, 3, 4}


def test_random_is_every_point_in_an_order_of_its_seed() -> None:
    orders = [shuffled(Search(grid=GRID, room=64, seed=seed)).next for seed in (0, 0, 1)]
    assert all(sorted(order) == list(range(64)) for order in orders)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != tuple(range(64))


def test_random_goes_on_in_the_same_order() -> None:
    order = shuffled(Search(grid=GRID, room=64)).next
    runs = {i: Observation(fitted=None) for i in order[:10]}
    assert shuffled(Search(grid=GRID, observations=runs, room=64)).next == order[10:]


@pytest.mark.parametrize("choose", [grid, shuffled])
def test_a_budget_ends_them(choose: Strategy) -> None:
    answer = choose(Search(grid=GRID, observations=RUNS, stop=Stop(trials=3), room=8))
    assert answer.next == ()
    assert answer.given_up == dict.fromkeys(
        set(range(64)) - RUNS.keys(), "sweep.stop.trials=3 have run"
    )


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        (None, 8, "grid"),
        (None, 9, "best_first"),
        ("random", 9, "random"),
        ("halving", 1, "halving"),
    ],
)
def test_the_strategy_of_a_sweep(name: str | None, count: int, expected: str) -> None:
    assert strategy(Sweep(strategy=name), count) == (expected, STRATEGIES[expected])
    assert STRATEGIES.keys() >= LEARNING
