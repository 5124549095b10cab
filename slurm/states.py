"""States of jobs as SLURM tells them, each question with a time limit."""

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
    """As SLURM writes them, ``node[1-2]``; may be empty."""
    reason: str = ""
    """Why it waits."""
    preempted: bool = False
    """Another job is about to take its place."""

    @property
    def active(self) -> bool:
        """Whether it may still run."""
        return self.name in ACTIVE


def queue(ids: Iterable[str] = (), names: Iterable[str] = ()) -> dict[str, State] | None:
    """What squeue says of jobs, of some ids or job names; None where it does not answer.

    Jobs that ended are among them for a while (MinJobAge). Ids it has forgotten are left out.
    """
    chosen = [f"--jobs={','.join(ids)}"] if ids else [f"--name={','.join(names)}"]
    # One word that SLURM does not know makes it fail for all: its name is asked for, not its id.
    words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%N|%r", *chosen]
    answer = ask(words, unknown="Invalid job id")
    if answer is None:
        return None
    rows = [line.split("|", 3) for line in answer.splitlines() if line.count("|") >= 3]
    return {job: state_of(name, nodes, reason) for job, name, nodes, reason in rows}


def control(job_id: str) -> State | None:
    """What scontrol says of one job, from within it; None where it does not answer."""
    answer = ask(["scontrol", "show", "job", "--oneliner", job_id])
    words = [word.split("=", 1) for word in (answer or "").split() if "=" in word]
    fields = dict(reversed(words))  # the first of a name: what follows may be a path's
    if "JobState" not in fields:
        return None
    preempted = fields.get("PreemptTime", "None") != "None"
    return replace(state_of(fields["JobState"], "", fields.get("Reason", "")), preempted=preempted)


def largest_array() -> int:
    """How many jobs an array may have: their numbers are below MaxArraySize."""
    answer = ask(["scontrol", "show", "config"]) or ""
    found = re.search(r"^MaxArraySize\s*= (\d+)$", answer, re.MULTILINE)
    return max(int(found[1]), 1) if found else USUAL_ARRAY


def hostnames(nodes: str) -> tuple[str, ...]:
    """``node[1-2]`` in words; empty where scontrol does not answer."""
    return tuple((ask(["scontrol", "show", "hostnames", nodes]) or "").split())


def of(name: str, *answers: Mapping[str, State]) -> State | None:
    """What the first of some answers says of a job, or of what is left of its array.

    Jobs of an array that were cancelled before they ran are there as the array alone.
    """
    keys = (name, name.split("_")[0])
    return next((said[key] for key in keys for said in answers if key in said), None)


def cancel(ids: Sequence[str]) -> bool:
    """Ask SLURM to end jobs; whether it heard."""
    return ask(["scancel", "--quiet", *ids]) is not None


def exclude(job_id: str, nodes: Sequence[str]) -> None:
    """Ask SLURM to keep what waits of a job off some nodes; of what runs it says that it cannot."""
    ask(["scontrol", "update", f"JobId={job_id}", f"ExcNodeList={','.join(nodes)}"])


def requeue(job_id: str) -> bool:
    """Ask SLURM to put the job that this runs in back into the queue; whether it will."""
    done = _done(["scontrol", "requeue", job_id])
    # SLURM then ends every process of the job, scontrol too, often before that has its answer.
    return done is not None and done.returncode <= 0


def ask(words: list[str], unknown: str | None = None) -> str | None:
    """Output of a command; "" where it fails of ``unknown``, None where it fails otherwise."""
    done = _done(words)
    if done is None:
        return None
    if done.returncode:
        return "" if unknown and unknown in done.stderr else None
    return done.stdout


def _done(words: list[str]) -> "subprocess.CompletedProcess[str] | None":
    """A command that has ended; None where there is none, or it takes too long."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def state_of(name: str, nodes: str, reason: str = "") -> State:
    """State of a job from the words of a command's answer."""
    word = name.split(maxsplit=1)[0].rstrip("+") if name.strip() else ""  # "CANCELLED by 0"
    return State(word, "" if nodes == "None assigned" else nodes, reason)
