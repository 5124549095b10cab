"""Reports, tables and views of a folder with every kind of run below it, damaged in every way."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.report import Options, write
from launcher.cli import main
from tests.conftest import ROOT

EARLIER = ROOT / "tests" / "data" / "earlier_version"
SEEDS = range(12)

STEP = {"step": 1, "tokens": None, "loss": 7.0, "grad_norm": None, "step_ms": None, "stage": "web"}
ODD_LINES = [
    {"step": 3, "loss": "nan", "grad_norm": "inf", "tokens": 10},
    {"step": 4, "loss": None, "step_ms": 0.0, "tokens_per_s": 0.0},
    {"step": 5, "loss": 1e30, "grad_norm": 0.0, "step_ms": 1e12, "stage": ""},
]
FILES = ("spec.json", "status.json", "metrics.jsonl", "result.json", "events.jsonl",
         "imported.json", "request.json", "points.json", "records.jsonl")  # fmt: skip


def mixed(folder: Path) -> None:
    """Make a sweep, a stage, an imported log and sheet, and things that are no runs."""
    shutil.copytree(EARLIER, folder / "sweep")
    (run,) = (path.parent for path in (folder / "sweep").glob("*/result.json"))
    spec = json.loads((run / "spec.json").read_text())
    for number, name in enumerate(("web", "books"), 1):
        stage = folder / "stages" / f"{number}-{name}"
        shutil.copytree(run, stage)
        fields = {"number": number, "name": name, "before": 0, "budget": 4, "warmup_steps": 0}
        staged = spec | {"stage": fields}
        (stage / "spec.json").write_text(json.dumps(staged))
        (stage / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [STEP]))
    log = folder / "a.log"
    log.write_text(
        " iteration 1/ 2 | elapsed time per iteration (ms): 5.0 | lm loss: 3.0 | grad norm: nan |\n"
        " iteration 2/ 2 | elapsed time per iteration (ms): 5.0 | number of skipped iterations: 0 |"
        " number of nan iterations: 1 |\n"
    )
    sheet = folder / "b.csv"
    sheet.write_text("model,tp,pp,tokens/s,outcome\nllama-7b,2,1,1000,ok\n,,,,OOM\n")
    assert main(["import", str(log), str(sheet), "-o", str(folder / "imported")]) == 0
    (folder / "empty").mkdir()


def damage(folder: Path, seed: int) -> None:
    """Cut, empty, remove, replace or lengthen some of the files that runs and sweeps have."""
    chance = random.Random(seed)
    changes: list[Callable[[Path], object]] = [
        lambda path: path.write_bytes(path.read_bytes()[: chance.randrange(200)]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.write_text("[]\n"),
        lambda path: path.write_text("null\n"),
        lambda path: path.write_text(json.dumps(chance.choice(ODD_LINES)) + "\n"),
        lambda path: path.write_bytes(path.read_bytes() + b'{"step": 9, "tokens": "x"}\n'),
    ]
    paths = sorted(path for path in folder.rglob("*") if path.name in FILES)
    for path in chance.sample(paths, min(len(paths), 2 + seed % 6)):
        chance.choice(changes)(path)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_kind_of_damage_is_a_traceback(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "all"
    mixed(folder)
    damage(folder, seed)
    capsys.readouterr()
    runs = analysis.load(folder)
    for table in (runs.table(unfinished=True), runs.steps(), runs.events(), runs.attempts()):
        assert table is not None
    assert runs.failures() is not None and analysis.spikes(runs) is not None
    write(runs, tmp_path / "report.html", Options(title="all"))
    assert (tmp_path / "report.html").stat().st_size > 10_000
    for words in (["table"], ["top", "--once"], ["best"], ["spikes"], ["status"]):
        code = main([*words, str(folder)])
        assert code in (0, 1, 2), words
        errors = capsys.readouterr().err
        assert "Traceback" not in errors, words


def test_the_best_run_is_one_that_can_be_started(tmp_path: Path) -> None:
    mixed(tmp_path / "all")
    runs = analysis.load(tmp_path / "all")
    assert pd.isna(runs.best("tokens_per_s")["spec_id"]) is False
    fast = tmp_path / "fast.csv"
    fast.write_text("model,tokens/s\nllama-7b,1e9\n")
    assert main(["import", str(fast), "-o", str(tmp_path / "all" / "imported")]) == 0
    runs = analysis.load(tmp_path / "all")
    assert runs.best("tokens_per_s")["tokens_per_s"] == 1e9
    assert "model.name: " in runs.best_config()
