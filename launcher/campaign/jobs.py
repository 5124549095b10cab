"""Jobs of a batch system, seen and ended from any shell: ``launch status``, ``launch cancel``."""

import json
import math
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from launcher.campaign import workspace
from launcher.errors import ReadError, RequestError, WorkError
from launcher.results import metrics, summary
from launcher.results.find import runs, some_runs
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job, Setting
from launcher.schedulers.options import SchedulerOptions
from slurm import code, script, states, submission
from slurm.handover import groups, prepare
from slurm.node import step
from slurm.refusals import NoRoom
from slurm.scheduler import Slurm
from slurm.submission import Submission

SILENT, FORGOTTEN = states.State("does not answer"), states.State("has it no more")
"""States of a job where SLURM does not answer at all, and where it does not know the job."""

PATIENCE = 90.0
"""Seconds for SLURM to end jobs: KillWait is 30 by default, and a node may be slow."""


def status(path: Path) -> list[dict[str, Any]]:
    """Return one row for each run below a folder: its state now. A loss may be nan.

    Raises:
        ConfigError: there are no runs below the folder.
    """
    statuses = [(folder, folder.readable_status()) for folder in some_runs(path)]
    job_states = ask_slurm(submitted(statuses))
    several = len({folder.path.parent for folder, _ in statuses}) > 1
    above = path if several else None
    return [_row(folder, status, job_states, above) for folder, status in statuses]


def submitted(statuses: Iterable[tuple[RunFolder, Status | None]]) -> dict[str, RunFolder]:
    """Select the runs that a batch system has by their folders' word; keyed by submission."""
    return {
        status.submission: folder
        for folder, status in statuses
        if status and status.submission and status.state != "ended"
    }


def job_name(folder: RunFolder, status: Status) -> str | None:
    """Name of a run's job in the batch system; None where it has none."""
    token = status.submission
    return status.job_id or (submission.job_name(folder.path, token) if token else None)


def state_of_job(name: str, job_states: dict[str, states.State] | None) -> states.State:
    """Look up the state of a job; ``job_states`` is None where SLURM did not answer."""
    return SILENT if job_states is None else states.find_state(name, job_states) or FORGOTTEN


def _row(
    folder: RunFolder,
    status: Status | None,
    job_states: dict[str, states.State] | None,
    above: Path | None,
) -> dict[str, Any]:
    name, slurm = job_name(folder, status) if status else None, None
    if status and status.state != "ended" and status.submission and name:
        slurm = state_of_job(name, job_states)
    state, cause = standing(folder, status, slurm)
    try:
        steps, beats = folder.steps(), folder.beats()
    except ReadError:
        steps, beats = [], {}
    last = steps[-1] if steps else {}
    loss = metrics.number(last.get("loss"))
    beat_times = [beat.time for beat in beats.values() if status and beat.attempt == status.attempt]
    running = status is not None and status.state == "running"
    return {
        "run": str(folder.path.relative_to(above)) if above else folder.path.name,
        "state": state,
        "job": name,
        "slurm": describe(slurm) if slurm else None,
        "attempt": status.attempt if status else None,
        "hosts": " ".join(status.nodes) or None if status else None,
        "step": last.get("step"),
        "loss": _rounded(loss, 4),
        "finite": None if loss is None else math.isfinite(loss),
        "tokens_per_s": _rounded(metrics.number(last.get("tokens_per_s")), 0),
        "silent_s": round(time.time() - min(beat_times)) if running and beat_times else None,
        "cause": cause,
    }


def describe(slurm: states.State) -> str:
    """Describe a job's state, with the reason for which it waits."""
    waits = slurm.active and slurm.reason not in ("", "None")
    return f"{slurm.name} {slurm.reason}" if waits else slurm.name


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def standing(
    folder: RunFolder, status: Status | None, slurm: states.State | None
) -> tuple[str, str | None]:
    """State of a run and cause of its end, by its folder unless SLURM knows better."""
    if status is None:
        return "not started", None
    if status.state != "ended":
        if slurm is None or slurm is SILENT or slurm.active:
            return status.state, status.reason
        return ("gone" if slurm is FORGOTTEN else states.STOPPED.get(slurm.name, "ended")), None
    try:
        spec = folder.spec()
    except ReadError as error:
        return "ended", str(error)
    record = summary.record_of(spec, folder)
    return record.outcome, record.cause


def ask_slurm(submissions: Mapping[str, RunFolder]) -> dict[str, states.State] | None:
    """States of the jobs of submissions, by one squeue; None where SLURM does not answer."""
    ids = [
        job_id
        for token, folder in submissions.items()
        if (job_id := submission.job_id(submission.folder_of(folder.path, token)))
    ]
    return states.queue(ids) if ids else {}


