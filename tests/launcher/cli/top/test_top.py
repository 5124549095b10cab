"""`launch top`: the figures of a folder, how they are drawn, and that it leaves no trace.

Modules: launcher.cli.top.render, launcher.cli.top.screen, launcher.cli.top.sections,
launcher.cli.top.snapshot, launcher.cli.top.summary, launcher.cli.top.tail,
launcher.cli.top.text_cells, launcher.cli.top.watched_sweep, launcher.cli.top.watched_trial,
launcher.cli.top.watcher, launcher.cli.verbs.running.top.
"""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher import cli
from launcher.campaign import jobs
from launcher.cli.top.render import picture
from launcher.cli.top.snapshot import Budget, Running, Snapshot
from launcher.cli.top.tail import Tail
from launcher.cli.top.text_cells import duration, sparkline
from launcher.cli.top.watcher import Watcher
from launcher.files import write_json
from launcher.results import imported, record
from launcher.results.imported import Imported
from launcher.results.record import Figures, RunRecord
from launcher.results.run_folder import RunFolder, Status
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec, Stage
from slurm.states import State
from tests import limits
from tests.conftest import command, environment, spec

NOW = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC."""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(step: int, **figures: Any) -> str:
    """A line of metrics.jsonl."""
    defaults = {
        "step": step,
        "loss": 9.0 - step,
        "step_ms": 500.0,
        "tokens_per_s": 1000.0 + step,
        "mem_max_gib": 0.5,
        "attempt": 1,
    }
    return json.dumps(defaults | figures) + "\n"


def write(path: Path, text: str, when: float = NOW) -> None:
    """Write a file as if it had been written at that time."""
    path.write_text(text)
    os.utime(path, (when, when))


def make_run(
    sweep: Path, run_spec: RunSpec, status: Status | None = None, steps: int = 0
) -> RunFolder:
    """Make a run's folder."""
    run = RunFolder(sweep / run_spec.name)
    run.create(run_spec)
    if status:
        run.write_status(status)
        os.utime(run.path / "status.json", (NOW - 30, NOW - 30))
    if steps:
        write(run.metrics, "".join(line(step) for step in range(1, steps + 1)), NOW - 3)
    return run


def running(**changes: Any) -> Status:
    return Status(state="running", started=NOW - 90, time_limit=3600.0, **changes)


def points(count: int) -> list[RunSpec]:
    return [spec(ParallelLayout(micro_batch=1, zero=zero)) for zero in range(count)]


def ended(run_spec: RunSpec, outcome: Any, cause: str | None = None, **changes: Any) -> RunRecord:
    """A record of half an hour on two ranks."""
    defaults = {"attempt": 1, "seconds": 1800.0, "ended": NOW - 240}
    return RunRecord(spec=run_spec, outcome=outcome, cause=cause, **{**defaults, **changes})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep with a point in each state but rejected, which has no folder."""
    folder = tmp_path / "grid"
    folder.mkdir()
    best, oom, runs, starts = points(4)
    rejected, queued, to_come = (
        spec(ParallelLayout(micro_batch=2, zero=zero)) for zero in (0, 1, 2)
    )
    end = {"state": "ended", "started": NOW - 2040, "ended": NOW - 240}
    make_run(folder, best, Status(**end, exit_codes=(0, 0)))
    make_run(folder, oom, Status(**end, exit_codes=(1, None)))
    run = make_run(folder, runs, running(attempt=2, job_id="17_3", nodes=("n1", "n2")), steps=3)
    run.add_event("loss_spike", 2, of="loss")
    run.add_event("skip", 2, reason="odd")
    first_attempt = run.path / "attempts" / "1"
    (first_attempt / "log").mkdir(parents=True)
    lost_node = Status(
        state="ended", started=NOW - 400, ended=NOW - 300, stopped="node", reason="n9 is gone"
    )
    write_json(first_attempt / "status.json", record.encode(lost_node))
    make_run(folder, starts, running())
    make_run(folder, queued, Status(state="queued", job_id="18"))
    records = [
        ended(best, "ok", figures=Figures(tokens_per_s=4321.0)),
        ended(oom, "oom", "CUDA out of memory. Tried to allocate 2.00 GiB\x1b[2J"),
        RunRecord(spec=rejected, outcome="rejected", cause="no"),
    ]
    record.write(folder / "records.jsonl", records)
    names = [point.name for point in (best, oom, runs, starts, rejected, queued, to_come)]
    write_json(folder / "points.json", names)
    return folder


def text(snapshot: Snapshot, width: int, height: int | None = None, foot: str = "") -> str:
    """Draw the picture, with names in the place of hashes."""
    snapshot = replace(snapshot, folder="grid")
    lines = [row.plain for row in picture(snapshot, width, height, foot)]
    assert all(len(row) <= width for row in lines)
    assert height is None or len(lines) <= height
    screen = "\n".join(lines)
    for number, point in enumerate(points(4)):
        screen = screen.replace(point.name, f"<id of zero {number}>"[:12])
    return screen


AT_80 = """\
grid  2027-01-15 08:00:00
3/7 points ended  1 ok  1 oom  1 rejected  2 running  1 queued  1 not started
2.16 GPU hours  at most 58 min left  best zero 0 micro_batch 1, 4,321 tokens/s

