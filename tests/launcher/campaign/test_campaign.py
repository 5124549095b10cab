"""Campaigns, with scripts in the place of the programs that train.

Modules: launcher.campaign.campaign, launcher.campaign.trials, launcher.campaign.chooser,
launcher.campaign.plan, launcher.campaign.observer, launcher.campaign.workspace,
launcher.results.record.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

import analysis
from launcher.backends import BACKENDS
from launcher.backends.megatron import Megatron
from launcher.backends.worker_command import Execution, WorkerBackend
from launcher.campaign import plan
from launcher.campaign.campaign import Campaign
from launcher.campaign.plan import Plan
from launcher.errors import ConfigError, ReadError, WorkError
from launcher.files import UMASK, write_json
from launcher.request.request import Request, SchedulerOptions
from launcher.results import record, summary
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder, Status
from launcher.results.sweep_folder import SavedCommand, SweepFolder
from launcher.schedulers import Job
from launcher.schedulers.local import Local
from sweeps import Stop, Sweep
from tests import limits
from tests.conftest import ROOT, spec

SCRIPT = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
with open(folder.parent / "starts", "a") as starts:
    starts.write(folder.name + "\\n")
spec = json.loads((folder / "spec.json").read_text())
if spec["layout"]["micro_batch"] == 6:
    import time
    while not (folder.parent / "mended").exists():
        time.sleep(0.02)
said = {2: "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        3: "HangError: no step finished within 60 s (last step 3)",
        4: "OSError: [Errno 28] No space left on device",
        5: "SomethingError: odd"}.get(spec["layout"]["micro_batch"])
if said and not (folder.parent / "mended").exists():
    sys.exit(said)
with open(folder / "metrics.jsonl", "w") as file:
    for step in range(1, 1 + spec["train"]["steps"]):
        ms = 100.0 * spec["layout"]["micro_batch"] + step
        file.write(json.dumps(dict(step=step, loss=9.0 - step, grad_norm=step, step_ms=ms)) + "\\n")
(folder / "result.json").write_text(json.dumps(dict(memory_kind="rss")))
"""


class Scripted(WorkerBackend):
    """Runs `SCRIPT`, which does as the micro batch says."""

    planner_engine, gradient_bytes = Megatron.planner_engine, Megatron.gradient_bytes

    def check(self, spec: object) -> None:
        """Refuses nothing."""

    def command(self, folder: Path, execution: Execution) -> tuple[str, ...]:
        """One process for the rank."""
        return (sys.executable, "-c", SCRIPT, str(folder))


