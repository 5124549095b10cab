"""The batch script of a submission, made by submitit, and the call of sbatch.

Nothing of a run's names, paths or values is in the script: it starts the supervisor in the
submission's folder, which reads them from there. What a user says about SLURM itself is quoted.
"""

import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from launcher.errors import WorkError
from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions
from slurm.refusals import refusal
from slurm.submission import Submission

GIB_IN_MB = 1024

FILE = "job.sh"
"""The script's name in the submission's folder."""


def text(submission: Submission, job: Job, throttle: int | None) -> str:
    """The batch script.

    Args:
        submission: what it runs.
        job: one of its jobs, which all have the same shape.
        throttle: jobs of the array that may run at once; None is all.
    """
    options, count = submission.options, len(submission.jobs)
    code = shlex.quote(":".join(submission.path))
    modules = [shlex.join(["module", "load", module]) for module in options.modules]
    return str(
        _make_sbatch_string(
            command=shlex.join(["exec", sys.executable, "-P", "-m", "slurm.node.supervisor"]),
            folder=".",
            use_srun=False,
            stderr_to_stdout=True,
            job_name=submission.title,
            wckey=None,
            map_count=count if count > 1 else None,
            array_parallelism=throttle or count,
            setup=[
                "trap '' USR1",  # it may come before anyone listens
                *modules,
                *options.setup,
                f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}",
            ],
            additional_parameters=_additional(options, count > 1),
            **_resources(options, job),
        )
    )


def _resources(options: SchedulerOptions, job: Job) -> dict[str, Any]:
    """Parameters that submitit knows; None leaves a thing to the cluster."""
    per_task = options.memory_per_task_gib
    memory = math.ceil(per_task * GIB_IN_MB * job.ranks_per_node) if per_task else None
    named = {key.replace("-", "_") for key in options.sbatch}
    cards = job.cards_per_node and not named & {"gres", "gpus", "gpus_per_node", "gpus_per_task"}
    parameters = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "exclude": ",".join(dict.fromkeys((*options.exclude, *job.avoid))) or None,
        "exclusive": options.exclusive or None,
        "time": math.ceil(job.time_limit / 60),
        "nodes": job.nodes,
        "ntasks_per_node": job.ranks_per_node,
        "cpus_per_task": options.cpus_per_task,
        "mem": f"{memory}M" if memory else None,
        "gpus_per_node": job.cards_per_node if cards else None,
    }
    return {key: value for key, value in parameters.items() if key not in named}


def _additional(options: SchedulerOptions, array: bool) -> Mapping[str, Any]:
    """Parameters that submitit has no names for, and the user's own, which win; false removes."""
    out: dict[str, Any] = {
        "output": printed(array),  # `command` says where: a path could break this line
        "requeue": True,
        # To the batch step alone, which passes it on and so knows that it came.
        "signal": f"B:USR1@{math.ceil(options.signal_before)}",
    }
    if options.reservation:
        out["reservation"] = options.reservation
    named = {key.replace("_", "-"): value for key, value in options.sbatch.items()}
    return {key: value for key, value in {**out, **named}.items() if value is not False}


def printed(array: bool) -> str:
    """What SLURM calls the file of what a job's batch step prints: the job's name, and .txt."""
    return "%A_%a.txt" if array else "%j.txt"


def command(folder: Path, array: bool) -> list[str]:
    """The call of sbatch for a submission's folder."""
    literal = str(folder).replace("%", "%%")  # SLURM would expand it
    output = f"--output={literal}/{printed(array)}"
    return ["sbatch", f"--chdir={folder}", output, str(folder / FILE)]


def submit(script: str, submission: Submission, folder: Path) -> str:
    """Hand a script to sbatch, to run in a folder; SLURM's number for the job.

    Raises:
        RequestError: SLURM refuses it; NoRoom where it is for now.
        WorkError: SLURM cannot be reached.
    """
    try:
        (folder / FILE).write_text(script, encoding="utf-8")
    except OSError as error:
        raise WorkError(f"{error.filename}: {error.strerror}") from error
    done = _call(command(folder, len(submission.jobs) > 1), submission)
    return str(SlurmExecutor._get_job_id_from_submission_command(done.stdout))


def tried(script: str, submission: Submission, folder: Path) -> str:
    """What sbatch says of a script that it does not take. Raises what `submit` does."""
    words = command(folder, len(submission.jobs) > 1)[:-1]  # there is no such file
    return _one_line(_call([*words, "--test-only"], submission, script).stderr)


def _call(
    words: list[str], submission: Submission, script: str | None = None
) -> "subprocess.CompletedProcess[str]":
    try:
        done = subprocess.run(
            words, input=script, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise WorkError(f"sbatch: {error.strerror}") from error
    if done.returncode:
        said = _one_line(done.stderr) or f"exit code {done.returncode}"
        raise refusal(said, submission.options, submission.jobs[0])
    return done


def _one_line(text: str) -> str:
    lines = [line.removeprefix("sbatch: ").strip() for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line.removeprefix("error: ") for line in lines if line))


def title(name: str, token: str) -> str:
    """A name for squeue that no shell and no line can stumble over; never read back as data."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:40]}-{token}"
