"""The charts: what is drawn, what tells its parts apart, and that nothing is drawn of nothing.

Modules: analysis.charts.curves, analysis.charts.names, analysis.charts.style,
analysis.charts.sweep, analysis.charts.timeline.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import charts, effects
from analysis.charts import curves, style
from analysis.charts.names import short
from analysis.charts.sweep import kind_of
from tests.analysis import made


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return analysis.load(made.sweep(tmp_path_factory.mktemp("made") / "grid", 60))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return analysis.load(made.curriculum(tmp_path_factory.mktemp("made") / "stages"))


def called(figure: Any) -> list[str]:
    return [trace.name for trace in figure.data]


def test_the_frontier_is_a_line_of_the_rows_given(grid: Any) -> None:
    table = grid.table()
    best = effects.pareto(table, ("tokens_per_s", "mem_max_gib"))
    figure = charts.frontier(table, best, limit_gib=79.6)
    scatter, line = figure.data
    assert len(line.x) == len(best) and line.mode == "lines+markers"
    assert len(scatter.x) + len(line.x) == (table["outcome"] == "ok").sum()
    assert list(line.x) == sorted(line.x) and list(line.y) == sorted(line.y)
    assert figure.layout.shapes[0].x0 == 79.6
    assert figure.layout.xaxis.title.text == "peak memory of a card, GiB"


def test_effects_have_a_line_for_each_step_of_an_axis(grid: Any) -> None:
    sensitivity = effects.sensitivity(grid.table()).dropna(subset="tokens_per_s_ratio")
    sensitivity = pd.concat(
        [
            sensitivity,
            sensitivity.tail(1).assign(tokens_per_s_ratio=None, mem_ratio=None),
            sensitivity.tail(1).assign(tokens_per_s_ratio=None, value="all", failed=3),
        ]
    )
    figure = charts.effects(sensitivity)
    speed, memory, failed = figure.data
    assert len(speed.x) == len(sensitivity) - 1 == len(set(speed.y))
    assert failed.y == ("recompute full → all",) and failed.x == (0,)
    assert speed.marker.symbol != memory.marker.symbol
    assert np.allclose(
        speed.x[:0:-1], 100 * (sensitivity["tokens_per_s_ratio"][:-2].astype(float) - 1)
    )


def test_of_one_point_no_axis_has_an_effect(grid: Any) -> None:
    assert effects.sensitivity(grid.table().head(1)).empty


def test_predictions_are_drawn_for_what_was_measured_on_a_card(grid: Any) -> None:
    table = grid.table()
    for quantity in ("step_ms", "memory"):
        assert "as predicted" in called(charts.predicted_measured(table, quantity))
    of_processes = table.assign(pred_mem_err_pct=pd.NA)
    assert charts.predicted_measured(of_processes, "memory") is None
    assert charts.predicted_measured(of_processes, "step_ms") is not None


def test_failures_are_counted_by_outcome_and_kind_of_cause(grid: Any) -> None:
    figure = charts.failures(grid.table())
    counted = {
        (y, text): x
        for bar in figure.data
        for x, y, text in zip(bar.x, bar.y, bar.text, strict=True)
    }
    bad = grid.table()["outcome"].value_counts().drop("ok").sum()
    assert sum(counted.values()) == bad and len(counted) == 2


def test_what_has_not_ended_is_no_failure(grid: Any) -> None:
    rows = grid.table().head(3)
    assert charts.failures(rows.assign(outcome=["running", "queued", "not started"])) is None
    figure = charts.failures(rows.assign(outcome=["running", "oom", "ok"]))
    assert [list(bar.y) for bar in figure.data] == [["oom"]]


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("tp 3 does not divide 16 heads", "tp N does not divide N heads"),
        ("/a/b c: '/x' is \"y\"", "PATH c: '…' is '…'"),
        ("Tried to allocate 2.50 GiB at 0x7f", "Tried to allocate N GiB at N"),
        (None, "no cause is known"),
    ],
)
def test_causes_of_one_kind_are_one(cause: str | None, kind: str) -> None:
    assert kind_of(cause) == kind


@pytest.mark.parametrize("count", [4, 30, 100])
def test_losses_of_few_many_and_very_many_runs(count: int) -> None:
    rows = [
        {"sweep": "s", "folder": f"s/{n}", "step": i, "tokens": 8 * i, "loss": 5 - i / 100}
        for n in range(count)
        for i in range(50)
    ]
    figure = charts.losses(pd.DataFrame(rows))
    points = sum(np.isfinite(trace.x).sum() for trace in figure.data)
    assert points == count * 50
    assert len(figure.data) == {4: 4, 30: 30, 100: 1}[count]
    assert (
        sum(trace.showlegend is not False for trace in figure.data) == {4: 4, 30: 1, 100: 1}[count]
    )


def test_losses_name_the_fastest_and_tell_batches_apart(grid: Any) -> None:
    names = called(charts.losses(grid.steps(), grid.table(), "tokens"))
    assert any(name.startswith("fastest: ") for name in names)
    assert any(name.startswith("global_batch 16: ") for name in names)


def test_the_spread_is_between_runs_that_must_be_the_same(grid: Any) -> None:
    spread = charts.spread(grid.steps(), grid.table())
    assert spread == pytest.approx(1e-7, rel=0.05)


def test_thinning_keeps_the_ends_and_the_spikes() -> None:
    values = np.sin(np.arange(100_000) / 5000)
    values[12_345], values[54_321] = 99.0, -99.0
    positions = curves.thinned(values, 900)
    assert len(positions) < 1000 and {0, 12_345, 54_321, 99_999} <= set(positions.tolist())
    assert list(positions) == sorted(set(positions.tolist()))


def test_a_timeline_has_a_lane_for_each_stage_and_marks(stages: Any) -> None:
    figure = charts.timeline(stages.attempts(), stages.events(), stages.table(unfinished=True))
    assert set(called(figure)) == {
        "ok",
        "running",
        "node",
        "fault",
        "spike",
        "rollback",
        "save failed",
        "update skipped",
    }
    assert list(figure.layout.yaxis.ticktext) == ["1-web", "2-english", "3-synthetic"]
    lost = next(trace for trace in figure.data if trace.name == "node")
    assert lost.x == (240_000,) and "&lt;/script&gt;" in lost.text[0]


def test_an_attempt_that_nobody_saw_end_lasts_until_the_next() -> None:
    rows = {
        "sweep": "s",
        "folder": "s/1-web",
        "attempt": [1, 2],
        "started": [100.0, 400.0],
        "ended": [None, 500.0],
        "stopped": None,
        "reason": None,
        "gpus": 2,
        "hosts": "a",
    }
    nothing = pd.DataFrame(columns=["folder", "kind", "time", "step"])
    lost, ended = charts.timeline(pd.DataFrame(rows), nothing).data[1::-1]
    assert {lost.name, ended.name} == {"lost", "ended"}
    assert {lost.x[0], ended.x[0]} == {300_000.0, 100_000.0}


def test_spikes_are_marked_on_the_loss(stages: Any) -> None:
    figure = charts.spikes(stages.steps(), stages.events())
    marks = {trace.name: trace for trace in figure.data}
    assert set(marks) == {"2-english", "spike", "rollback", "update skipped"}
    assert list(marks["spike"].x) == [150, 158]
    assert "steps_lost 18" in marks["rollback"].text[0]


def test_events_with_odd_values_are_skipped_and_not_the_chart(stages: Any) -> None:
    events = stages.events().astype(object)
    odd = events[events["kind"] == "loss_spike"].copy()
    odd = pd.concat(
        [
            odd.assign(step="late", time=["noon"]),
            odd.assign(step=[[1]], time=[{}]),
            odd.assign(kind=[["spike"]], time=1e300),
            odd.assign(value=[[1, 2]]),
        ],
        ignore_index=True,
    )
    with_odd = pd.concat([events, odd], ignore_index=True)
    marks = {trace.name: trace for trace in charts.spikes(stages.steps(), with_odd).data}
    assert list(marks["spike"].x) == [150, 158, 150]
    assert "value" not in marks["spike"].text[2] and "step 150: " in marks["spike"].text[2]
    drawn = {trace.name: trace for trace in charts.timeline(stages.attempts(), with_odd).data}
    assert len(drawn["spike"].x) == 3


def test_speed_is_by_step(grid: Any) -> None:
    figure = charts.speed(grid.steps(), grid.table(), "step_ms")
    assert figure.layout.yaxis.title.text == "step, ms"


EMPTY: list[tuple[str, Callable[[Any], Any]]] = [
    ("frontier", lambda runs: charts.frontier(runs.table()[:0], runs.table()[:0])),
    ("effects", lambda runs: charts.effects(effects.sensitivity(runs.table()[:0]))),
    ("predicted", lambda runs: charts.predicted_measured(runs.table()[:0])),
    ("failures", lambda runs: charts.failures(runs.table()[:0])),
    ("losses", lambda runs: charts.losses(runs.steps()[:0], runs.table()[:0])),
    ("speed", lambda runs: charts.speed(runs.steps()[:0])),
    ("spread", lambda runs: charts.spread(runs.steps()[:0], runs.table()[:0])),
    ("spikes", lambda runs: charts.spikes(runs.steps()[:0], runs.events()[:0])),
    ("timeline", lambda runs: charts.timeline(runs.attempts()[:0], runs.events()[:0])),
]


@pytest.mark.parametrize("draw", [draw for _, draw in EMPTY], ids=[name for name, _ in EMPTY])
def test_of_nothing_there_is_no_chart(draw: Callable[[Any], Any], grid: Any) -> None:
    assert draw(grid) is None


def test_series_differ_by_more_than_colour() -> None:
    looks = [style.series_style(number) for number in range(36)]
    assert len({(style.colour, style.dash) for style in looks}) == 36
    assert (
        len({style.dash for style in looks[:6]}) == len({style.colour for style in looks[:6]}) == 6
    )
    assert (
        len({style.symbol for style in looks[:8]})
        == len({style.pattern for style in looks[:8]})
        == 8
    )


def test_texts_of_charts_are_no_markup() -> None:
    assert style.plain("<b>$x$</b>\x1b\udcff") == "&lt;b&gt;&#36;x&#36;&lt;/b&gt;\\x1b\\udcff"
    assert style.plain("a" * 99) == "a" * 59 + "…"
    assert short("runs/s/1-web/") == "1-web"


def test_a_run_that_has_only_begun_has_a_timeline() -> None:
    row = {
        "sweep": "s",
        "folder": "s/r",
        "attempt": 1,
        "started": 100.0,
        "ended": pd.NA,
        "stopped": pd.NA,
        "reason": pd.NA,
        "gpus": pd.NA,
        "hosts": pd.NA,
    }
    nothing = pd.DataFrame(columns=["folder", "kind", "time", "step"])
    assert called(charts.timeline(pd.DataFrame([row]).astype(object), nothing)) == ["running"]