running 2
zero 2 micro_batch 1  attempt 2  17_3 n1 +1  limit in 58 min  1 spike, 1 skip
  3/4, 3 s ago  loss 6.000  █▅▁  1,003 tokens/s  ▁▅█  0.5 GiB
zero 3 micro_batch 1                         limit in 58 min
  starts, 90 s

failed 2
oom   4 min ago  <id of zero /log             zero 1 micro_batch 1
  CUDA out of memory. Tried to allocate 2.00 GiB [2J
node  5 min ago  <id of zero /attempts/1/log  zero 2 micro_batch 1 (attempt 1)
  n9 is gone

waiting 2
zero 1 micro_batch 2  queued 30 s  18
and 1 more"""

AT_160 = """\
grid  2027-01-15 08:00:00
3/7 points ended  1 ok  1 oom  1 rejected  2 running  1 queued  1 not started
2.16 GPU hours  at most 58 min left  best zero 0 micro_batch 1, 4,321 tokens/s

running 2
zero 2 micro_batch 1  attempt 2  17_3 n1 +1  3/4, 3 s ago  loss 6.000  █▅▁  1,003 tokens/s  ▁▅█  0.5 GiB  limit in 58 min  1 spike, 1 skip
zero 3 micro_batch 1                         starts, 90 s                                                 limit in 58 min

failed 2
oom   4 min ago  <id of zero /log             zero 1 micro_batch 1              CUDA out of memory. Tried to allocate 2.00 GiB [2J
node  5 min ago  <id of zero /attempts/1/log  zero 2 micro_batch 1 (attempt 1)  n9 is gone

waiting 2
zero 1 micro_batch 2  queued 30 s  18
and 1 more"""

SMALL = """\
grid  2027-01-15 08:00:00
3/7 points ended  1 ok
1 oom  1 rejected  2 running
1 queued  1 not started
2.16 GPU hours
at most 58 min left
best zero 0 micro_batch 1, …

running 2
zero 2 micro_batch 1  attem…
  3/4, 3 s ago  loss 6.000 …

failed 2

waiting 2
q quits"""


def test_a_picture_of_80_columns(sweep: Path) -> None:
    assert text(Watcher(sweep).snapshot(NOW), 80) == AT_80


def test_a_picture_of_160_columns(sweep: Path) -> None:
    assert text(Watcher(sweep).snapshot(NOW), 160) == AT_160


def test_no_terminal_is_too_small(sweep: Path) -> None:
    snapshot = Watcher(sweep).snapshot(NOW)
    assert text(snapshot, 28, 16, "q quits") == SMALL
    for width in (1, 7, 40, 119, 120, 300):
        for height in (1, 2, 5, 24, 80):
            assert text(snapshot, width, height, "q quits")


def test_the_limits_of_a_sweep_are_those_of_its_words(sweep: Path) -> None:
    overrides = [
        "sweep=parallelism_grid",
        "sweep.strategy=grid",
        "sweep.stop.trials=5",
        "sweep.stop.gpu_hours=10",
    ]
    saved = {"overrides": overrides, "folder": str(sweep), "kind": "sweep"}
    write_json(sweep / "request.json", saved)
    head = text(Watcher(sweep, once=True).snapshot(NOW), 200).splitlines()[2]
    assert head.startswith(
        "2.16 GPU hours of 10, 7.84 left  2 of 5 trials, 3 left  about 58 min left  best "
    )
    write_json(sweep / "request.json", saved | {"overrides": ["sweep=gone"]})
    assert "2.16 GPU hours  at most" in text(Watcher(sweep, once=True).snapshot(NOW), 200)


def stages(folder: Path) -> list[RunFolder]:
    """Three stages of four steps: one done, one at its second step, one to come."""
    runs = []
    for number in (1, 2, 3):
        stage = Stage(
            number=number,
            name=f"s{number}",
            steps_before=4 * number - 4,
            parent=None,
            tokens_before=1024 * number - 1024,
            schedule_after=0,
            schedule_steps=12,
            samples_before={},
            source_tokens={},
            max_epochs=4.0,
        )
        runs.append(make_run(folder, replace(spec(), stage=stage)))
    runs[0].write_status(Status(state="ended", started=NOW - 80, ended=NOW - 70, exit_codes=(0, 0)))
    write(runs[0].metrics, "".join(map(line, range(1, 5))))
    write_json(runs[0].path / "result.json", {})
    runs[1].write_status(running())
    write(runs[1].metrics, line(5, loss=3.5) + line(6, loss=None, tokens_per_s=600.0), NOW - 30)
    (runs[1].checkpoints / "step-00000005").mkdir(parents=True)
    os.utime(runs[1].checkpoints / "step-00000005", (NOW - 120, NOW - 120))
    write_json(folder / "points.json", [run.path.name for run in runs])
    return runs


STAGES = """\
grid  2027-01-15 08:00:00
1/3 stages ended  1 ok  1 running  1 not started
stage 2/3 s2  step 6/12  1,536 of 3,072 tokens  2 s left at this speed
checkpoint of step 5, 2 min ago
0.0556 GPU hours

running 1
2-s2  limit in 58 min
  6/8, stuck? 30 s  ▄   600 tokens/s  █▁  0.5 GiB

waiting 1
3-s3  not started"""


def test_a_curriculum_says_how_far_it_is(tmp_path: Path) -> None:
    stages(tmp_path)
    assert text(Watcher(tmp_path).snapshot(NOW), 80) == STAGES


def test_a_stage_by_itself(tmp_path: Path) -> None:
    snapshot = Watcher(stages(tmp_path)[1].path).snapshot(NOW)
    assert snapshot.points == 1 and snapshot.training and snapshot.training.stage == "s2"
    assert [trial.label for trial in snapshot.running] == ["2-s2"]


def test_sweeps_below_one_folder(sweep: Path) -> None:
    run = make_run(sweep.parent / "other", spec(gpus=1), running(), steps=1)
    labels = [trial.label for trial in Watcher(sweep.parent).snapshot(NOW).running]
    assert labels == [
        "grid: zero 2 micro_batch 1",
        "grid: zero 3 micro_batch 1",
        f"other: {run.path.name}",
    ]


def test_what_slurm_knows_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job it has no more is no queued one; what it was not asked about is as its folder says."""
    for job, point in zip(("17", "18", "19"), points(3), strict=True):
        make_run(tmp_path, point, Status(state="queued", job_id=job, submission=f"t{job}"))
    states = {"17": State("PENDING", reason="Priority"), "18": State("CANCELLED")}
    monkeypatch.setattr(jobs, "ask_slurm", lambda live: states)
    snapshot = Watcher(tmp_path, once=True).snapshot(NOW)
    assert [trial.job_state for trial in snapshot.waiting] == ["17 PENDING Priority"]
    assert sorted(failure.outcome for failure in snapshot.failures) == ["cancelled", "gone"]
    assert snapshot.outcomes == (("cancelled", 1), ("gone", 1))
    monkeypatch.setattr(jobs, "ask_slurm", lambda live: None)
    snapshot = Watcher(tmp_path, once=True).snapshot(NOW)
    assert snapshot.remarks == ("SLURM does not answer",) and snapshot.queued == 3


def test_metrics_are_read_from_where_they_ended(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "m")
    assert tail.read().lines == [] and not tail.read().fresh
    tail.path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    first = tail.read()
    assert first.lines == [{"step": 1}, {"step": 2}] and first.fresh
    with tail.path.open("a") as file:
        file.write('ep": 3}\n[]\nno\n{"step": 4}\n')
    second = tail.read()
    assert second.lines == [{"step": 3}, {"step": 4}] and not second.fresh and tail.damaged == 2
    assert tail.read().lines == []


def test_a_file_in_its_place_is_read_from_its_start(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "m")
    tail.path.write_text('{"step": 1}\n{"step": 2}\n')
    tail.read()
    for number, replaced in enumerate(('{"step": 1}\n{"step": 7}\n{"step": 8}\n', '{"step": 1}\n')):
        if number:
            tail.path.write_text(replaced)  # the same file, shorter
        else:
            (tmp_path / "new").write_text(replaced)
            os.replace(tmp_path / "new", tail.path)
        new = tail.read()
        assert new.fresh and new.lines == [json.loads(text) for text in replaced.splitlines()]
    tail.path.write_text('{"step": 5}\n{"step": 6}\n')  # the same file, longer, other bytes
    assert tail.read().lines == [{"step": 5}, {"step": 6}]
    tail.path.unlink()
    assert tail.read().fresh and tail.written is None


def test_of_a_long_file_the_end_is_read(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "m", max_bytes=40)
    tail.path.write_text("".join(f'{{"step": {step}}}\n' for step in range(1000, 2000)))
    assert tail.read().lines == [{"step": 1998}, {"step": 1999}]


def test_a_trial_as_it_grows_and_starts_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, spec(), running(), steps=2)
    watcher = Watcher(tmp_path)

    def losses() -> tuple[float | None, ...]:
        (trial,) = watcher.snapshot(NOW).running
        return trial.losses

    assert losses() == (8.0, 7.0)
    with run.metrics.open("a") as file:
        file.write(line(3, loss=float("nan")) + line(4)[:9])
    assert repr(losses()) == "(8.0, 7.0, nan)"
    run.next_attempt()
    assert watcher.snapshot(NOW).not_started == 1
    run.write_status(running(attempt=2))
    assert losses() == ()
    write(run.metrics, line(1, loss=4.0))
    assert losses() == (4.0,)
    run.write_status(
        Status(state="ended", attempt=2, started=NOW - 9, ended=NOW, exit_codes=(1, 1))
    )
    assert [f.outcome for f in watcher.snapshot(NOW).failures] == ["failed"]


def test_a_trial_that_is_started_is_seen(tmp_path: Path) -> None:
    make_run(tmp_path, points(1)[0], running())
    watcher = Watcher(tmp_path)
    assert len(watcher.snapshot(NOW).running) == 1
    make_run(tmp_path, points(2)[1], running())
    assert {trial.label for trial in watcher.snapshot(NOW).running} == {"zero 0", "zero 1"}


BROKEN = [
    ("status.json", '{"state": "run'),
    ("spec.json", "{}"),
    ("metrics.jsonl", "no\n"),
    ("events.jsonl", "\x00\n[1]\n"),
    ("../records.jsonl", '{"spec": 1}\nno\n'),
    ("../points.json", "["),
    ("../request.json", "["),
]


@pytest.mark.parametrize(("name", "content"), BROKEN, ids=[name for name, _ in BROKEN])
def test_what_cannot_be_read_is_said(name: str, content: str, sweep: Path) -> None:
    run = sweep / points(3)[2].name
    (run / name).write_text(content)
    watcher = Watcher(sweep, once=True)
    first, snapshot = watcher.snapshot(NOW), watcher.snapshot(NOW)
    assert first.remarks == snapshot.remarks
    if name != "../request.json":  # without it only limits are unknown
        (remark,) = snapshot.remarks
        assert remark.startswith(str((run / name).resolve())) and "\n" not in remark
    assert text(snapshot, 80)


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", "[[1]]", '"abc"', "null"])
def test_points_that_are_no_names_are_said(content: str, sweep: Path) -> None:
    (sweep / "points.json").write_text(content)
    (remark,) = Watcher(sweep).snapshot(NOW).remarks
    assert remark == f"{sweep.resolve()}/points.json: not a list of the names of points"


def test_a_folder_that_cannot_be_read_is_said(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut = sweep.resolve() / points(3)[2].name
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != shut and access(path, mode))
    assert Watcher(sweep).snapshot(NOW).remarks == (f"{shut}: cannot be read",)


def test_what_was_copied_without_a_status_has_ended(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, point, steps=steps)
        for point, steps in zip(points(3), (4, 2, 0), strict=True)
    ]
    watcher = Watcher(tmp_path)
    assert watcher.snapshot(NOW).outcomes == (("failed", 2),)
    runs[0].write_result({"steps": 4})  # the copy goes on
    snapshot = watcher.snapshot(NOW)
    assert snapshot.outcomes == (("ok", 1), ("failed", 1)) and snapshot.not_started == 1
    assert snapshot.best and snapshot.best[0] == "zero 0"


