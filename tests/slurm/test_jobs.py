"""Jobs as any shell sees them, and those that `launch cancel` reports as ended by it.

Modules: launcher.campaign.jobs, launcher.cli.verbs.running.cancel, launcher.cli.verbs.running.submit.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import analysis
from launcher.campaign import jobs
from launcher.cli import main
from launcher.cli.schemas import schema_of
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Setting
from slurm import scheduler as module
from slurm.scheduler import Slurm
from tests.conftest import spec
from tests.slurm.fakes import Commands, Limit, make_job, make_options

Make = Callable[..., list[RunFolder]]


@pytest.fixture
def submitted(tmp_path: Path, commands: Commands) -> Make:
    """Make runs that have been handed to sbatch, as job 17."""

    def make(count: int = 1, **settings: object) -> list[RunFolder]:
        commands.say("sbatch", "Submitted batch job 17\n")
        queued_jobs = [make_job(f"r{n}", folder=tmp_path / "s" / f"r{n}") for n in range(count)]
        for job in queued_jobs:
            RunFolder(job.folder).create(spec())
        setting = Setting(
            options=make_options(**settings),
            folder=tmp_path / "s",
            code=tmp_path / ".code",
            hang_after=300.0,
        )
        Slurm(setting).submit(queued_jobs)
        return [RunFolder(job.folder) for job in queued_jobs]

    return make


def standing(run: RunFolder) -> tuple[object, ...]:
    """State, SLURM's state and cause that `launch status` shows of one run."""
    (row,) = jobs.status(run.path)
    return row["state"], row["slurm"], row["cause"]


