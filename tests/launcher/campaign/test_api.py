"""`import launcher`: docs/python.md as it stands, and the errors of the command as exceptions.

Modules: launcher.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import launcher
from launcher.cli import main
from launcher.results.sweep_folder import SweepFolder
from tests import limits
from tests.conftest import ROOT, environment

EXAMPLE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


def test_the_example_of_the_documents_runs(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = EXAMPLE[0]
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(cache),
        timeout=limits.COMMAND,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    lines = completed.stdout.splitlines()
    assert "1/3 to run" in lines, "the rejected point has its record at the start"
    assert re.fullmatch(r"3/3 [0-9a-f]{12}", next(line for line in lines if line[:3] == "3/3"))
    assert [line.split()[1] for line in lines[-3:]] == ["ok", "ok", "rejected"]

    # What Python has run is the command's: it is tabled, and continued by its words.
    folder = tmp_path / "runs" / "tried"
    assert SweepFolder(folder).command().kind == "sweep"
    assert main(["table", str(folder), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["outcome"] for row in rows) == ["ok", "ok", "rejected"]
    assert len(launcher.table(folder)) == 3


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["layout.ttp=2"], launcher.ConfigError, "layout.ttp: no such key; did you mean"),
        (["layout.tp=1,2"], launcher.ConfigError, "layout.tp: 1,2 is several values; add -m"),
        (["sweep=none"], launcher.ConfigError, "sweep: no 'none'"),
    ],
)
def test_mistakes_are_exceptions(
    overrides: list[str], error: type[Exception], message: str
) -> None:
    for function in (launcher.compose, launcher.plan):
        with pytest.raises(error, match=re.escape(message)):
            function(*overrides)


def test_an_impossible_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    plan = launcher.plan("layout.tp=3", f"output={tmp_path / 'runs'}")
    assert list(plan.refusals.values()) == ["tp 3 does not divide 2 gpus"]
    assert not plan.predictions and not plan.candidates
    with pytest.raises(launcher.LayoutError, match="tp 3 does not divide 2 gpus"):
        launcher.run(plan)
    assert not list(tmp_path.iterdir())


def test_words_of_an_earlier_plan_are_not_those_of_a_request(tmp_path: Path) -> None:
    plan = launcher.plan("layout.tp=3,4", f"output={tmp_path}", "name=x", multirun=True)
    launcher.run(plan)
    assert SweepFolder(tmp_path / "x").command_file.exists()
    launcher.run(launcher.plan(plan.request))
    assert not SweepFolder(tmp_path / "x").command_file.exists()


def test_a_request_is_planned_as_it_is(tmp_path: Path) -> None:
    request = launcher.compose("layout.tp=2", f"output={tmp_path}")
    plan = launcher.plan(request)
    ((name, spec),) = plan.points.items()
    assert spec.layout.tp == 2
    row = launcher.table(plan).iloc[0]
    assert row["pred_mem_gib"] == plan.predictions[name].memory_gib > 0
    assert row["pred_step_ms"] == plan.predictions[name].step_ms > 0
    with pytest.raises(TypeError, match="takes one Request, or overrides such as"):
        launcher.plan(request, "layout.tp=1")


def test_a_changed_request_is_checked_as_any_other(tmp_path: Path) -> None:
    request = launcher.compose("layout.tp=2", f"output={tmp_path}")
    for changes, message in (
        ({"name": "a/b"}, "name: 'a/b' cannot name a folder"),
        ({"max_attempts": -1}, "max_attempts: -1 is below 1"),
        ({"retry": ("bogus",)}, "retry[0]: 'bogus' is not one of"),
        ({"time_limit": "x"}, "time_limit: expected a number, got 'x'"),
    ):
        with pytest.raises(launcher.ConfigError, match=re.escape(message)):
            launcher.plan(replace(request, **changes))


def test_a_plan_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = launcher.plan("layout.tp=2", "name=here")
    monkeypatch.chdir("/")
    assert plan.folder.path == tmp_path / "runs" / "here"
    assert repr(plan) == f"Plan({plan.folder.path}: 1 points, 0 of them refused)"


def test_threads_may_compose(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda tp: launcher.plan(f"layout.tp={tp}"), (1, 2, 1, 2)))
    tps = [spec.layout.tp for plan in plans for spec in plan.points.values()]
    assert tps == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: launcher.compose(["x=1"]), "not a list; write compose(*words)"),
        (lambda: launcher.plan(None), "takes one Request, or overrides such as"),
        (lambda: launcher.run("layout.tp=2"), "run() takes a plan: run(plan(...)), not a str"),
        (lambda: launcher.run(launcher.plan(), 3), "progress is a function of an Update"),
        (lambda: launcher.table(3), "table() takes a Plan, records, or a folder, not a int"),
        (lambda: launcher.table([{}]), "table() takes a Plan, records, or a folder"),
    ],
)
def test_values_of_other_types(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, launcher; print(*sorted({'hydra', 'numpy', 'pandas'} & set(sys.modules)))"
    words = [sys.executable, "-c", code]
    completed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    assert completed.stdout == b"\n"
    assert launcher.__all__ == sorted(launcher._MODULE_OF) and set(dir(launcher)) >= {"plan", "run"}
