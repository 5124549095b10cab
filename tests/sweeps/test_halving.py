"""Successive halving, rung by rung."""

from typing import Any

import numpy as np
import pytest

from launcher.planner.forecast import Observation
from sweeps import Answer, Search, Stop
from sweeps.halving import halving
from tests.launcher.planner.made import grid, points

RUNGS = (10, 40, 160)
"""16 points at 10 steps, 4 at 40, 1 at 160; listed point by point."""

ROWS: list[dict[str, Any]] = [
    {"tp": tp, "micro_batch": micro} for tp in (1, 2, 4, 8) for micro in (1, 2, 4, 8)
]
GRID = grid(points(*(row for row in ROWS for _ in RUNGS), gpus=8, global_batch=64))
STEPS, TWINS = np.tile(RUNGS, 16).astype(float), np.repeat(np.arange(16), 3)


def ask(runs: dict[int, Observation], **options: Any) -> Answer:
    defaults: dict[str, Any] = {"room": 100, "steps": STEPS, "twins": TWINS}
    return halving(Search(grid=GRID, observations=runs, **{**defaults, **options}))


def ran(rung: int, twins: Any, oom: frozenset[int] = frozenset()) -> dict[int, Observation]:
    """Runs on one rung: the higher the twin's number, the faster; some did not fit."""
    return {
        3 * twin + rung: Observation(fitted=False)
        if twin in oom
        else Observation(fitted=True, step=float(GRID.tokens_per_device[3 * twin] / (100 + twin)))
        for twin in twins
    }


def test_the_lowest_rung_comes_first() -> None:
    assert ask({}).next == tuple(range(0, 48, 3))
    assert ask({}).given_up == {}


def test_nobody_climbs_before_the_rung_is_done() -> None:
    assert ask(ran(0, range(15))).next == (45,)
    assert ask(ran(0, range(15)), running=frozenset({45})).next == ()


def test_a_quarter_of_them_climbs() -> None:
    answer = ask(ran(0, range(16)))
    assert answer.next == (37, 40, 43, 46)  # twins 12 to 15 at 40 steps
    reasons = {why for i, why in answer.given_up.items() if STEPS[i] == 40}
    assert reasons == {"not among the fastest 4 of 16 after 10 steps"}
    assert {i for i in answer.given_up if STEPS[i] == 40} == set(range(1, 37, 3))


def test_the_fastest_climbs_to_the_top_and_that_is_all() -> None:
    runs = ran(0, range(16)) | ran(1, range(12, 16))
    assert ask(runs).next == (47,)
    last = ask(runs | {47: Observation(fitted=True, step=1.0)})
    assert last.next == ()
    assert len(last.given_up) == 48 - 16 - 4 - 1


def test_what_did_not_fit_does_not_climb() -> None:
    # the two fastest ran out of memory, on tp 8 with micro batches of 4 and 8
    answer = ask(ran(0, range(16), oom=frozenset({14, 15})))
    assert answer.next == (31, 34, 37, 40)  # twins 10 to 13
    assert {43, 46} <= answer.given_up.keys()


def test_failures_leave_a_rung_done() -> None:
    runs = {i: Observation(fitted=None) for i in range(0, 48, 3)}
    assert ask(runs).next == ()
    assert {ask(runs).given_up[i] for i in range(1, 48, 3)} == {
        "not among the fastest 0 of 16 after 10 steps"
    }


@pytest.mark.parametrize(
    ("rungs", "count"), [((10, 20), 8), ((10, 30), 6), ((10, 1000), 1), ((30, 40), 12)]
)
def test_each_rung_takes_about_as_long_as_the_one_before(
    rungs: tuple[int, int], count: int
) -> None:
    steps = np.tile(rungs, 16).astype(float)
    choices = grid(points(*(row for row in ROWS for _ in rungs), gpus=8, global_batch=64))
    runs = {2 * i: Observation(fitted=True, step=1.0 + i) for i in range(16)}
    search = Search(
        grid=choices, observations=runs, room=100, steps=steps, twins=np.repeat(np.arange(16), 2)
    )
    assert len(halving(search).next) == count


def test_room_and_budget() -> None:
    assert ask({}, room=3).next == (0, 3, 6)
    assert ask({}, room=3, running=frozenset({0, 3})).next == (6,)
    answer = ask(ran(0, range(4)), stop=Stop(trials=4))
    assert answer.next == ()
    assert set(answer.given_up.values()) == {"sweep.stop.trials=4 have run"}


def test_without_rungs_it_is_the_list() -> None:
    assert halving(Search(grid=GRID, room=2)).next == (0, 1)
    assert halving(Search(grid=GRID, room=2, observations={0: Observation(fitted=None)})).next == (
        1,
        2,
    )


def test_another_goal_than_speed_decides_who_climbs() -> None:
    runs = ran(0, range(16))  # the last ones are the fastest
    losses = {3 * twin: -7.0 - 0.1 * twin for twin in range(1, 16)}  # the first ones learn best
    answer = ask(runs, merits=losses)
    assert answer.next == tuple(3 * twin + 1 for twin in (1, 2, 3, 4))
    assert answer.given_up[1] == "not among the best 4 of 16 after 10 steps"
    slow_ones = {3 * twin: Observation(fitted=True, step=100.0) for twin in range(16)}
    assert not set(ask(slow_ones, merits=losses).given_up) & {3 * twin for twin in range(16)}
