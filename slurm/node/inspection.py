"""The node check of one job, run by its supervisor: one task on each node, and its verdict."""

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
from slurm.node.check_verdict import judge_nodes, read_reports
from slurm.node.node_check import CheckRequest
from slurm.node.step import IMPORT_SECONDS, in_container, missing_runtime, srun, user_environment
from slurm.submission import Submission

TIME_LIMIT = 120.0
"""Seconds for all nodes; one that takes longer does not answer."""

MIB = 2**20

REFUSAL = re.compile(r"error:(?!.* Exited with exit code)|unrecognized|invalid", re.I)
"""Lines of srun that name the cause of its failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """Obstacle that keeps a job from starting; all None where there is none."""

    stopped: Stopped | None = None
    reason: str | None = None
    bad_nodes: tuple[str, ...] = ()


REQUEST = "check_request.json"
"""File of what the nodes are asked, beside their reports."""


def inspect(submission: Submission, job: Job, folder: Path, nodes: tuple[str, ...]) -> Inspection:
    """Check the nodes of this job; ``folder`` is the submission's."""
    if not submission.options.checks.enabled:
        return Inspection()
    folders = (str(job.folder), *submission.writes_to)
    saved = len(RunFolder(job.folder).checkpoint_steps())
    # One more is written before an old one goes, however many are there.
    room = max(1, job.checkpoints_kept + 1 - saved) * job.checkpoint_bytes
    request = make_request(submission.options.checks, folders, job.cards_per_node, room)
    check_folder = folder / f"check-{os.environ['SLURM_JOB_ID']}-{time.time_ns()}"
    try:
        check_folder.mkdir()
        write_json(check_folder / REQUEST, encode(request))
    except OSError as error:
        return Inspection(stopped="disk", reason=f"{check_folder}: {error.strerror}")
    except WorkError as error:
        return Inspection(stopped="disk", reason=str(error))
    started = time.time()
    printed, srun_output = _run(submission, job, check_folder)
    reports = read_reports(check_folder, nodes, printed)
    if not reports and srun_output:
        return _not_started(submission, nodes, srun_output)
    verdict = judge_nodes(reports, nodes, started, time.time(), submission.options.checks)
    if verdict.disk_full:
        return Inspection(stopped="disk", reason=verdict.disk_full)
    if verdict.no_compiler:
        return Inspection(stopped="failed", reason=f"on every node: {verdict.no_compiler}")
    if verdict.bad:
        causes = "; ".join(f"{node}: {cause}" for node, cause in verdict.bad.items())
        return Inspection(stopped="node", reason=causes, bad_nodes=tuple(verdict.bad))
    return Inspection()


def make_request(
    checks: Checks, folders: tuple[str, ...], cards_per_node: int, reserve_bytes: int
) -> CheckRequest:
    """Return the checks to make on a node that a job gets so many cards of."""
    return CheckRequest(
        folders=folders,
        probe_bytes=checks.probe_mib * MIB,
        reserve_bytes=reserve_bytes,
        cards=cards_per_node if checks.cards is None else checks.cards,
        free_memory_pct=checks.free_memory_pct,
    )


def _not_started(submission: Submission, nodes: tuple[str, ...], srun_output: str) -> Inspection:
    """Explain why no node has a report: nothing shows that it is the nodes' fault."""
    if reason := missing_runtime(submission.options, srun_output):
        return Inspection(stopped="failed", reason=reason)
    lines = [line for line in srun_output.splitlines() if line.strip()]
    refused = next((line for line in lines if REFUSAL.search(line)), lines[0])
    blamed = nodes if len(nodes) == 1 else ()
    return Inspection(
        stopped="node", reason=f"the check did not start: {refused}", bad_nodes=blamed
    )


def _run(submission: Submission, job: Job, check_folder: Path) -> tuple[str, str]:
    """Let every node check itself; return their output, and srun's errors where it failed."""
    words = [job.command[0], "-P", "-m", "slurm.node.node_check"]
    words += ["--request", str(check_folder / REQUEST), "--out", str(check_folder)]
    try:
        completed = subprocess.run(
            [*srun(submission, job, 1), *in_container(submission, job, words)],
            env={**os.environ, **user_environment(submission)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT + (IMPORT_SECONDS if submission.options.container else 0),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", ""  # the nodes without a report are the ones to blame
    print(completed.stderr, end="", flush=True)  # into the batch step's own output
    return completed.stdout, completed.stderr.strip() if completed.returncode else ""