STANDINGS = [
    # what squeue says of job 17, and how, and what is shown
    ("waits", "17|PENDING||Resources\n", 0, ("queued", "PENDING Resources", None)),
    ("runs", "17|RUNNING|n1|None\n", 0, ("queued", "RUNNING", None)),
    ("cancelled", "17|CANCELLED||None\n", 0, ("cancelled", "CANCELLED", None)),
    ("failed", "17|FAILED|n1|NonZeroExitCode\n", 0, ("ended", "FAILED", None)),
    ("forgotten", "", 0, ("gone", "has it no more", None)),
    ("silent", "", 1, ("queued", "does not answer", None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "code", "expected"), [s[1:] for s in STANDINGS], ids=[s[0] for s in STANDINGS]
)
def test_where_a_run_stands(
    output: str, code: int, expected: tuple[object, ...], submitted: Make, commands: Commands
) -> None:
    (run,) = submitted()
    commands.say("squeue", output, code=code)
    assert standing(run) == expected
    assert len(commands.calls("squeue")) == 1


def test_what_is_left_of_an_array_that_was_cancelled(
    submitted: Make, commands: Commands, tmp_path: Path
) -> None:
    submitted(2)
    commands.say("squeue", "17_0|RUNNING|n1|None\n17|CANCELLED||JobArrayTaskLimit\n")
    assert [row["state"] for row in jobs.status(tmp_path / "s")] == ["queued", "cancelled"]


def test_a_cause_reads_the_same_in_the_table(submitted: Make, commands: Commands) -> None:
    (run,) = submitted()
    commands.say("squeue")
    status = run.status()
    assert status is not None
    run.write_status(replace(status, state="ended", stopped="cancelled", reason="SLURM says so"))
    (row,) = analysis.load(run.path).table().to_dict(orient="records")
    assert standing(run) == (row["outcome"], None, row["cause"])
    assert standing(run) == ("cancelled", None, "cancelled on request")


def test_only_what_was_ended_is_counted(
    submitted: Make, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the three ends well while SLURM is asked to end it."""
    runs = submitted(3)
    monkeypatch.setattr(module, "LOOK", 0.0)
    monkeypatch.setattr(module, "SETTLED", 0.0)
    commands.say("sacct", "JobID|State|NodeList\n")
    commands.say("squeue", "".join(f"17_{n}|CANCELLED||None\n" for n in range(3)))
    status = runs[1].status()
    assert status is not None
    finished = runs[1].path / "done"
    finished.mkdir()
    RunFolder(finished).write_status(replace(status, state="ended", exit_codes=(0, 0, 0, 0)))
    commands.write("scancel", f"#!/bin/sh\ncp {finished}/status.json {runs[1].path}/status.json\n")
    assert jobs.cancel(tmp_path / "s") == ["r0", "r2"]
    statuses = [run.status() or Status(state="queued") for run in runs]
    assert [status.stopped for status in statuses] == ["cancelled", None, "cancelled"]


def test_what_was_edited_since(submitted: Make) -> None:
    runs = submitted(2, partition="a", interval=2.0)
    unchanged = make_options(partition="a", interval=9.0)
    assert jobs.edited(runs, unchanged, 3600.0) == ""
    assert jobs.edited(runs[:1], replace(unchanged, partition="b", exclude=("n1",)), 3600.0) == (
        "1 job was submitted before with another scheduler.exclude, scheduler.partition"
    )
    assert (
        jobs.edited(runs, unchanged, 60.0) == "2 jobs were submitted before with another time_limit"
    )


TWO = ("submit", "-m", "cluster=local_slurm", "train.seed=1,2")


def test_what_is_submitted_again_with_other_options(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is submitted twice, and that the first options hold is said."""
    commands.say("sbatch", "Submitted batch job 17\n")
    words = [*TWO, f"output={tmp_path}", "name=a b"]
    assert main(words) == 0
    assert main([*words, "scheduler.interval=9"]) == 0
    first_line = f"{tmp_path}/a b: 2 points, 2 to run\n"
    assert capsys.readouterr().err == 2 * first_line
    assert main([*words, "scheduler.partition=low", "time_limit=60"]) == 0
    assert capsys.readouterr().err == first_line + (
        "launch: 2 jobs were submitted before with another scheduler.partition, time_limit;"
        f" launch cancel '{tmp_path}/a b' takes them back\n"
    )
    assert len(commands.calls("sbatch")) == 1


def test_what_slurm_does_not_take_now_is_said(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Limit(commands, 1)
    assert main([*TWO, f"output={tmp_path}", "name=few"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 of 2 points are queued or running; then:",
        f"  launch status {tmp_path}/few",
        "SLURM takes no more at once: the same command submits the other 1 when some have ended",
    ]


@pytest.mark.parametrize("verb", [[], ["submit"]])
def test_what_is_handed_over_as_data(
    verb: list[str], commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of ``launch status`` on stdout, also where nothing can run; the words on stderr."""
    commands.say("sbatch", "Submitted batch job 17\n")
    commands.say("squeue", "17_0|PENDING||Resources\n17_1|RUNNING|n1|None\n")
    words = [*verb, *TWO[1:], f"output={tmp_path}", "--format", "json"]
    words += [] if verb else ["detach=true", "--sort", "row"]
    assert main([*words, "name=two"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    jsonschema.validate(rows, schema_of("submit"))
    assert [(row["state"], row["job"]) for row in rows] == [("queued", "17_0"), ("queued", "17_1")]
    assert captured.err.splitlines()[1:] == [
        "2 of 2 points are queued or running; then:",
        f"  launch status {tmp_path}/two",
    ]
    assert main([*words, "name=none", "layout.tp=3"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_stage_that_is_handed_over_as_data(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.say("sbatch", "Submitted batch job 17\n")
    commands.say("squeue", "17|PENDING||Resources\n")
    words = ["curriculum=four_stage", "cluster=local_slurm", f"output={tmp_path}", "detach=true"]
    assert main([*words, "--format", "json"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    jsonschema.validate(rows, schema_of("submit"))
    assert {"run": "1-web", "state": "queued", "slurm": "PENDING Resources"}.items() <= rows[
        0
    ].items()
    assert "1-web is queued or runs, 3 stages to come:\n" in captured.err
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("1-web is queued or runs, 3 stages to come:\n")


def test_a_strategy_that_learns_says_who_chooses_the_rest(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.say("sbatch", "Submitted batch job 17\n")
    words = [*TWO, f"output={tmp_path}", "name=few", "sweep.strategy=best_first", "parallel=1"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "best_first chooses the others by what these show: the same words without submit or detach"
        " go on"
    )
    assert len(commands.calls("sbatch")) == 1


DRY = [
    # what sbatch --test-only says, and how: the exit code, the line of the dry run, and the error
    ("sbatch: Job 17 to start now\n", 0, 0, ["Job 17 to start now"], ""),
    ("sbatch: error: AssocMaxSubmitJobLimit\n", 1, 0,
     ["scheduler.account=null: sbatch refuses: AssocMaxSubmitJobLimit"], ""),
    ("sbatch: error: Unable to contact slurm controller\n", 1, 0,
     ["scheduler: sbatch refuses: Unable to contact slurm controller"], ""),
    ("sbatch: error: invalid partition specified: main\n", 1, 2, [],
     "launch: scheduler.partition=main: sbatch refuses: invalid partition specified: main\n"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "code", "ends", "lines", "error"), DRY)
def test_a_dry_run_asks_sbatch(
    answer: str,
    code: int,
    ends: int,
    lines: list[str],
    error: str,
    commands: Commands,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once for each script, and it submits nothing."""
    commands.say("sbatch", errors=answer, code=code)
    assert main([*TWO, f"output={tmp_path}/runs", "--dry-run"]) == ends
    output, errors = capsys.readouterr()
    test_lines = [line for line in output.splitlines() if "--test-only" in line]
    assert test_lines == [f"# sbatch --test-only: {line}" for line in lines] and errors == error
    (words,) = commands.calls("sbatch")
    assert words[-1] == "--test-only" and not (tmp_path / "runs").exists()


def test_a_dry_run_needs_no_sbatch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*TWO, f"output={tmp_path}/runs", "--dry-run"]) == 0
    assert "--test-only" not in capsys.readouterr().out
