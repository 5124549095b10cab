"""A strategy against a table: it must learn nothing that it has not paid for."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launcher.errors import ConfigError
from launcher.planner.forecast import Observation
from launcher.planner.points import GIB
from launcher.sheets import predictions
from launcher.sheets.sheet import Sheet
from sweeps import STRATEGIES, Search, Stop
from sweeps.replay import groups, judged, replay
from sweeps.replay import replayed as replay_groups
from sweeps.search import Answer
from tests.launcher.planner.made import FIXED
from tests.sweeps.made import LAYOUTS, Machine, layouts

Row = dict[str, Any]


def table(seed: int = 0) -> list[Row]:
    """64 layouts of a 7B model on 16 A100: speeds as predicted, give or take 5 %."""
    draw = random.Random(seed)
    cluster = Machine(layouts(), slower=np.array([draw.uniform(0.95, 1.05) for _ in LAYOUTS]))
    return [
        {
            "model": "llama_7b",
            "hardware": "A100",
            "n_gpus": 16,
            "global_batch": 128,
            "zero": "mcore zero1",
            "vpp": 1,
            "cp": 1,
            "ep": 1,
            "seq_len": 4096,
            **layout,
            "seq_parallel": int(layout["sp"]),
            "flash_attn": 1,
            "precision": "bf16",
            "tokens_per_s_per_gpu": round(float(speed), 1) if speed else "",
            "oom": int(not speed),
        }
        for layout, speed in zip(LAYOUTS, cluster.speed, strict=True)
    ]


def read(folder: Path, rows: list[Row]) -> Sheet:
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return predictions.read(path)


def order(folder: Path, rows: list[Row], strategy: str = "best_first", **options: Any) -> list[int]:
    sheet = read(folder, rows)
    return replay(sheet, range(len(rows)), STRATEGIES[strategy], FIXED, **options)[0]


def judge(folder: Path, rows: list[Row], chosen: list[int]) -> Any:
    sheet = read(folder, rows)
    return judged(sheet, ("model",), range(len(rows)), chosen, "because")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_is_found_in_a_part_of_the_table(tmp_path: Path, seed: int) -> None:
    rows = table(seed)
    chosen = order(tmp_path, rows)
    judged = judge(tmp_path, rows, chosen)
    assert judged.regret <= 0.03
    assert 3 <= len(chosen) <= 30
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize("strategy", ["best_first", "random", "grid"])
def test_what_has_not_been_chosen_is_not_seen(tmp_path: Path, strategy: str) -> None:
    """With other measurements in the rows not chosen so far, the next choice is the same."""
    rows = table()
    chosen = order(tmp_path, rows, strategy)
    draw = random.Random(0)
    measured = ("tokens_per_s_per_gpu", "oom")
    for count in (0, 1, 3, len(chosen) - 1):
        unseen = [i for i in range(len(rows)) if i not in chosen[:count]]
        swapped = dict(zip(unseen, draw.sample(unseen, len(unseen)), strict=True))
        changed = [
            {**row, **{name: rows[swapped.get(i, i)][name] for name in measured}}
            for i, row in enumerate(rows)
        ]
        assert order(tmp_path, changed, strategy)[: count + 1] == chosen[: count + 1]
    assert len(chosen) > 4


def test_what_has_been_chosen_is_seen(tmp_path: Path) -> None:
    rows = table()
    chosen = order(tmp_path, rows)
    changed = [dict(row) for row in rows]
    changed[chosen[0]] |= {"tokens_per_s_per_gpu": "", "oom": 1}
    assert order(tmp_path, changed)[1:] != chosen[1:]


def test_other_columns_of_what_was_measured_tell_nothing_either(tmp_path: Path) -> None:
    rows = table()
    more = [{**row, "step_s": 1 + i, "outcome": "ok"} for i, row in enumerate(rows)]
    assert order(tmp_path, more) == order(tmp_path, rows)


def test_memory_of_a_row_is_seen_once_it_was_chosen(tmp_path: Path) -> None:
    """Rows that used a third of what is predicted, on cards that otherwise look full."""
    rows = [{**row, "mem_kind": "reserved"} for row in table()]
    sheet = read(tmp_path, rows)
    first = order(tmp_path, rows)[0]
    searches: list[Search] = []

    def spy(search: Search) -> Answer:
        searches.append(search)
        return Answer(next=(first,) if not search.observations else ())

    weighed = read(tmp_path, [{**row, "mem_gb": 20} for row in rows])
    replay(weighed, range(64), spy, FIXED)
    first_search, second_search = searches
    assert second_search.observations[first].memory == 20 * GIB
    assert (second_search.forecast.reported_bytes < first_search.forecast.reported_bytes).all()
    mixed = [
        {**row, "mem_gb": 20, "mem_kind": kind}
        for row, kind in zip(rows, ["reserved", "nvidia-smi"] * 32, strict=True)
    ]
    searches.clear()
    replay(read(tmp_path, mixed), range(64), spy, FIXED)
    assert searches[1].observations[first].memory is None  # figures that do not mean the same
    assert np.isnan(sheet.numbers("mem_gb")).all()


def test_plain_strategies_walk_through_all_of_it(tmp_path: Path) -> None:
    rows = table()
    sheet = read(tmp_path, rows)
    in_order = replay(sheet, range(64), STRATEGIES["grid"], FIXED)
    assert in_order == (list(range(64)), "every row has been tried")
    first, second = (order(tmp_path, rows, "random", seed=seed) for seed in (1, 2))
    assert sorted(first) == sorted(second) == list(range(64)) and first != second


def test_a_budget_ends_it(tmp_path: Path) -> None:
    sheet = read(tmp_path, table())
    chosen, why = replay(sheet, range(64), STRATEGIES["best_first"], FIXED, stop=Stop(trials=4))
    assert (len(chosen), why) == (4, "sweep.stop.trials=4 have run")


def test_why_it_ended(tmp_path: Path) -> None:
    why = replay(read(tmp_path, table()), range(64), STRATEGIES["best_first"], FIXED)[1]
    assert why.endswith("% chance that anything left is more than 1 % faster than the best")


def test_halving_of_a_table_without_rungs_walks_through_what_may_be_best(tmp_path: Path) -> None:
    rows = table()
    chosen = order(tmp_path, rows, "halving")
    assert chosen == sorted(chosen)
    assert judge(tmp_path, rows, chosen).regret == 0
    # Those without recomputation that fit all run, and rule out the same with it.
    plain = {i for i, row in enumerate(rows) if row["recompute"] == "none" and not row["oom"]}
    assert plain <= set(chosen) and not {i + 1 for i in plain} & set(chosen)


SMALL = [
    {"model": "llama_7b", "n_gpus": 8, "tp": 1, "tokens_per_s_per_gpu": 50, "oom": 0},
    {"model": "llama_7b", "n_gpus": 8, "tp": 2, "tokens_per_s_per_gpu": 98.5, "oom": 0},
    {"model": "llama_7b", "n_gpus": 8, "tp": 4, "tokens_per_s_per_gpu": 100, "oom": 0},
    {"model": "llama_7b", "n_gpus": 8, "tp": 8, "tokens_per_s_per_gpu": "", "oom": 1},
    {"model": "llama_7b", "n_gpus": 8, "tp": 8, "tokens_per_s_per_gpu": 99.5, "oom": 0},
]


@pytest.mark.parametrize(
    ("chosen", "to_1pct", "to_2pct", "oom", "regret"),
    [
        ([0, 1, 2, 3, 4], 3, 2, 1, 0.0),
        ([3, 4], 2, 2, 1, 0.005),
        ([0, 1], None, 2, 0, 0.015),
        ([0], None, None, 0, 0.5),
        ([3], None, None, 1, 1.0),
        ([], None, None, 0, None),
    ],
)
def test_the_verdict(
    tmp_path: Path, chosen: list[int], to_1pct: Any, to_2pct: Any, oom: int, regret: Any
) -> None:
    judged = judge(tmp_path, SMALL, chosen)
    assert (judged.rows, judged.fit, judged.oom, judged.stopped) == (5, 4, 1, "because")
    assert (judged.trials_to_1pct, judged.trials_to_2pct, judged.oom_trials) == (
        to_1pct,
        to_2pct,
        oom,
    )
    assert judged.regret == pytest.approx(regret)
    assert judged.group == {"model": "llama_7b"}
    assert [trial["row"] for trial in judged.trials] == [i + 1 for i in chosen]


def test_trials_say_what_they_showed(tmp_path: Path) -> None:
    assert judge(tmp_path, SMALL, [3, 4]).trials == (
        {"row": 4, "outcome": "oom", "tokens_per_s_per_gpu": None},
        {"row": 5, "outcome": "ok", "tokens_per_s_per_gpu": 99.5},
    )


def test_where_nothing_fitted_there_is_no_best(tmp_path: Path) -> None:
    judged = judge(tmp_path, [SMALL[3], SMALL[3]], [0, 1])
    assert (judged.fit, judged.oom, judged.regret, judged.trials_to_1pct) == (0, 2, None, None)


def test_rows_are_compared_within_their_group(tmp_path: Path) -> None:
    blank = {**SMALL[0], "tokens_per_s_per_gpu": "", "oom": ""}
    more = {**SMALL[0], "n_gpus": 16}
    sheet = read(tmp_path, [SMALL[0], more, blank, SMALL[3], more, SMALL[1]])
    rows = groups(sheet, ("model", "n_gpus"))
    assert rows == {("llama_7b", "8"): [0, 3, 5], ("llama_7b", "16"): [1, 4]}
    assert groups(sheet, ()) == {(): [0, 1, 3, 4, 5]}


def replayed(sheet: Sheet, **changes: Any) -> list[Any]:
    options: dict[str, Any] = {"strategy": STRATEGIES["best_first"], "by": ("n_gpus",), "axes": (), "seed": 0,
                               "stop": Stop()}  # fmt: skip
    return list(replay_groups(sheet, FIXED, **{**options, **changes}))


def test_each_group_is_replayed(tmp_path: Path) -> None:
    more = [{**row, "n_gpus": 16} for row in SMALL[:2]]
    groups_of = replayed(read(tmp_path, [*SMALL, *more]), strategy=STRATEGIES["grid"])
    assert [(group.group, group.rows, len(group.trials)) for group in groups_of] == [
        ({"n_gpus": "8"}, 5, 5), ({"n_gpus": "16"}, 2, 2),
    ]  # fmt: skip
    assert [trial["row"] for trial in groups_of[1].trials] == [6, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"by": ("n_gpu",)}, "--group-by: no column 'n_gpu'; did you mean 'n_gpus'?"),
        ({"axes": ("kernal",)}, "--axis: no column 'kernal'; did you mean 'kernel'?"),
        ({"axes": ("kernel", "oom")}, "--axis: oom is what a run measures, not what it tries"),
    ],
)
def test_a_column_there_is_not(tmp_path: Path, changes: Any, message: str) -> None:
    sheet = read(tmp_path, [{**row, "kernel": "a"} for row in SMALL])
    with pytest.raises(ConfigError) as caught:
        replayed(sheet, **changes)
    assert str(caught.value) == message


def test_an_axis_is_learnt_for_each_of_its_values(tmp_path: Path) -> None:
    """Kernel b is 40 % slower: once both have been tried, b is not tried on all of the layouts."""
    rows = [
        {
            **row,
            "kernel": kernel,
            "tokens_per_s_per_gpu": speed and round(speed * (1.0 if kernel == "a" else 0.6), 1),
        }
        for row in table()
        for kernel in "ba"
        for speed in [row["tokens_per_s_per_gpu"]]
    ]
    chosen = order(tmp_path, rows, axes=("kernel",))
    tried = [rows[i]["kernel"] for i in chosen]
    assert {"a", "b"} == set(tried)
    assert tried.count("b") <= 6
    assert judge(tmp_path, rows, chosen).regret <= 0.03


def test_a_strategy_is_told_which_axis_differs(tmp_path: Path) -> None:
    """Through the grid alone: names become numbers, in one column for each axis."""
    searches: list[Search] = []
    observations: list[dict[int, Observation]] = []

    def spy(search: Search) -> Any:
        searches.append(search)
        observations.append(dict(search.observations))
        return STRATEGIES["grid"](search)

    rows = [
        {**row, "kernel": k, "node": n} for row, k, n in zip(SMALL, "babab", "xxyyx", strict=True)
    ]
    replay(read(tmp_path, rows), [4, 3, 2], spy, FIXED, axes=("kernel", "node"))
    assert searches[0].grid.extra.tolist() == [[1, 0], [0, 1], [1, 1]]
    assert searches[0].grid.points.tp.tolist() == [8, 8, 4]
    # Four micro batches of one sequence of 4096 tokens on each of dp 1 and 2, over 8 cards.
    fast, oom = Observation(fitted=True, step=4 * 4096 / 8 / 99.5), Observation(fitted=False)
    last = Observation(fitted=True, step=8 * 4096 / 8 / 100)
    assert observations == [{}, {0: fast}, {0: fast, 1: oom}, {0: fast, 1: oom, 2: last}]
    assert replay(read(tmp_path, SMALL), [0], spy, FIXED)[0] == [0]
    assert searches[-1].grid.extra.shape == (1, 0)


def test_why_a_strategy_that_ran_out_of_candidates_ended(tmp_path: Path) -> None:
    """Not the reason of whatever row it happened to rule out last."""
    chosen, why = replay(read(tmp_path, table()), range(64), STRATEGIES["halving"], FIXED)
    assert len(chosen) < 64 and why == "the others cannot be the best"
