"""Constants from the records of a sweep of one's own, whose specs say all that a sheet may not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from launcher.backends import engine_traits
from launcher.cli import main
from launcher.errors import ConfigError
from launcher.planner import steptime
from launcher.planner.constants import constants_of
from launcher.results.record import Figures
from launcher.sheets import fit, predictions, records
from tests.launcher.sheets.made_records import START, measured, specs, written


@pytest.mark.parametrize("ending", records.ENDINGS)
def test_the_constants_of_the_machine_come_back(ending: str, tmp_path: Path) -> None:
    """Also `unfused`, of which no sheet tells: its rows are of other programs."""
    sheet = records.read(written(tmp_path / f"records{ending}", measured(specs())), engine_traits)
    fitted = fit.fit(sheet, start=START)
    assert fit.gaps(sheet) == {}
    assert fitted.memory.unfused > 1.05 * START.memory.unfused
    assert fitted.time.matmul_h100 < 0.95 * START.time.matmul_h100
    seconds = steptime.step_time(sheet.points, fitted.time).total
    assert np.abs(seconds / sheet.step_seconds - 1).max() < 0.05
    before = steptime.step_time(sheet.points, START.time).total
    assert np.abs(before / sheet.step_seconds - 1).min() > 0.05
    assert fitted.time.network == START.time.network, "of which one card says nothing"


def test_what_ran_out_of_memory_bounds_what_it_wanted(tmp_path: Path) -> None:
    runs = measured(specs())
    failed = [dataclasses.replace(run, outcome="oom", figures=Figures()) for run in runs[:2]]
    sheet = records.read(written(tmp_path / "records.jsonl", [*failed, *runs[2:]]), engine_traits)
    assert sheet.oom.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert np.isnan(sheet.step_seconds).tolist() == [True] * 2 + [False] * 6
    without = records.read(written(tmp_path / "fewer.jsonl", runs[2:]), engine_traits)
    larger, usual = (fit.fit(s, start=START).memory.unfused for s in (sheet, without))
    assert larger > usual


def test_what_never_ran_is_no_row(tmp_path: Path) -> None:
    runs = measured(specs())
    rejected = dataclasses.replace(runs[0], outcome="rejected", cause="no", figures=Figures())
    path = written(tmp_path / "records.jsonl", [rejected, *runs[1:]])
    assert len(records.read(path, engine_traits).rows) == 7


def test_the_memory_of_a_process_is_that_of_no_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The constants of time are fitted, and plans change; those of memory stay, in words."""
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "mine.json", measured(specs(), on_card=False))
    assert main(["plan", "--fit", str(path), "-o", "constants.json"]) == 0
    output = capsys.readouterr()
    assert output.err == (
        "launch: --fit: no row states its sizes, layout and a mem_gb of 20 or more:"
        " the constants of memory stay as they are\n"
    )
    assert "H100-SXM5-80GB" in output.out
    fitted = constants_of("constants.json")
    assert fitted.memory == START.memory and fitted.time != START.time
    assert fitted.fitted == "launch plan --fit mine.json"
    words = ["plan", "model=llama_1b", "cluster=h100", "train=pretrain", "--format", "json"]
    steps = []
    for constants in ([], ["constants=constants.json"]):
        assert main([*words, *constants]) == 0
        steps.append(json.loads(capsys.readouterr().out)[0]["pred_step_ms"])
    assert steps[1] > 1.05 * steps[0]


def test_errors_before_a_fit_are_those_of_the_shipped_constants(tmp_path: Path) -> None:
    sheet = records.read(written(tmp_path / "mine.json", measured(specs())), engine_traits)
    _, rows = predictions.fitted(sheet, tmp_path / "mine.json", START)
    error = next(row for row in rows if row["of"] == "step time")
    seconds = steptime.step_time(sheet.points, START.time).total
    expected = 100 * float(np.median(np.abs(seconds / sheet.step_seconds - 1)))
    assert error["median_err_pct"] == round(expected, 1) > 5
    assert (error["source"], error["rows"]) == ("H100-SXM5-80GB", 8)


REFUSED = [
    ("gone.jsonl", None, "gone.jsonl: No such file"),
    ("empty.jsonl", "", "empty.jsonl: no record of a run"),
    ("list.json", "[]", 'list.json: has no list "records"'),
    ("none.json", '{"records": []}', "none.json: no record of a run"),
    ("half.json", '{"records": ', "half.json: Expecting value: line 1 column 13 (char 12)"),
    ("other.json", '{"records": [{"outcome": "ok"}]}', "other.json: spec: is required"),
]


@pytest.mark.parametrize(("name", "text", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_file_that_holds_no_records_is_refused(
    name: str, text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        records.read(tmp_path / name, engine_traits)
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    (run, *_) = measured(specs())
    foreign = dataclasses.replace(run, spec=dataclasses.replace(run.spec, backend="megatroon"))
    with pytest.raises(ConfigError, match=r"^backend: no 'megatroon'; did you mean 'megatron'\?"):
        records.read(written(tmp_path / "r.jsonl", [foreign]), engine_traits)
