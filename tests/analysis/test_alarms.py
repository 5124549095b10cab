"""Logged series: what is read of them, which alarms they raise, and how these meet labels.

Modules: analysis.alarms, analysis.loading.series.
"""

import json
import math
from pathlib import Path

import pytest

from analysis.alarms import Label, judge, read_labels, series_row, total
from analysis.loading.series import Point, Series, read
from launcher.errors import ConfigError
from launcher.spec.spike_guard import SpikeGuard
from tests.conftest import ROOT

LOSSES = ROOT / "tests" / "data" / "losses"
GUARD = SpikeGuard(window=16, patience=20, margin=0)


def written(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("iteration,lm_loss\n1,2.5\n2,2.25\n", [(1, 2.5, None), (2, 2.25, None)]),
        ("\ufeffstep,loss,grad_norm\r\n7,2.5,0.5\r\n8,2.5,\r\n", [(7, 2.5, 0.5), (8, 2.5, None)]),
        ("# a remark\n\n x, loss ,iteration\n9,2.5,3\n", [(3, 2.5, None)]),
        ("iteration,lm loss,grad norm\n1.0,inf,inf\n2", [(1, math.inf, math.inf)]),
        ('"iteration","loss"\n"1","2.5"\n', [(1, 2.5, None)]),
        ("iteration,lm_loss,loss\n1,2.5,9\n", [(1, 2.5, None)]),
    ],
)
def test_columns_that_are_known(
    tmp_path: Path, text: str, points: list[tuple[int, float, float | None]]
) -> None:
    (logged,) = read(written(tmp_path, text), "a")
    assert [(p.step, p.loss, p.norm) for p in logged.points] == points


def test_broken_lines_are_left_out_and_said(tmp_path: Path) -> None:
    lines = [
        "# source",
        "iteration,lm_loss,grad_norm",
        "1,2.5,0.1",
        "2,abc,0.1",
        "3",
        '4,"2.5,0.1',
        "nan,2.5,0.1",
        "5.5,2.5,0.1",
        "6,,0.1",
        "7,2.5,xyz",
        "8,2.5,0.1",
    ]
    (logged,) = read(written(tmp_path, "\n".join(lines)), "a")
    assert [point.step for point in logged.points] == [1, 6, 8]
    assert logged.skipped == (
        "line 4: lm_loss 'abc' is no number",
        "line 5: no lm_loss",
        "line 6: lm_loss '2.5,0.1' is no number",
        "line 7: nan is no step",
        "line 8: 5.5 is no step",
        "line 10: grad_norm 'xyz' is no number",
    )


def test_what_is_not_logged_is_not_nan(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "loss": "nan", "grad_norm": "inf"},
        {"step": 1, "loss": None, "grad_norm": None},
        {"step": 2, "loss": 2.5, "stage": "web"},
        {"loss": 2.5},
        [1],
    ]
    text = "\n".join([*map(json.dumps, lines), '{"step": 3, "lo'])
    (logged,) = read(written(tmp_path, text, "metrics.jsonl"), "run")
    first, second = logged.points
    assert first.loss is not None and math.isnan(first.loss) and first.norm == math.inf
    assert second == Point(2, 2.5, None, "web")
    assert logged.skipped == (
        "line 4: no step",
        "line 5: is no JSON object",
        "line 6: is no JSON object",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column iteration or step"),
        ("a,loss\n1,2\n", "no column iteration or step; its columns: a, loss"),
        ("step,a\n1,2\n", "no column of a loss or a gradient norm; its columns: step, a"),
        ("step,loss\n", "no line with a step and a loss or a gradient norm"),
        (
            "step,loss\n1,x\n",
            "no line with a step and a loss or a gradient norm; line 2: loss 'x' is no number",
        ),
    ],
)
def test_a_file_without_a_series(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        read(path, "a")
    assert str(raised.value) == f"{path}: {message}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.csv: No such file or directory"):
        read(tmp_path / "a.csv", "a")


def series(losses: list[float], norms: list[float] | None = None, first: int = 1) -> Series:
    grad_norms = norms or [None] * len(losses)
    points = tuple(
        Point(i, loss, norm, None)
        for i, (loss, norm) in enumerate(zip(losses, grad_norms, strict=True), first)
    )
    return Series(name="a", points=points)


def test_an_alarm_has_its_end() -> None:
    alarms = judge(series([*[2.0] * 16, 3.0, 4.0, 2.0, math.nan, 2.0]), GUARD).alarms
    assert [(a.kind, a.step, a.value, a.size, a.end, a.steps) for a in alarms] == [
        ("loss_spike", 17, 3.0, 2.0, "recovery", 2),
        ("nan", 20, None, None, "recovery", 1),
    ]


def test_what_a_spike_became_ends_with_it_and_what_never_ended_has_no_end() -> None:
    alarms = judge(series([*[2.0] * 16, 3.0, math.nan, 2.0, 3.0]), GUARD).alarms
    assert [(a.kind, a.step, a.end, a.steps) for a in alarms] == [
        ("loss_spike", 17, "recovery", 2),
        ("nan", 18, "recovery", 2),
        ("loss_spike", 20, None, None),
    ]