def cancel(path: Path) -> list[str]:
    """End every job of SLURM's below a folder, and wait for that; return the runs that it ended.

    Raises:
        RequestError: there is none.
        WorkError: SLURM does not end them in time.
    """
    by_sweep: dict[Path, list[RunFolder]] = {}
    for folder in runs(path):
        status = folder.readable_status()
        if status and status.submission and status.state != "ended":
            by_sweep.setdefault(folder.path.parent, []).append(folder)
    if not by_sweep:
        raise RequestError(f"{path}: nothing of SLURM's is queued or runs below this folder")
    if states.queue(names=["megalaunch"]) is None:
        raise WorkError("SLURM does not answer; nothing was cancelled")
    ended = []
    for sweep, folders in by_sweep.items():
        with Slurm(_setting(sweep)) as scheduler:
            ended += list(_end(scheduler, folders))
    return ended


def _end(scheduler: Slurm, folders: Sequence[RunFolder]) -> Iterator[str]:
    live = 0
    for folder in folders:
        if scheduler.adopt(_submission(folder)[1]):
            live += 1
            continue
        status = folder.status()  # its launcher was killed before SLURM got it
        assert status
        folder.write_status(replace(status, state="ended", ended=time.time(), stopped="cancelled"))
        yield folder.path.name
    scheduler.cancel([folder.path.name for folder in folders])
    deadline = time.monotonic() + PATIENCE
    while live:
        for job in scheduler.poll():
            live -= 1
            status = RunFolder(job.folder).readable_status()
            if status and status.stopped == "cancelled":  # others have ended by themselves
                yield job.name
        if live and time.monotonic() > deadline:
            raise WorkError(f"SLURM has not ended {live} of {len(folders)} jobs in time")
        time.sleep(0.2)


def _submission(folder: RunFolder) -> tuple[Submission, Job]:
    status = folder.status()
    assert status and status.submission
    sub = submission.read(submission.folder_of(folder.path, status.submission))
    return sub, next(job for job in sub.jobs if job.name == folder.path.name)


def edited(folders: Iterable[RunFolder], options: SchedulerOptions, time_limit: float) -> str:
    """Message on jobs that were submitted with other options than these; "" if none was."""
    changed = [keys for folder in folders if (keys := _edited(folder, options, time_limit))]
    jobs = "1 job was" if len(changed) == 1 else f"{len(changed)} jobs were"
    all_keys = ", ".join(sorted({key for keys in changed for key in keys}))
    return f"{jobs} submitted before with another {all_keys}" if changed else ""


def _edited(folder: RunFolder, options: SchedulerOptions, time_limit: float) -> list[str]:
    status = folder.readable_status()
    if status is None or status.submission is None:  # of a scheduler without submissions
        return []
    try:
        sub, job = _submission(folder)
    except ReadError:  # of another version
        return []
    names = [f.name for f in fields(options) if f.name != "interval"]  # which is the launcher's
    keys = [f"scheduler.{n}" for n in names if getattr(sub.options, n) != getattr(options, n)]
    return keys if job.time_limit == time_limit else [*keys, "time_limit"]


def dry_run(setting: Setting, jobs: Iterable[Job]) -> Iterator[str]:
    """Yield all that submitting jobs would hand to SLURM: calls, scripts, their commands.

    Raises:
        RequestError: SLURM, where it is there to be asked, would refuse it.
    """
    for group in groups(jobs, states.largest_array()):
        planned, folder = prepare(setting, group, code.digest())
        text = script.batch_script(planned, group[0], setting.parallel)
        yield f"# {len(group)} job{'' if len(group) == 1 else 's'}, each in its own folder:"
        yield from (
            f"#   {json.dumps(str(task.folder), ensure_ascii=False)}" for task in planned.jobs
        )
        yield shlex.join(script.command(folder, len(group) > 1))
        yield f"# {script.FILE}:"
        yield text
        if shutil.which("sbatch"):
            yield f"# sbatch --test-only: {_test_only(text, planned, folder)}"
        yield "# from which the supervisor starts in each job, on its first node:"
        task = planned.jobs[0]
        yield shlex.join(step.command(planned, task, RunFolder(task.folder)))
        yield ""


def _test_only(text: str, planned: Submission, folder: Path) -> str:
    """Return SLURM's answer on a script, or its refusal."""
    try:
        return script.validate(text, planned, folder)
    except (NoRoom, WorkError) as error:
        return str(error)


def _setting(sweep: Path) -> Setting:
    options = SchedulerOptions(name="slurm", interval=2.0)
    return Setting(options=options, folder=sweep, code=workspace.code_folder(sweep), hang_after=1.0)
