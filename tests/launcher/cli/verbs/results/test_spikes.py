"""`launch spikes`: its tables, and its messages on files that are no series."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from launcher import cli
from launcher.results.run_folder import RunFolder
from tests.conftest import ROOT, spec

LOSSES = ROOT / "tests" / "data" / "losses"
MIXTRAL = str(LOSSES / "mixtral.csv")
LABELS = """file,start_iter,end_iter
mixtral.csv,3216,3216
mixtral.csv,3646,3661
mixtral.csv,3776,3791
mixtral.csv,3000,3000
"""


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["spikes", *words, "--format", "json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_json_has_events_counts_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    printed = document(capsys, MIXTRAL, "--set", "patience=150")
    assert printed["settings"]["patience"] == 150
    assert [(e["step"], e["end"], e["steps"]) for e in printed["events"]] == [
        (3216, "recovery", 5), (3646, "recovery", 10), (3776, "recovery", 20),
    ]  # fmt: skip
    assert printed["events"][0] == {
        "series": "mixtral.csv", "kind": "loss_spike", "of": "loss", "step": 3216,
        "value": 2.92649, "baseline": pytest.approx(2.54, abs=0.01),
        "size": pytest.approx(0.39, abs=0.01), "end": "recovery", "steps": 5,
    }  # fmt: skip
    assert printed["series"][0]["loss_spike"] == printed["total"]["events"] == 3


def test_labels_add_recall_and_false_alarms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    words = [MIXTRAL, str(LOSSES / "bert.csv"), "--labels", str(tmp_path / "labels.csv")]
    printed = document(capsys, *words)
    assert [event["labelled"] for event in printed["events"]] == [True] * 3
    assert [(row["labelled"], row["found"], row["false_alarms"]) for row in printed["series"]] == [
        (4, 3, 0), (0, 0, 0),
    ]  # fmt: skip
    assert cli.main(["spikes", *words, "--set", "sigmas=2"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("3 of 4 labelled events found (75.0 %), ")
    assert last.endswith(" in the 1 series without a label")


def test_a_table_has_the_events_the_counts_and_a_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["spikes", MIXTRAL]) == 0
    events, counts, summary = capsys.readouterr().out.split("\n\n")
    assert events.splitlines()[0].split() == [
        "series", "kind", "of", "step", "value", "baseline", "size", "end", "steps",
    ]  # fmt: skip
    assert counts.splitlines()[0].split() == [
        "series",
        "points",
        "events",
        "loss_spike",
        "recovered",
    ]
    assert summary == (
        "190 points: 3 events, 3 recovered, 0 diverged; the guard said skip at 0 steps,"
        " roll back at 0\n"
    )


def test_csv_is_one_row_an_event_and_has_its_columns_without_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["spikes", MIXTRAL, "--format", "csv", "--sort=-step"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["step"] for row in rows] == ["3776", "3646", "3216"]
    assert cli.main(["spikes", str(LOSSES / "bert.csv"), "--format", "csv"]) == 0
    assert capsys.readouterr().out == "series,kind,of,step,value,baseline,size,end,steps\n"


def test_the_folder_of_a_run_and_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [*[2.0] * 40, "nan", 2.0]
    for name in ("one", "two", "no_metrics"):
        folder = RunFolder(tmp_path / name)
        folder.create(spec())
        lines = [
            json.dumps({"step": i, "loss": loss, "grad_norm": 0.2, "stage": None})
            for i, loss in enumerate(losses, 1)
        ]
        if name != "no_metrics":
            folder.metrics.write_text("\n".join(lines) + '\n{"step": 9')
    assert cli.main(["spikes", str(tmp_path / "one"), "--format", "json"]) == 0
    captured = capsys.readouterr()
    event = json.loads(captured.out)["events"][0]
    assert (event["series"], event["kind"], event["step"]) == ("one", "nan", 41)
    assert captured.err == "launch: one: 1 line left out; line 43: is no JSON object\n"
    assert [row["series"] for row in document(capsys, str(tmp_path))["series"]] == ["one", "two"]


def test_a_folder_leaves_out_what_is_no_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(MIXTRAL, tmp_path / "b.csv")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "c.csv").write_text("iteration,loss\n1,2.5\nx,2.5\ny,2.5\n")
    assert cli.main(["spikes", str(tmp_path), "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert [row["series"] for row in json.loads(captured.out)["series"]] == ["b.csv", "c.csv"]
    assert captured.err == (
        f"launch: left out: {tmp_path}/a.csv: no column iteration or step; its columns: x, y\n"
        "launch: c.csv: 2 lines left out; line 3: iteration 'x' is no number\n"
        "launch: c.csv: at most 32 points, too few for a baseline (spike_guard.window 64)\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.csv"], "none.csv: No such file or directory"),
        (["empty"], "empty: no series of losses or gradient norms in this folder"),
        (["a.csv"], "a.csv: no column iteration or step; its columns: x, y"),
        (["b.csv", "--labels", "a.csv"], "--labels: a.csv:2: no column file"),
        (["b.csv", "--set", "patience"], "--set: 'patience' is not KEY=VALUE"),
        (["b.csv", "--set", "patience=[1"], "--set: 'patience=[1' is no YAML"),
        (["b.csv", "--set", "patienc=1"],
         "spike_guard.patienc: no such key; did you mean 'spike_guard.patience'?"),
        (["b.csv", "--set", "skip_factor=2"], "spike_guard.skip_factor: 2 is below"
         " spike_guard.norm_factor 5: updates would be skipped unrecorded"),
        (["b.csv", "--sort", "stepp"], "--sort: no 'stepp'; did you mean 'step'?"),
        ([], "the following arguments are required: FILE.csv|DIR"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("step,loss\n1,2\n")
    assert cli.main(["spikes", *words]) == 2
    assert capsys.readouterr().err == f"launch: {message}\n"


def test_labels_of_series_that_are_not_here_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "l.csv"
    labels.write_text(f"{LABELS}other.csv,1,2\n")
    assert cli.main(["spikes", MIXTRAL, "--labels", str(labels)]) == 0
    assert capsys.readouterr().err == "launch: --labels: not among the series: other.csv\n"
    assert cli.main(["spikes", str(LOSSES / "bert.csv"), "--labels", str(labels)]) == 0
    captured = capsys.readouterr()
    assert captured.err == "launch: --labels: not among the series: mixtral.csv and 1 more\n"
    assert captured.out.splitlines()[-1] == (
        "0 of 0 labelled events found, 0 other alarms, 0 of these in the 1 series without a label"
    )


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\x00\x01", b" iteration 1/ 9 | " + b"x" * 300]
)
def test_what_is_no_table_is_not_printed(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(content)
    assert cli.main(["spikes", str(path)]) == 2
    said = f"launch: {path}: no table with titles; a log is first read by launch import\n"
    assert capsys.readouterr().err == said
