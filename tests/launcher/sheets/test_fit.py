"""Constants from measured runs: those that made the runs come back, with their errors.

Modules: launcher.sheets.fit, launcher.sheets.validation.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from launcher.errors import ConfigError
from launcher.planner import memory, steptime
from launcher.planner.constants import Constants
from launcher.planner.memory import MemoryConstants
from launcher.planner.points import GIB
from launcher.planner.steptime import TimeConstants
from launcher.sheets import fit, validation
from launcher.sheets.sheet import Sheet
from launcher.sheets.sheet import read as read_rows
from launcher.sheets.validation import ALL as EVERY
from launcher.sheets.validation import Errors
from launcher.spec.cluster import Accelerator, Cluster

A100 = Cluster(
    name="a100",
    nodes=2,
    gpus_per_node=8,
    network_gb_s=25.0,
    accelerator=Accelerator(
        name="A100",
        memory_gib=78.6,
        bf16_tflops=312.0,
        fp32_tflops=19.5,
        memory_gb_s=2039.0,
        link_gb_s=300.0,
    ),
)

SIZES = {"one": (32, 4096, 11008, 16), "two": (40, 5120, 13824, 32), "three": (24, 2048, 5632, 8)}
"""For each source: layers, hidden, ffn, cards."""

TIME, MEMORY = TimeConstants(), MemoryConstants()
TRUE = Constants(
    time=dataclasses.replace(TIME, matmul=0.85 * TIME.matmul, launch=2 * TIME.launch),
    memory=dataclasses.replace(MEMORY, activations=1.25 * MEMORY.activations),
)
"""Constants of the machine on which the rows were measured."""


def rows(source: str, **changes: str) -> list[dict[str, str]]:
    """18 layouts of one model on A100, not measured yet."""
    layers, hidden, ffn, gpus = SIZES[source]
    heads = str(hidden // 128)
    grid = itertools.product((1, 2, 4), (1, 2), (1, 2, 4), ("none", "full"))
    return [
        {
            "source": source,
            "model": "x",
            "hardware": "A100",
            "layers": str(layers),
            "hidden": str(hidden),
            "ffn": str(ffn),
            "heads": heads,
            "kv_heads": heads,
            "vocab": "32000",
            "seq_len": "2048",
            "vpp": "1",
            "cp": "1",
            "ep": "1",
            "tp": str(tp),
            "pp": str(pp),
            "micro_batch": str(micro),
            "recompute": recompute,
            "precision": "bf16",
            "seq_parallel": "0",
            "flash_attn": "1",
            "zero": "1",
            "n_gpus": str(gpus),
            "global_batch": "512",
            **changes,
        }
        for tp, pp, micro, recompute in list(grid)[::2]
    ]


def read(rows: Sequence[Mapping[str, str]]) -> Sheet:
    return read_rows(rows, {"a100": A100, "h100": A100}, {})


def measured(
    rows: list[dict[str, str]], constants: Constants = TRUE, factor: float = 1.0
) -> list[dict[str, str]]:
    """The rows as a machine of these constants would have run them."""
    points = read(rows).points
    seconds = steptime.step_time(points, constants.time).total * factor
    reported = memory.reported_bytes(points, constants.memory, "reserved") / GIB
    return [
        {**row, "step_s": repr(float(step)), "mem_gb": repr(float(gib))}
        for row, step, gib in zip(rows, seconds, reported, strict=True)
    ]


ALL = [row for source in SIZES for row in measured(rows(source))]


@pytest.fixture(scope="module")
def fitted() -> tuple[Constants, list[Errors]]:
    return fit.fit(read(ALL)), validation.errors(read(ALL))


@pytest.mark.parametrize(
    ("part", "name"),
    [("time", "matmul"), ("time", "launch"), ("memory", "activations")],
)
def test_constants_come_back(fitted: tuple[Constants, Any], part: str, name: str) -> None:
    value, true, prior = (
        getattr(getattr(constants, part), name) for constants in (fitted[0], TRUE, Constants())
    )
    assert value == pytest.approx(true, rel=0.15 if name != "matmul" else 0.05)
    assert abs(np.log(value / true)) < 0.5 * abs(np.log(prior / true))


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("time", "matmul_fp8"), ("time", "score_traffic"), ("time", "exposed_gathers"),
        ("time", "cpu_step"), ("memory", "score_bytes"), ("memory", "unfused"),
    ],
)  # fmt: skip
def test_what_no_row_tells_stays(fitted: tuple[Constants, Any], part: str, name: str) -> None:
    value, prior = (getattr(getattr(c, part), name) for c in (fitted[0], Constants()))
    assert value == pytest.approx(prior, rel=1e-3)


def test_the_rows_are_predicted_then(fitted: tuple[Constants, Any]) -> None:
    sheet = read(ALL)
    for constants, limit in ((fitted[0], 0.06), (Constants(), 1.0)):
        seconds = steptime.step_time(sheet.points, constants.time).total
        error = np.abs(seconds / sheet.step_seconds - 1)
        assert error.max() < limit
    assert np.median(error) > 0.1  # by the constants before


def test_errors_are_those_of_sources_left_out(fitted: tuple[Constants, list[Errors]]) -> None:
    counts = [(error.quantity, error.source, error.rows) for error in fitted[1]]
    weighed = {"one": 15, "three": 2, "two": 18}  # rows of 20 GiB and more
    assert counts == [
        *(("step time", source, 18) for source in sorted(SIZES)), ("step time", EVERY, 54),
        *(("memory", *pair) for pair in weighed.items()), ("memory", EVERY, 35),
    ]  # fmt: skip
    for error in fitted[1]:
        assert error.median is not None and error.bias is not None
        assert error.median < 0.1 and abs(error.bias) <= error.median
        assert (error.rank, error.corrected) == (None, None) or error.quantity == "step time"


def test_errors_inside_a_grid() -> None:
    """A machine slower than the others, and alike everywhere: the order is right, and three runs
    tell by how much."""
    runs = [*measured(rows("one"), Constants(), 1.3), *measured(rows("two"), Constants())]
    slow = next(e for e in validation.errors(read(runs)) if e.source == "one")
    assert slow.rank is not None and slow.rank > 0.99
    assert slow.corrected is not None and slow.corrected < 0.05 < 0.2 < (slow.median or 0)


def outcome(rows: list[dict[str, str]], *oom: bool) -> list[dict[str, str]]:
    return [
        {**row, "mem_gb": "", "oom": str(int(failed))}
        for row, failed in zip(rows, oom, strict=True)
    ]


def test_runs_that_fitted_and_that_did_not_are_classified() -> None:
    """A 7B on one card cannot fit; with one of 16 layers something is left."""
    large = rows("one", tp="1", pp="1", n_gpus="1")[:2]
    small = rows("three", tp="1", pp="1", n_gpus="1")[:2]
    errors = validation.errors(read([*ALL, *outcome([*large, *small], True, True, False, True)]))
    fits = {error.source: error for error in errors if error.quantity == "fits"}
    assert (fits["one"].rows, fits["one"].right, fits["one"].missed) == (2, 1.0, 0.0)
    assert (fits["three"].rows, fits["three"].right, fits["three"].missed) == (2, 0.5, 0.5)
    assert fits[EVERY].right == 0.75


def test_a_run_that_fitted_bounds_what_it_wanted() -> None:
    """Runs of a model that would not fit if activations were as large as they usually are."""
    unbounded = fit.fit(read(ALL)).memory.activations
    tight = rows("two", tp="1", pp="1", n_gpus="32", zero="3", recompute="none", micro_batch="4")
    fitting = fit.fit(read([*ALL, *outcome(tight[:6], *[False] * 6)])).memory.activations
    failing = fit.fit(read([*ALL, *outcome(tight[:6], *[True] * 6)])).memory.activations
    assert fitting < unbounded <= failing


def test_a_source_is_judged_by_the_others() -> None:
    """One of two was measured on a slower machine: the other one cannot know."""
    runs = [*measured(rows("one"), Constants(), 1.3), *measured(rows("three"), Constants())]
    errors = {e.source: e for e in validation.errors(read(runs)) if e.quantity == "step time"}
    assert errors["one"].bias == pytest.approx(1 / 1.3 - 1, abs=0.02)
    assert errors["one"].median == -errors["one"].bias
    assert errors["three"].bias > 0.15


def fitted_time(rows: list[dict[str, str]]) -> TimeConstants:
    return fit.fit(read(rows)).time


def test_a_source_of_many_rows_weighs_no_more_than_its_share() -> None:
    """Two sources contradict each other by 15 %, and one of them has ten times the rows."""
    slow, fast = (
        measured(rows("one"), Constants(), 1.15),
        read(measured(rows("three"), Constants())),
    )
    off = []
    for copies in (1, 10):
        constants = fitted_time([*slow * copies, *fast.rows])
        seconds = steptime.step_time(fast.points, constants).total
        off.append(float(np.median(seconds / fast.step_seconds)))
    assert off == pytest.approx([1.06, 1.06], abs=0.02)  # and 1.12 if every row had its say


@pytest.mark.parametrize(
    ("changes", "time", "weighed"),
    [
        ({}, True, True),
        ({"layers": "", "hidden": ""}, False, False),  # of a size that was guessed
        ({"micro_batch": ""}, False, False),
        ({"n_gpus": ""}, True, False),
        ({"ep": "2"}, False, False),  # and nothing is said of experts
        ({"notes": "LoRA"}, False, False),
        ({"notes": "CI tests, short"}, False, True),
        ({"notes": "method not stated"}, True, False),
        ({"step_s": "", "tokens_per_s_per_gpu": ""}, False, True),
        ({"mem_gb": "0.9"}, True, False),  # of workspaces
        ({"mem_gb": "n/a"}, True, False),
    ],
)
def test_rows_that_say_too_little_are_left_out(
    changes: dict[str, str], time: bool, weighed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep: Callable[..., Any] = lambda start, *_: start  # noqa: E731
    monkeypatch.setattr(fit, "_fitted", keep)
    runs = [*ALL[18:22], *({**row, **changes} for row in ALL[:3])]
    counts = {(e.quantity, e.source): e.rows for e in validation.errors(read(runs))}
    assert counts.get(("step time", "one"), 0) == (3 if time else 0)
    assert counts.get(("memory", "one"), 0) == (3 if weighed else 0)
    assert counts["step time", "two"] == counts["memory", "two"] == 4


def test_shares_stay_below_one() -> None:
    """However fast the rows say it was."""
    share = fitted_time(measured(rows("one"), Constants(), 0.2)).matmul
    assert TIME.matmul < share <= 1.0 + 1e-6


def test_a_single_row_moves_little() -> None:
    row = measured(rows("one")[:1], Constants(), 2.0)
    assert fitted_time(row).matmul == pytest.approx(TIME.matmul, rel=0.1)


NO_TIME = "no row of a dense model states its sizes and a step_s or tokens_per_s_per_gpu above 0"
NO_MEMORY = "no row states its sizes, layout and a mem_gb of 20 or more"


def test_nothing_to_fit_to() -> None:
    with pytest.raises(ConfigError) as caught:
        fit.fit(read([{**row, "step_s": "0", "mem_gb": "19"} for row in ALL[:4]]))
    assert str(caught.value) == f"{NO_TIME}; {NO_MEMORY}"


@pytest.mark.parametrize(
    ("changes", "kept", "message"),
    [({"step_s": "0"}, "time", NO_TIME), ({"mem_gb": "19"}, "memory", NO_MEMORY)],
)
def test_what_no_row_measured_keeps_its_constants(
    changes: dict[str, str], kept: str, message: str
) -> None:
    """Those that the fit began with, whatever bounds of them the rows have; the others move."""
    sheet = read([{**row, **changes} for row in ALL])
    fitted = fit.fit(sheet, start=TRUE)
    assert fit.gaps(sheet) == {kept: message}
    assert getattr(fitted, kept) == getattr(TRUE, kept)
    other = "memory" if kept == "time" else "time"
    assert getattr(fit.fit(sheet), other) != getattr(Constants(), other)
    assert {error.quantity for error in validation.errors(sheet)} == (
        {"memory"} if kept == "time" else {"step time"}
    )
