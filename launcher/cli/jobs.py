"""Jobs of a batch system, seen and ended from any shell: ``launch status``, ``launch cancel``."""

import json
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.backends import BACKENDS
from launcher.cli.collect import runs
from launcher.errors import ConfigError, ReadError, RequestError, WorkError
from launcher.folder import RunFolder, Status
from launcher.schedulers import Job
from slurm import code, script, states, step, submission
from slurm.handover import Setting, groups, prepared
from slurm.options import SchedulerOptions
from slurm.scheduler import Slurm

PATIENCE = 90.0
"""Seconds for SLURM to end jobs: KillWait is 30 by default, and a node may be slow."""


def status(path: Path) -> list[dict[str, Any]]:
    """One row for each run below a folder: where it stands now.

    Raises:
        ConfigError: there are no runs below the folder.
    """
    found = [(folder, folder.readable_status()) for folder in runs(path)]
    if not found:
        raise ConfigError(f"{path}: no runs below this folder")
    live = {s.submission: f for f, s in found if s and s.submission and s.state != "ended"}
    said = _said(live)
    several = len({folder.path.parent for folder, _ in found}) > 1
    return [_row(folder, status, said, path if several else None) for folder, status in found]


def _row(
    folder: RunFolder, status: Status | None, said: dict[str, states.State], above: Path | None
) -> dict[str, Any]:
    token = status.submission if status else None
    name = (status.job_id if status else None) or (
        submission.job_name(folder.path, token) if token else None
    )
    slurm = said.get(name or "")
    try:
        steps, beats = folder.steps(), folder.beats()
    except ReadError:
        steps, beats = [], {}
    last = steps[-1] if steps else {}
    mine = [b.time for b in beats.values() if status and b.attempt == status.attempt]
    running = status is not None and status.state == "running"
    return {
        "run": str(folder.path.relative_to(above)) if above else folder.path.name,
        "state": _state(folder, status),
        "job": name,
        "slurm": f"{slurm.name} {slurm.reason}".removesuffix(" None").strip() if slurm else None,
        "attempt": status.attempt if status else None,
        "hosts": " ".join(status.nodes) or None if status else None,
        "step": last.get("step"),
        "loss": _rounded(last.get("loss"), 4),
        "tokens_per_s": _rounded(last.get("tokens_per_s"), 0),
        "silent_s": round(time.time() - min(mine)) if running and mine else None,
        "reason": status.reason if status else None,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _state(folder: RunFolder, status: Status | None) -> str:
    if status is None:
        return "not started"
    if status.state != "ended":
        return status.state
    try:
        spec = folder.spec()
    except ReadError:
        return "ended"
    return BACKENDS[spec.backend].record(spec, folder.path).outcome


def _said(live: dict[str, RunFolder]) -> dict[str, states.State]:
    """What SLURM says of the submissions that have jobs left: one squeue."""
    found = [submission.job_id(submission.place(f.path, token)) for token, f in live.items()]
    ids = [main for main in found if main]
    return (states.queue(ids) or {}) if ids else {}


def cancel(path: Path) -> list[str]:
    """End every job of SLURM's below a folder, and wait until it has; the runs it ended.

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
    left = 0
    for folder in folders:
        if scheduler.adopt(_job(folder)):
            left += 1
            continue
        status = folder.status()  # its launcher was killed before SLURM got it
        assert status
        folder.write_status(replace(status, state="ended", ended=time.time(), stopped="cancelled"))
        yield folder.path.name
    scheduler.cancel([folder.path.name for folder in folders])
    deadline = time.monotonic() + PATIENCE
    while left:
        for job in scheduler.poll():
            left -= 1
            yield job.name
        if left and time.monotonic() > deadline:
            raise WorkError(f"SLURM has not ended {left} of {len(folders)} jobs in time")
        time.sleep(0.2)


def _job(folder: RunFolder) -> Job:
    status = folder.status()
    assert status and status.submission
    sub = submission.read(submission.place(folder.path, status.submission))
    return next(job for job in sub.jobs if job.name == folder.path.name)


def dry_run(setting: Setting, jobs: Iterable[Job]) -> Iterator[str]:
    """What submitting jobs would hand to SLURM: each call, its script, and what that starts."""
    for same in groups(jobs):
        planned, folder = prepared(setting, same, code.digest())
        yield f"# {len(same)} job{'' if len(same) == 1 else 's'}, each in its own folder:"
        yield from (
            f"#   {json.dumps(str(task.folder), ensure_ascii=False)}" for task in planned.jobs
        )
        yield shlex.join(script.command(folder, len(same) > 1))
        yield f"# {script.FILE}:"
        yield script.text(planned, same[0], setting.parallel)
        yield "# from which the supervisor starts in each job, on its first node:"
        task = planned.jobs[0]
        yield shlex.join(step.command(planned, task, RunFolder(task.folder)))
        yield ""


def _setting(sweep: Path) -> Setting:
    options = SchedulerOptions(name="slurm", interval=2.0)
    return Setting(options=options, folder=sweep, code=sweep / ".code", hang_after=1.0)