def test_the_best_is_that_of_the_goal(tmp_path: Path) -> None:
    fast, well = points(2)
    end = {"state": "ended", "started": NOW - 2040, "ended": NOW - 240}
    for point in (fast, well):
        make_run(tmp_path, point, Status(**end, exit_codes=(0, 0)))
    records = [
        ended(fast, "ok", figures=Figures(tokens_per_s=4321.0, loss_last=7.5)),
        ended(well, "ok", figures=Figures(tokens_per_s=1234.0, loss_last=6.25)),
    ]
    record.write(tmp_path / "records.jsonl", records)
    assert "best zero 0, 4,321 tokens/s" in text(Watcher(tmp_path).snapshot(NOW), 120)
    words = {"overrides": ["sweep=hyperparameters"], "folder": str(tmp_path), "goal": "loss_last"}
    write_json(tmp_path / "request.json", words)
    snapshot = Watcher(tmp_path).snapshot(NOW)
    assert (snapshot.goal, snapshot.best) == ("loss_last", ("zero 1", 6.25))
    assert "best zero 1, loss_last 6.2500" in text(snapshot, 120)


@pytest.mark.parametrize("inside", ["", "run"])
def test_of_imported_runs_nothing_runs(
    inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    run = Imported(format="megatron", source="log", sha256="0", outcome="ok")
    imported.write(tmp_path / "run", run)
    folder = str(tmp_path / inside)
    assert cli.main(["top", folder]) == 2
    message = f"launch: {folder}: nothing of this project runs there: all of it was imported\n"
    assert capsys.readouterr().err == message


def test_a_folder_that_vanishes(sweep: Path) -> None:
    watcher = Watcher(sweep)
    watcher.snapshot(NOW)
    shutil.rmtree(sweep / points(3)[2].name)
    assert len(watcher.snapshot(NOW).running) == 1
    shutil.rmtree(sweep)
    snapshot = watcher.snapshot(NOW)
    assert snapshot.remarks and text(snapshot, 80)
    assert all("\n" not in remark for remark in snapshot.remarks)


SPARKS = [
    ((1.0, 2.0, 3.0), 3, "▁▅█"),
    ((9.0, 1.0, None, 3.0), 3, "▁ █"),
    ((2.0, 2.0), 9, "▄▄"),
    ((None, None), 9, ""),
    ((), 9, ""),
    ((1.0,), 0, ""),
]


@pytest.mark.parametrize(("values", "width", "expected"), SPARKS)
def test_sparklines(values: tuple[float | None, ...], width: int, expected: str) -> None:
    assert sparkline(values, width) == expected


def test_durations() -> None:
    texts = [duration(seconds) for seconds in (0.4, 99, 100, 5999, 6000, 172_799, 172_800)]
    assert texts == ["0 s", "99 s", "2 min", "100 min", "1.7 h", "48.0 h", "2.0 d"]


def test_once_prints_one_picture(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([str(sweep)], ["--once", str(sweep)]):
        assert cli.main(["top", *words]) == 0
        printed = capsys.readouterr().out
        assert "3/7 points ended" in printed and "\x1b" not in printed and "quits" not in printed


WRONG = [
    (["--every", "0"], "--every: 0 is not between 0.1 and 3600"),
    (["--every", "nan"], "--every: nan is not between 0.1 and 3600"),
    (["--every", "x"], "argument --every: invalid float value: 'x'"),
    ([], "{path}: no runs below this folder"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["top", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err == f"launch: {message.format(path=tmp_path)}\n"


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Contents of all files below a folder, and the times of their last changes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


def key(terminal: int, process: "subprocess.Popen[bytes]") -> None:
    os.write(terminal, b"xq")


def control_c(terminal: int, process: "subprocess.Popen[bytes]") -> None:
    os.write(terminal, b"\x03")


def terminate(terminal: int, process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("quit_by", [key, control_c, terminate])
def test_quitting_leaves_the_terminal_and_the_folder_as_they_were(
    quit_by: Any, sweep: Path, cache: Path
) -> None:
    ours, theirs = pty.openpty()
    settings, files = termios.tcgetattr(theirs), content(sweep)
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command(["top", str(sweep), "--every", "0.2"])],
        env={**environment(cache), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    screen = until(ours, b"q quits, the jobs go on")
    assert termios.tcgetattr(theirs) != settings
    assert screen.index(b"\x1b[?1049h") < screen.index(b"2 running")
    quit_by(ours, process)
    screen = until(ours, b"\x1b[?1049l")
    assert process.wait(limits.COMMAND) == 0
    assert b"\x1b[?25h" in screen and b"Traceback" not in screen
    assert termios.tcgetattr(theirs) == settings and content(sweep) == files
    os.close(theirs)
    os.close(ours)


def until(terminal: int, end: bytes) -> bytes:
    """Output of a terminal, up to some bytes."""
    output, deadline = b"", time.monotonic() + limits.EVENT
    while end not in output and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1.0)[0]:
            output += os.read(terminal, 65536)
    assert end in output, output
    return output


def test_many_trials_are_cut_to_the_screen() -> None:
    trial = Running(
        label="a" * 60,
        attempt=1,
        place="",
        step=5,
        last=9,
        losses=(1.0, 2.0),
        speeds=(1.0, 2.0),
        memory_gib=None,
        silent=1.0,
        stuck=False,
        limit=None,
        events="",
    )
    snapshot = Snapshot(
        folder="/runs",
        time=NOW,
        unit="point",
        points=900,
        outcomes=(),
        running=(trial,) * 400,
        waiting=(),
        queued=0,
        not_started=500,
        failures=(),
        budget=Budget(gpu_hours=0.0),
    )
    lines = text(snapshot, 80, 24).splitlines()
    assert len(lines) == 24 and lines[-3:] == ["and 392 more", "", "waiting 500"]