def test_a_creep_is_an_alarm_that_has_diverged() -> None:
    losses = [*[2.0] * 16, *(2.0 + 0.01 * i for i in range(1, 50))]
    (alarm,) = judge(series(losses), GUARD).alarms
    assert (alarm.kind, alarm.step, alarm.end, alarm.steps) == ("creep", 53, "divergence", 20)


def test_a_log_that_goes_back_leaves_an_alarm_without_an_end() -> None:
    first, second = series([*[2.0] * 16, 3.0]), series([3.0, 2.0], first=17)
    alarms = judge(Series(name="a", points=first.points + second.points), GUARD).alarms
    assert [(a.step, a.end) for a in alarms] == [(17, None), (17, "recovery")]


def test_a_change_of_stage_is_no_spike() -> None:
    web = tuple(Point(i, 2.0, None, "web") for i in range(16))
    books = tuple(Point(i, 3.0, None, "books") for i in range(16, 40))
    assert judge(Series(name="a", points=web + books), GUARD).alarms == []
    unchanged = tuple(Point(point.step, point.loss, None, "web") for point in books)
    assert len(judge(Series(name="a", points=web + unchanged), GUARD).alarms) == 1


def test_what_the_guard_would_have_done_is_counted() -> None:
    norms = [*[0.2] * 16, 2.1, *[0.2] * 24]
    verdict = judge(series([*[2.0] * 17, *[3.0] * 22, math.nan, 2.0], norms), GUARD)
    assert verdict.actions == {"skip": 1, "roll_back": 2}
    assert series_row(verdict) == {
        "series": "a",
        "points": 41,
        "skipped_lines": 0,
        "events": 3,
        "loss_spike": 1,
        "norm_spike": 1,
        "nan": 1,
        "inf": 0,
        "creep": 0,
        "recovered": 2,
        "diverged": 1,
        "skipped_updates": 1,
        "rollbacks": 2,
        "stops": 0,
    }


@pytest.mark.parametrize(
    ("label", "detected"),
    [
        (Label(17, 17), 1),
        (Label(27, 30), 1),  # ten before its start
        (Label(28, 30), 0),
        (Label(2, 7), 1),  # ten after its end
        (Label(2, 6), 0),
    ],
)
def test_an_alarm_near_a_label_is_for_it(label: Label, detected: int) -> None:
    verdict = judge(series([*[2.0] * 16, 3.0]), GUARD, [label])
    assert (verdict.detected, verdict.false_alarms) == (detected, 1 - detected)


def test_two_alarms_for_a_label_are_one_event_and_no_false_alarm() -> None:
    losses = [*[2.0] * 16, 3.0, 2.0, 3.0]
    verdict = judge(series(losses), GUARD, [Label(17, 19), Label(500, 500)])
    assert (len(verdict.alarms), verdict.detected, verdict.false_alarms) == (2, 1, 0)


def test_alarms_of_series_without_a_label_are_counted_apart() -> None:
    losses = [*[2.0] * 16, 3.0]
    verdicts = [judge(series(losses), GUARD, labels) for labels in ([Label(90, 90)], [])]
    sums = total(verdicts)
    assert {
        name: sums[name]
        for name in (
            "series",
            "events",
            "labelled",
            "found",
            "false_alarms",
            "clean_series",
            "clean_false_alarms",
        )
    } == {
        "series": 2,
        "events": 2,
        "labelled": 1,
        "found": 0,
        "false_alarms": 2,
        "clean_series": 1,
        "clean_false_alarms": 1,
    }
    assert "clean_series" not in total([judge(series(losses), GUARD)])


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    head = "file,start_iter,end_iter\n"
    assert read_labels(written(tmp_path, head + "a,1,2\na,5,6\n")) == {
        "a": [Label(1, 2), Label(5, 6)]
    }
    for text, wrong in (
        (head + "a,1,2\na,x,2\n", ":3: start_iter 'x' is no whole number"),
        (head + "a,9,5\n", ":2: end_iter 5 is before start_iter 9"),
        ("file,start\na,1\n", ":2: no column start_iter"),
        ("start_iter,end_iter,file\n1,2\n3\n", ":3: end_iter '' is no whole number"),
    ):
        path = written(tmp_path, text)
        with pytest.raises(ConfigError) as raised:
            read_labels(path)
        assert str(raised.value) == f"--labels: {path}{wrong}"
    with pytest.raises(ConfigError, match="No such file"):
        read_labels(tmp_path / "none.csv")


def test_the_excerpts() -> None:
    labels = [Label(3216, 3216), Label(3646, 3661), Label(3776, 3791)]
    verdicts = [
        judge(read(LOSSES / "mixtral.csv", "mixtral.csv")[0], SpikeGuard(), labels),
        judge(read(LOSSES / "bert.csv", "bert.csv")[0], SpikeGuard(), []),
    ]
    sums = total(verdicts)
    assert (sums["found"], sums["false_alarms"], sums["rollbacks"]) == (3, 0, 0)
