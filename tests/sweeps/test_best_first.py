"""The search that learns: what it starts with, how soon it ends, and what it says of the rest."""

import re
from typing import Any

import numpy as np
import pytest

from launcher.planner.forecast import Forecast, Observation
from sweeps import Search, Stop
from sweeps.best_first import best_first
from tests.launcher.planner.made import grid, points
from tests.sweeps.made import LAYOUTS, LLAMA, Machine, layouts

GRID = layouts()

REASONS = re.compile(
    r"\d+\.\d % chance that anything left is more than 1 % faster than the best"
    r"|the same fits with less recomputation"
    r"|sweep\.stop\.patience=10 trials without a better one"
    r"|micro batch \d+ ran out of memory, the rest equal"
    r"|predicted \d+\.\d GiB, the device has 78\.6"
)

TP, MICRO = (np.array([row[name] for row in LAYOUTS]) for name in ("tp", "micro_batch"))

MACHINES: dict[str, dict[str, Any]] = {
    "as predicted": {},
    "slower": {"slower": 1.4},
    "bad at tensor parallelism": {"slower": np.where(TP > 1, 1.25, 1.0)},
    "good at tensor parallelism": {"slower": np.where(TP == 4, 0.75, 1.0)},
    "good at large micro batches": {"slower": MICRO**-0.1},
    "needs more memory": {"larger": 1.15},
    "needs less memory": {"larger": 0.85},
    "noisy": {"slower": np.random.default_rng(5).normal(1.0, 0.02, len(LAYOUTS))},
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_it_ends_by_itself_near_the_best(machine: dict[str, Any], seed: int) -> None:
    cluster = Machine(GRID, **machine)
    runs, answer = cluster.search(best_first, seed=seed)
    assert max(cluster.speed[i] for i in runs) >= 0.97 * cluster.speed.max()
    assert 3 <= len(runs) <= 20  # of 64
    assert sum(not run.fitted for run in runs.values()) <= 4
    assert answer.given_up.keys() == set(range(64)) - runs.keys()
    assert all(REASONS.fullmatch(why) for why in answer.given_up.values())


def test_it_starts_with_what_is_fast_and_fits() -> None:
    now = Forecast(grid=GRID)
    assert now.oom[int(now.speed.argmax())] > 0.99  # the fastest of all cannot
    (first,) = best_first(Search(grid=GRID)).next
    assert now.oom[first] < 0.1
    assert now.speed[first] > 0.9 * now.speed[now.oom < 0.1].max()


def test_the_same_question_has_the_same_answer() -> None:
    search = Search(grid=GRID, room=3, seed=7, observations={0: Machine(GRID).run(0)})
    assert best_first(search) == best_first(search)


@pytest.mark.parametrize(
    ("room", "running", "count"),
    [(1, set(), 1), (4, set(), 4), (4, {0, 16, 18}, 1), (4, {0, 16, 18, 20}, 0), (2, {0, 1, 2}, 0)],
)
def test_it_asks_for_no_more_than_there_is_room_for(
    room: int, running: set[int], count: int
) -> None:
    answer = best_first(Search(grid=GRID, room=room, running=frozenset(running)))
    assert len(set(answer.next)) == len(answer.next) == count
    assert not running & set(answer.next)


def test_what_runs_is_taken_to_do_as_expected() -> None:
    """Only one of two alike is worth a trial at a time, though it comes before all others."""
    rows = [
        {"tp": 1, "pp": 1, "micro_batch": 1},  # seen: as fast as predicted
        {"tp": 2, "pp": 1, "micro_batch": 4, "sp": 1},  # 1 % slower
        {"tp": 2, "pp": 1, "micro_batch": 4, "sp": 1},
        {"tp": 1, "pp": 2, "micro_batch": 1},  # 7 % slower
    ]
    choices = grid(points(*rows, **LLAMA))
    runs = {0: Observation(fitted=True, step=float(choices.seconds[0]))}
    first, second, third = best_first(Search(grid=choices, observations=runs, room=3)).next
    assert ({first, third}, second) == ({1, 2}, 3)
    for point in (1, 2):
        search = Search(grid=choices, observations=runs, room=2, running=frozenset({point}))
        assert best_first(search).next == (3,)


@pytest.mark.parametrize(
    ("stop", "spent", "reason"),
    [
        (Stop(trials=2), 0.0, "sweep.stop.trials=2 have run"),
        (Stop(gpu_hours=1.5), 1.5, "sweep.stop.gpu_hours=1.5 have been spent"),
    ],
)
def test_it_ends_when_a_budget_is_spent(stop: Stop, spent: float, reason: str) -> None:
    cluster = Machine(GRID)
    search = Search(
        grid=GRID,
        stop=stop,
        gpu_hours=spent,
        room=4,
        observations={0: cluster.run(0), 4: cluster.run(4)},
    )
    answer = best_first(search)
    assert answer.next == ()
    assert set(answer.given_up) == set(range(64)) - {0, 4}
    assert reason in answer.given_up.values()
    assert best_first(Search(grid=GRID, observations=search.observations, gpu_hours=spent)).next


def test_failed_trials_count_and_so_do_those_that_run() -> None:
    search = Search(
        grid=GRID,
        stop=Stop(trials=3),
        observations={0: Observation(fitted=None)},
        running=frozenset({1, 2}),
        room=8,
    )
    assert best_first(search).next == ()


@pytest.mark.parametrize(("share", "tried"), [(1.3, True), (1.0, True), (0.88, False)])
def test_what_hardly_fits_does_not_keep_it_going(share: float, tried: bool) -> None:
    """A point 12 % faster than the best so far, on cards with a share of what it wants."""
    rows = [{"tp": 4, "micro_batch": micro, "sp": 1} for micro in (1, 2, 4)]
    rows += [{"tp": 1, "micro_batch": 1}]
    required = float(Forecast(grid=grid(points(*rows, **LLAMA))).required_bytes[3])
    choices = grid(points(*rows, **LLAMA, memory=share * required))
    runs = {i: Observation(fitted=True, step=float(choices.seconds[i])) for i in range(3)}
    search = Search(grid=choices, observations=runs)
    assert choices.seconds[3] < 0.9 * choices.seconds[:3].min()
    assert search.forecast.oom[3] < 0.98
    assert best_first(search).next == ((3,) if tried else ())


def test_a_larger_tolerance_ends_it_sooner() -> None:
    cluster = Machine(GRID, slower=MACHINES["noisy"]["slower"])
    trials = [
        len(cluster.search(best_first, stop=Stop(tolerance=share))[0])
        for share in (0.001, 0.01, 0.2)
    ]
    assert trials == sorted(trials, reverse=True) and trials[0] > trials[-1]


def test_patience_ends_it() -> None:
    cluster = Machine(GRID, slower=MACHINES["noisy"]["slower"])
    tried = [
        len(cluster.search(best_first, stop=Stop(chance=1e-9, patience=patience))[0])
        for patience in (2, 5, None)
    ]
    assert tried == sorted(tried) and tried[0] < tried[1] < tried[2]
    _, answer = cluster.search(best_first, stop=Stop(chance=1e-9, patience=2))
    assert "sweep.stop.patience=2 trials without a better one" in answer.given_up.values()


def test_where_nothing_fits_nothing_runs() -> None:
    answer = best_first(Search(grid=layouts(memory=2.0 * 2**30)))
    assert answer.next == ()
    assert len(answer.given_up) == 64
    reason = re.compile(r"predicted \d+\.\d GiB, the device has 2\.0")
    assert all(reason.fullmatch(text) for text in answer.given_up.values())


def test_where_all_have_run_there_is_nothing_left_to_say() -> None:
    cluster = Machine(GRID)
    answer = best_first(Search(grid=GRID, observations={i: cluster.run(i) for i in range(64)}))
    assert answer.next == () and answer.given_up == {}


def test_where_all_fails_it_goes_on() -> None:
    runs = {i: Observation(fitted=None) for i in range(60)}
    assert set(best_first(Search(grid=GRID, observations=runs, room=64)).next) <= {60, 61, 62, 63}
    assert best_first(Search(grid=GRID, observations=runs)).next


def test_an_axis_that_no_formula_knows_is_tried() -> None:
    rows = [row for row in LAYOUTS for _ in range(2)]
    kernel = np.arange(128) % 2
    choices = grid(points(*rows, **LLAMA), kernel[:, None])
    cluster = Machine(choices, slower=np.where(kernel == 1, 0.8, 1.0))
    runs, _ = cluster.search(best_first)
    assert max(cluster.speed[i] for i in runs) >= 0.97 * cluster.speed.max()
    assert len(runs) <= 25


def test_processes_of_a_cpu_are_searched_too() -> None:
    """Nobody knows what memory there is, so everything fits."""
    choices = layouts(cpu=1, memory=np.inf, peak=0.05e12, peak_half=0.05e12)
    cluster = Machine(choices, slower=1.2)
    runs, answer = cluster.search(best_first)
    assert max(cluster.speed[i] for i in runs) >= 0.97 * cluster.speed.max()
    assert len(answer.given_up) == 64 - len(runs) > 0