RunSweep = Callable[..., list[RunRecord]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(BACKENDS, "megatron", Scripted())
    return tmp_path / "s"


def request_for(folder: Path, *micro_batches: int, **changes: object) -> Request:
    base = spec(gpus=1, global_batch=60)
    axes = {"layout": {"micro_batch": list(micro_batches)}}
    request = Request(
        model=base.model,
        layout=base.layout,
        cluster=base.cluster,
        train=base.train,
        data=base.data,
        backend=base.backend,
        scheduler=SchedulerOptions(),
        sweep=Sweep(name=folder.name, axes=axes),
        output=str(folder.parent),
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def run(folder: Path, *micro_batches: int, **changes: object) -> list[RunRecord]:
    return campaign(request_for(folder, *micro_batches, **changes)).run(Local())


def campaign(request: Request) -> Campaign:
    return Campaign(Plan.of_request(request))


def outcomes(records: list[RunRecord]) -> list[str]:
    return [record.outcome for record in records]


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text().splitlines())


def test_every_point_is_a_row_and_runs_once(folder: Path) -> None:
    first = run(folder, 1, 2, 5, 7)
    assert outcomes(first) == ["ok", "oom", "failed", "rejected"]
    assert [record.row for record in first] == [1, 2, 3, 4]
    assert first[3].cause == "micro_batch 7 x dp 1 (7) does not divide global_batch 60"
    assert first[2].cause == "SomethingError: odd"
    assert starts(folder) == 3
    assert run(folder, 1, 2, 5, 7) == first
    assert starts(folder) == 3


def searched(folder: Path, **stop: object) -> Request:
    """Fourteen points, of which a search runs a few."""
    axes = {"layout": {"micro_batch": [1, 10, 12, 15, 20, 30, 60], "zero": [0, 1]}}
    sweep = Sweep(name=folder.name, axes=axes, stop=Stop(**stop))  # type: ignore[arg-type]
    return request_for(folder, sweep=sweep)


def test_a_budget_ends_a_search_and_the_rest_is_pruned(folder: Path) -> None:
    records = campaign(searched(folder, trials=3)).run(Local())
    assert sorted(outcomes(records)) == ["ok"] * 3 + ["pruned"] * 11
    ran = [record for record in records if record.outcome == "ok"]
    pruned = [record for record in records if record.outcome == "pruned"]
    assert {record.cause for record in pruned} == {"sweep.stop.trials=3 have run"}
    assert all(record.prediction and record.prediction.step_ms for record in records)
    # What was expected before it ran, not what is known since.
    assert any(abs(record.prediction.step_ms / 100 - 1) > 0.01 for record in ran)  # type: ignore[union-attr,operator]
    assert campaign(searched(folder, trials=3)).run(Local()) == records and starts(folder) == 3
    more = campaign(searched(folder, trials=5)).run(Local())
    assert outcomes(more).count("ok") == 5 and starts(folder) == 5


def test_a_search_is_not_misled_by_its_first_guess(folder: Path) -> None:
    """Steps take 100 ms per sequence of a micro batch here, so that the smallest is the fastest."""
    records = campaign(searched(folder)).run(Local())
    ran = {record.spec.layout.micro_batch: record for record in records if record.outcome == "ok"}
    assert min(ran) == 1 and len(ran) < 14
    assert (
        len([record for record in records if record.outcome == "ok"])
        + outcomes(records).count("pruned")
        == 14
    )


def test_figures_leave_the_untimed_steps_out(folder: Path) -> None:
    (trial_record,) = run(folder, 1)
    figures = trial_record.figures
    assert (figures.steps, figures.step_ms_p50, figures.loss_first) == (4, 103.5, 8.0)
    assert figures.tokens_per_s == pytest.approx(60 * 32 / 0.1035)
    assert figures.mfu_pct is None  # the peak of a CPU is not known
    assert figures.mem_max_gib is None  # the script measures none


def test_an_impossible_mfu_is_an_error_and_no_number(folder: Path) -> None:
    request = request_for(folder, 1)
    card = replace(request.cluster.accelerator, name="toy", fp32_tflops=1e-6)
    cluster = replace(request.cluster, accelerator=card)
    request = replace(request, cluster=cluster, time_limit=1e12)  # it is predicted to take long
    (trial_record,) = campaign(request).run(Local())
    assert trial_record.outcome == "failed"
    assert (
        trial_record.cause is not None
        and "% is impossible: cluster.accelerator toy" in trial_record.cause
    )
    assert (trial_record.figures.mfu_pct, trial_record.figures.tflops_per_gpu) == (None, None)


def test_a_hang_is_tried_once_more(folder: Path) -> None:
    (trial_record,) = run(folder, 3)
    assert (trial_record.outcome, trial_record.attempt, starts(folder)) == ("hang", 2, 2)
    aside = folder / trial_record.spec.id / "attempts" / "1" / "log" / "rank0.txt"
    assert "HangError" in aside.read_text()
    assert outcomes(run(folder, 3)) == ["hang"] and starts(folder) == 2


def test_a_full_disk_stops_the_sweep_until_the_next_command(folder: Path) -> None:
    moving = campaign(request_for(folder, 4, 1, 5))
    assert outcomes(moving.run(Local(cores=1))) == ["disk"]
    assert moving.stop_reason == "disk: OSError: [Errno 28] No space left on device"
    assert moving.held_back == 0, "nothing is offered any more"
    (folder / "mended").touch()
    assert outcomes(run(folder, 4, 1, 5)) == ["ok", "ok", "ok"]


def test_retry_runs_finished_trials_again(folder: Path) -> None:
    assert outcomes(run(folder, 5)) == ["failed"]
    (folder / "mended").touch()
    (trial_record,) = run(folder, 5, retry=("failed",))
    assert (trial_record.outcome, trial_record.attempt) == ("ok", 2)


@pytest.mark.parametrize("moved", range(5))
def test_a_kill_while_an_attempt_is_set_aside_loses_nothing(
    folder: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = run(folder, 3, max_hangs=1)
    trial = RunFolder(folder / first.spec.id)
    renames = []

    def cut(source: Path, target: Path) -> None:
        if len(renames) == moved:
            raise KeyboardInterrupt
        renames.append(target)
        Path(source).rename(target)

    with monkeypatch.context() as patched:
        patched.setattr("launcher.results.run_folder.os.replace", cut)
        with suppress(KeyboardInterrupt):
            trial.next_attempt()
    (trial_record,) = run(folder, 3)
    assert (trial_record.outcome, trial_record.attempt) == ("hang", 2)
    aside = trial.path / "attempts" / "1"
    assert sorted(path.name for path in aside.iterdir()) == ["log", "status.json"]
    assert [attempt.path.name for attempt in trial.attempts()] == ["1"]


def test_a_damaged_records_file_is_made_again(folder: Path) -> None:
    first = run(folder, 1, 7)
    (folder / "records.jsonl").write_text('{"outcome": "of another version"}\nnot json\n')
    assert run(folder, 1, 7) == first
    assert record.read(folder / "records.jsonl") == first


def test_a_full_disk_of_the_launcher_is_one_line(folder: Path) -> None:
    moving = campaign(request_for(folder, 1))
    folder.mkdir()
    (folder / moving.plan.candidates[0].id).write_text("a file where a folder should be")
    with pytest.raises(WorkError, match=r"/log: Not a directory$"):
        moving.run(Local())


def test_records_can_be_read_by_a_teammate(folder: Path) -> None:
    (first,) = run(folder, 1)
    written = [folder / "records.jsonl", *(folder / first.spec.id).glob("*.json")]
    assert {oct(path.stat().st_mode & 0o777) for path in written} == {oct(0o666 & ~UMASK)}


def test_more_time_is_another_try(folder: Path) -> None:
    (trial_record,) = run(folder, 6, time_limit=1.0)
    assert (trial_record.outcome, trial_record.cause) == (
        "timeout",
        "stopped at the time limit of 1 s",
    )
    assert run(folder, 6, time_limit=1.0) == [trial_record] and trial_record.attempt == 1
    (folder / "mended").touch()
    (trial_record,) = run(folder, 6, time_limit=limits.COMMAND)
    assert (trial_record.outcome, trial_record.attempt) == ("ok", 2)


def test_a_damaged_status_is_a_trial_to_run_again(folder: Path) -> None:
    (first,) = run(folder, 1)
    (folder / first.spec.id / "status.json").write_text("half a f")
    assert outcomes(run(folder, 1)) == ["ok"] and starts(folder) == 2


def test_tables_of_folders_that_are_damaged_or_nested(folder: Path) -> None:
    run(folder, 1, 7)
    nested = folder.parent / "deep" / "er"
    run(nested, 1, 2)
    above = analysis.load(folder.parent).table("row")
    assert list(above["sweep"]) == [str(nested), str(folder), str(nested), str(folder)]
    (folder / "records.jsonl").write_text("not json\n")
    runs = analysis.load(folder)
    assert list(runs.table()["outcome"]) == ["ok"]  # from its folder
    damage, missing = runs.notes
    assert damage.startswith(f"{folder}: records.jsonl:1 cannot be read: JSON is malformed")
    assert missing == (f"{folder}: 1 of 2 points have not been run to their end yet: 1 not started")


def test_a_table_says_what_is_still_to_come(folder: Path) -> None:
    """A cancelled run is a row, told apart from those that have none yet."""
    ids = [record.spec.id for record in run(folder, 1, 5, 7, 2, 3, max_hangs=1)]
    (folder / "records.jsonl").unlink()
    changed = ((ids[0], "running", None), (ids[1], "queued", None), (ids[3], "ended", "cancelled"))
    for spec_id, state, stopped in changed:
        RunFolder(folder / spec_id).write_status(Status(state=state, stopped=stopped))  # type: ignore[arg-type]
    runs = analysis.load(folder)
    assert sorted(runs.table()["outcome"]) == ["cancelled", "hang"]
    unfinished = sorted(runs.table(unfinished=True)["outcome"])
    assert unfinished == ["cancelled", "hang", "queued", "running"]
    assert runs.notes == [
        f"{folder}: 3 of 5 points have not been run to their end yet:"
        " 1 running, 1 queued, 1 not started",
        f"{folder}: 1 of 5 points were cancelled; the same launch runs them again",
    ]


def test_a_trial_lost_with_its_launcher_runs_again(folder: Path) -> None:
    (first,) = run(folder, 1)
    trial = RunFolder(folder / first.spec.id)
    trial.write_status(Status(state="running", attempt=1, started=1.0))
    (trial.path / "result.json").unlink()
    (trial_record,) = run(folder, 1)
    assert (trial_record.outcome, trial_record.attempt, starts(folder)) == ("ok", 2, 2)


def test_a_trial_that_finished_without_its_launcher_is_taken_over(folder: Path) -> None:
    (first,) = run(folder, 1)
    trial = RunFolder(folder / first.spec.id)
    trial.write_status(Status(state="running", attempt=1, started=first.seconds))
    (trial_record,) = run(folder, 1)
    assert (trial_record.outcome, trial_record.attempt, starts(folder)) == ("ok", 1, 1)
    assert trial_record.figures == first.figures


def test_a_changed_field_is_another_trial(folder: Path) -> None:
    (first,) = run(folder, 1)
    request = request_for(folder, 1)
    train = replace(request.train, seed=7)
    (trial_record,) = campaign(replace(request, train=train)).run(Local())
    assert trial_record.spec.id != first.spec.id and starts(folder) == 2
    assert len(record.read(folder / "records.jsonl")) == 2


def test_a_spec_that_was_changed_in_its_folder_is_refused_in_a_line(folder: Path) -> None:
    (first,) = run(folder, 1)
    path = RunFolder(folder / first.spec.name).spec_file
    changed = json.loads(path.read_text())
    changed["layout"]["micro_batch"] = 2
    path.write_text(json.dumps(changed))
    with pytest.raises(ReadError) as error:
        run(folder, 1)
    assert str(error.value).startswith(f"{path}: is no longer the spec of {first.spec.name}, but ")
    assert starts(folder) == 1


def test_half_a_line_is_not_trusted(folder: Path) -> None:
    first = run(folder, 1, 2)
    path = folder / "records.jsonl"
    path.write_text(path.read_text()[:-20])
    assert len(record.read(path)) == 1
    assert run(folder, 1, 2) == first
    assert record.read(path) == first
    assert starts(folder) == 2


def test_damaged_metrics_are_told_and_cost_only_their_lines(folder: Path) -> None:
    (first,) = run(folder, 1)
    trial = RunFolder(folder / first.spec.id)
    lines = trial.metrics.read_text().splitlines(keepends=True)
    trial.metrics.write_text("{}\n" + lines[0] + "not json\n" + "".join(lines[1:]) + '{"step": 9')
    trial_record = summary.record_of(first.spec, trial)
    assert (trial_record.outcome, trial_record.figures) == ("ok", first.figures)
    assert trial_record.remark == "metrics.jsonl:1 and 1 more line cannot be read"


def test_a_damaged_status_is_a_record_that_says_so(folder: Path) -> None:
    (first,) = run(folder, 1)
    (folder / first.spec.id / "status.json").write_text("{")
    trial_record = summary.record_of(first.spec, RunFolder(folder / first.spec.id))
    assert trial_record.outcome == "failed"
    assert (
        trial_record.cause is not None
        and "status.json: Expecting property name" in trial_record.cause
    )


def test_a_node_is_avoided_also_where_the_next_attempt_was_not_taken(folder: Path) -> None:
    """An attempt that SLURM had no room for has no status, only the files of earlier ones."""
    moving = campaign(request_for(folder, 1))
    attempt = RunFolder(folder / moving.plan.candidates[0].id).attempt(1)
    attempt.path.mkdir(parents=True)
    ended = Status(state="ended", stopped="node", nodes=("n1", "n2"), bad_nodes=("n2",))
    attempt.write_status(ended)
    assert [job.avoid for job in moving.to_submit()] == [("n2",)]


HOLDS = """
import sys, time, pathlib
from launcher.results.sweep_folder import SweepFolder
with SweepFolder(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(ALWAYS)
""".replace("ALWAYS", str(limits.ALWAYS))


def test_two_launchers_do_not_share_a_folder(folder: Path) -> None:
    """The holder is named, also after one that was killed while it held the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", HOLDS, str(folder)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert refused(folder) == holder.pid
        holder.kill()
    with SweepFolder(folder).locked():
        assert refused(folder) == os.getpid()
    with SweepFolder(folder).locked():
        pass  # free again


def test_a_launcher_that_is_refused_keeps_none_of_its_words(folder: Path) -> None:
    command = SavedCommand(overrides=("layout.tp=1",), folder=str(folder))
    refused_plan = Plan.of_request(request_for(folder, 1), command)
    with (
        SweepFolder(folder).locked(),
        pytest.raises(ConfigError, match="another launch is at work"),
    ):
        Campaign(refused_plan).run(Local())
    assert not SweepFolder(folder).command_file.exists()


def refused(folder: Path) -> int:
    """The process that a refusal names."""
    with pytest.raises(ConfigError) as raised, SweepFolder(folder).locked():
        pass
    message, _, pid = str(raised.value).rpartition(": process ")
    assert message == f"output: another launch is at work in {folder}"
    assert pid.endswith(f" on {socket.gethostname()}")
    return int(pid.split()[0])


class Grows(Local):
    """Has room for one trial, and for one more each time it is asked; then the first may end."""

    def __init__(self, mended: Path) -> None:
        super().__init__()
        self.offers: list[int] = []
        self._mended = mended

    def submit(self, jobs: Iterable[Job]) -> list[str]:
        """Notes how many run when jobs are offered."""
        self.offers.append(len(self.running))
        submitted = super().submit(islice(jobs, 1))
        if len(self.offers) == 2:
            self._mended.touch()
        return submitted


def test_what_there_was_no_room_for_is_offered_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing ends meanwhile: room may come from elsewhere."""
    monkeypatch.setattr("launcher.campaign.campaign.OFFER", 0.2)
    grows = Grows(folder / "mended")
    moving = campaign(request_for(folder, 6, 10))
    assert outcomes(moving.run(grows)) == ["ok", "ok"]
    assert grows.offers[:2] == [0, 1] and moving.held_back == 0


def test_records_are_plain_json_lines(folder: Path) -> None:
    run(folder, 1)
    (line,) = (folder / "records.jsonl").read_text().splitlines()
    assert json.loads(line)["outcome"] == "ok"
    write_json(folder / "x.json", {"a": None})
    assert (folder / "x.json").read_text() == '{\n "a": null\n}\n'


def test_a_trial_with_variables_of_its_own_is_not_forked(tmp_path: Path) -> None:
    request = request_for(tmp_path, 1, 2)
    trials = Campaign(Plan.of_request(request))._trials
    plain = next(iter(trials.plan.points.values()))
    cluster = replace(plain.cluster, environment={"PYTORCH_CUDA_ALLOC_CONF": "a:1"})
    assert trials.job(replace(plain, cluster=cluster)).fork_server == ()
    assert trials.job(plain).fork_server != ()


def test_the_planner_knows_no_effect_of_variables_and_of_determinism(tmp_path: Path) -> None:
    axes = {"cluster": {"environment": {"NCCL_DEBUG": ["INFO", "WARN"]}},
            "train": {"deterministic": [False, True]}, "layout": {"micro_batch": [1, 2]}}  # fmt: skip
    request = replace(request_for(tmp_path / "s", 1), sweep=Sweep(name="s", axes=axes))
    points = Plan.of_request(request)
    columns = plan._not_modelled(points.differences, len(points.points))
    assert columns.shape == (8, 2), "the micro batch alone is modelled"
    assert len({tuple(row) for row in columns}) == 4
