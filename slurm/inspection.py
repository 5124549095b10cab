"""The node check of one job, from its supervisor: one task on each node, and what that means."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.folder import Stopped, read_json, write_json
from slurm.check_verdict import verdict
from slurm.node_check import CheckRequest, NodeReport
from slurm.step import asked_for, inside, srun
from slurm.submission import Submission, Task

TIME_LIMIT = 120.0
"""Seconds for all nodes; one that takes longer does not answer."""

MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What keeps a job from starting; all None where nothing does."""

    stopped: Stopped | None = None
    reason: str | None = None
    bad_nodes: tuple[str, ...] = ()


def inspect(sub: Submission, task: Task, folder: Path, nodes: tuple[str, ...]) -> Found:
    """Check the nodes of this job. Raises WorkError where the check cannot be asked for."""
    if not sub.options.checks.enabled:
        return Found()
    place = folder / f"check-{os.environ['SLURM_JOB_ID']}-{time.time_ns()}"
    place.mkdir()
    write_json(place / "request.json", encode(_request(sub, task)))
    started = time.time()
    _run(sub, task, place)
    reports = [report for node in nodes if (report := _report(place / f"{node}.json"))]
    found = verdict(reports, nodes, started, time.time(), sub.options.checks)
    if found.disk_full:
        return Found(stopped="disk", reason=found.disk_full)
    if found.bad:
        causes = "; ".join(f"{node}: {cause}" for node, cause in found.bad.items())
        return Found(stopped="node", reason=causes, bad_nodes=tuple(found.bad))
    return Found()


def _request(sub: Submission, task: Task) -> CheckRequest:
    checks = sub.options.checks
    look = task.cards_per_node > 0 if checks.cards is None else checks.cards
    return CheckRequest(
        folders=(task.folder, *sub.writes_to),
        probe_bytes=checks.probe_mib * MIB,
        reserve_bytes=task.checkpoint_bytes,
        cards=task.cards_per_node if look else 0,
        free_memory_pct=checks.free_memory_pct,
    )


def _run(sub: Submission, task: Task, place: Path) -> None:
    words = [task.command[0], "-P", "-m", "slurm.node_check"]
    words += ["--request", str(place / "request.json"), "--out", str(place)]
    with (place / "srun.txt").open("wb") as log:
        try:
            subprocess.run(
                [*srun(sub, task, 1), *inside(sub, task, words)],
                env={**os.environ, **asked_for(sub)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return  # the nodes without a report are the ones to blame


def _report(path: Path) -> NodeReport | None:
    try:
        return decode(NodeReport, read_json(path))
    except (ReadError, ConfigError):
        return None
