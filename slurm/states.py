"""States of jobs in SLURM, each question with a time limit."""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.results.run_folder import Stopped

TIMEOUT = 20.0
"""Seconds for an answer: a slurmdbd that is down makes sacct wait for minutes."""

USUAL_ARRAY = 1001
"""SLURM's own default for MaxArraySize, where it does not say."""

ACTIVE = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING",
    "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SIGNALING",
    "STAGE_OUT",
}  # fmt: skip
"""The states from which a job may still run: https://slurm.schedmd.com/squeue.html, "JOB STATE
CODES". All others are final."""

STOPPED: dict[str, Stopped] = {
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "OUT_OF_MEMORY": "oom",
}
"""Final states in which SLURM itself ended the job."""


@dataclass(frozen=True, slots=True)
class State:
    """A job as SLURM sees it."""

    name: str
    """``RUNNING``, ``CANCELLED``, ...: the word without what follows it."""
    nodes: str = ""
    """Its nodes as SLURM writes them, ``node[1-2]``; may be empty."""
    reason: str = ""
    """Cause of its waiting, in SLURM's word."""
    preempted: bool = False
    """Another job is about to take its place."""

    @property
    def active(self) -> bool:
        """True while it may still run."""
        return self.name in ACTIVE


def queue(ids: Iterable[str] = (), names: Iterable[str] = ()) -> dict[str, State] | None:
    """Return squeue's states of jobs, by ids or by job names; None where it does not answer.

    Jobs that ended are among them for a while (MinJobAge). Ids it has forgotten are left out.
    """
    chosen = [f"--jobs={','.join(ids)}"] if ids else [f"--name={','.join(names)}"]
    # An id that SLURM has forgotten, asked for alone, is an error; among others it is left out.
    words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%N|%r", *chosen]
    answer = ask(words, unknown="Invalid job id")
    if answer is None:
        return None
    rows = [line.split("|", 3) for line in answer.splitlines() if line.count("|") >= 3]
    return {job: state_of(name, nodes, reason) for job, name, nodes, reason in rows}


def control(job_id: str) -> State | None:
    """Return scontrol's state of one job, from within it; None where it does not answer."""
    answer = ask(["scontrol", "show", "job", "--oneliner", job_id])
    words = [word.split("=", 1) for word in (answer or "").split() if "=" in word]
    fields = dict(reversed(words))  # the first of a name: what follows may be a path's
    if "JobState" not in fields:
        return None
    preempted = fields.get("PreemptTime", "None") != "None"
    return replace(state_of(fields["JobState"], "", fields.get("Reason", "")), preempted=preempted)


def largest_array() -> int:
    """Return the largest number of jobs in an array: their numbers are below MaxArraySize."""
    answer = ask(["scontrol", "show", "config"]) or ""
    match = re.search(r"^MaxArraySize\s*= (\d+)$", answer, re.MULTILINE)
    return max(int(match[1]), 1) if match else USUAL_ARRAY


def hostnames(nodes: str) -> tuple[str, ...]:
    """Return the names in ``node[1-2]``; none where scontrol does not answer."""
    return tuple((ask(["scontrol", "show", "hostnames", nodes]) or "").split())


def find_state(name: str, *answers: Mapping[str, State]) -> State | None:
    """Look a job up in some answers, the first one first; failing that, its array.

    Jobs of an array that were cancelled before they ran are listed as the array alone.
    """
    keys = (name, name.split("_")[0])
    return next((answer[key] for key in keys for answer in answers if key in answer), None)


def cancel(ids: Sequence[str]) -> bool:
    """Ask SLURM to end jobs; False where it does not answer."""
    return ask(["scancel", "--quiet", *ids]) is not None


def exclude(job_id: str, nodes: Sequence[str]) -> None:
    """Ask SLURM to keep a job's waiting tasks off some nodes; it refuses for those that run."""
    ask(["scontrol", "update", f"JobId={job_id}", f"ExcNodeList={','.join(nodes)}"])


def requeue(job_id: str) -> bool:
    """Ask SLURM to put the job that this runs in back into the queue; False where it refuses."""
    completed = _run(["scontrol", "requeue", job_id])
    # SLURM then ends every process of the job, scontrol too, often before that has its answer.
    return completed is not None and completed.returncode <= 0


def ask(words: list[str], unknown: str | None = None) -> str | None:
    """Return a command's output; "" where it fails with ``unknown``, None where it fails else."""
    completed = _run(words)
    if completed is None:
        return None
    if completed.returncode:
        return "" if unknown and unknown in completed.stderr else None
    return completed.stdout


def _run(words: list[str]) -> "subprocess.CompletedProcess[str] | None":
    """Run a command to its end; None where there is none, or it takes too long."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def state_of(name: str, nodes: str, reason: str = "") -> State:
    """Return the state of a job from the words of a command's answer."""
    word = name.split(maxsplit=1)[0].rstrip("+") if name.strip() else ""  # "CANCELLED by 0"
    return State(word, "" if nodes == "None assigned" else nodes, reason)
