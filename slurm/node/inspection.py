"""The node check of one job, from its supervisor: one task on each node, and what that means."""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.decode import encode
from launcher.errors import WorkError
from launcher.files import write_json
from launcher.results.run_folder import RunFolder, Stopped
from launcher.schedulers import Job
from launcher.schedulers.options import Checks
from slurm.node.check_verdict import read_reports, verdict
from slurm.node.node_check import CheckRequest
from slurm.node.step import IMPORT_SECONDS, asked_for, inside, no_runtime, srun
from slurm.submission import Submission

TIME_LIMIT = 120.0
"""Seconds for all nodes; one that takes longer does not answer."""

MIB = 2**20

REFUSES = re.compile(r"error:(?!.* Exited with exit code)|unrecognized|invalid", re.I)
"""How srun begins to say what it does not like."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What keeps a job from starting; all None where nothing does."""

    stopped: Stopped | None = None
    reason: str | None = None
    bad_nodes: tuple[str, ...] = ()


def inspect(sub: Submission, task: Job, folder: Path, nodes: tuple[str, ...]) -> Found:
    """Check the nodes of this job; ``folder`` is the submission's."""
    if not sub.options.checks.enabled:
        return Found()
    folders = (str(task.folder), *sub.writes_to)
    there = len(RunFolder(task.folder).checkpoint_steps())
    # One is being written, whatever is there.
    room = max(1, task.checkpoints_kept + 1 - there) * task.checkpoint_bytes
    wanted = request(sub.options.checks, folders, task.cards_per_node, room)
    place = folder / f"check-{os.environ['SLURM_JOB_ID']}-{time.time_ns()}"
    try:
        place.mkdir()
        write_json(place / "request.json", encode(wanted))
    except OSError as error:
        return Found(stopped="disk", reason=f"{place}: {error.strerror}")
    except WorkError as error:
        return Found(stopped="disk", reason=str(error))
    started = time.time()
    printed, said = _run(sub, task, place)
    reports = read_reports(place, nodes, printed)
    if not reports and said:
        return _not_started(sub, nodes, said)
    found = verdict(reports, nodes, started, time.time(), sub.options.checks)
    if found.disk_full:
        return Found(stopped="disk", reason=found.disk_full)
    if found.bad:
        causes = "; ".join(f"{node}: {cause}" for node, cause in found.bad.items())
        return Found(stopped="node", reason=causes, bad_nodes=tuple(found.bad))
    return Found()


def request(
    checks: Checks, folders: tuple[str, ...], cards_per_node: int, reserve: int
) -> CheckRequest:
    """What to look at on a node that a job gets so many cards of."""
    return CheckRequest(
        folders=folders,
        probe_bytes=checks.probe_mib * MIB,
        reserve_bytes=reserve,
        cards=cards_per_node if checks.cards is None else checks.cards,
        free_memory_pct=checks.free_memory_pct,
    )


def _not_started(sub: Submission, nodes: tuple[str, ...], said: str) -> Found:
    """What it means that no node has a report: not the nodes' fault, as far as anybody knows."""
    if reason := no_runtime(sub.options, said):
        return Found(stopped="failed", reason=reason)
    lines = [line for line in said.splitlines() if line.strip()]
    refused = next((line for line in lines if REFUSES.search(line)), lines[0])
    blamed = nodes if len(nodes) == 1 else ()
    return Found(stopped="node", reason=f"the check did not start: {refused}", bad_nodes=blamed)


def _run(sub: Submission, task: Job, place: Path) -> tuple[str, str]:
    """Let every node look at itself; what they printed, and what srun said where it failed."""
    words = [task.command[0], "-P", "-m", "slurm.node.node_check"]
    words += ["--request", str(place / "request.json"), "--out", str(place)]
    try:
        done = subprocess.run(
            [*srun(sub, task, 1), *inside(sub, task, words)],
            env={**os.environ, **asked_for(sub)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT + (IMPORT_SECONDS if sub.options.container else 0),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", ""  # the nodes without a report are the ones to blame
    print(done.stderr, end="", flush=True)  # to the batch step's own
    return done.stdout, done.stderr.strip() if done.returncode else ""
