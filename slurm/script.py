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


def batch_script(submission: Submission, job: Job, throttle: int | None) -> str:
    """Return the batch script.

    Args:
        submission: the jobs it runs, and their options.
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
    """Return the parameters that submitit knows; None leaves one to the cluster."""
    per_task = options.memory_per_task_gib
    memory = math.ceil(per_task * GIB_IN_MB * job.ranks_per_node) if per_task else None
    overridden = {key.replace("-", "_") for key in options.sbatch}
    gpu_parameters = {"gres", "gpus", "gpus_per_node", "gpus_per_task"}
    cards = job.cards_per_node and not overridden & gpu_parameters
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
    return {key: value for key, value in parameters.items() if key not in overridden}


def _additional(options: SchedulerOptions, array: bool) -> Mapping[str, Any]:
    """Return those that submitit has no names for, and the user's own, which win; false removes."""
    parameters: dict[str, Any] = {
        "output": output_pattern(array),  # `command` adds the folder: a path could break this line
        "requeue": True,
        # To the batch step alone, which passes it on and so knows that it came.
        "signal": f"B:USR1@{math.ceil(options.signal_before)}",
    }
    if options.reservation:
        parameters["reservation"] = options.reservation
    parameters |= {key.replace("_", "-"): value for key, value in options.sbatch.items()}
    return {key: value for key, value in parameters.items() if value is not False}


def output_pattern(array: bool) -> str:
    """Return SLURM's pattern for the file that a batch step prints to: the job's name, and .txt."""
    return "%A_%a.txt" if array else "%j.txt"


def command(folder: Path, array: bool) -> list[str]:
    """Return the call of sbatch for a submission's folder."""
    literal = str(folder).replace("%", "%%")  # SLURM would expand it
    output = f"--output={literal}/{output_pattern(array)}"
    return ["sbatch", f"--chdir={folder}", output, str(folder / FILE)]


def submit(script: str, submission: Submission, folder: Path) -> str:
    """Hand a script to sbatch, to run in a folder, and return SLURM's job id.

    Raises:
        RequestError: SLURM refuses it; NoRoom where it is for now.
        WorkError: SLURM cannot be reached.
    """
    try:
        (folder / FILE).write_text(script, encoding="utf-8")
    except OSError as error:
        raise WorkError(f"{error.filename}: {error.strerror}") from error
    completed = _call(command(folder, len(submission.jobs) > 1), submission)
    return str(SlurmExecutor._get_job_id_from_submission_command(completed.stdout))


def validate(script: str, submission: Submission, folder: Path) -> str:
    """Return what sbatch answers to a script that it only checks. Raises what `submit` does."""
    words = command(folder, len(submission.jobs) > 1)[:-1]  # there is no such file
    return _one_line(_call([*words, "--test-only"], submission, script).stderr)


def _call(
    words: list[str], submission: Submission, script: str | None = None
) -> "subprocess.CompletedProcess[str]":
    try:
        completed = subprocess.run(
            words, input=script, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise WorkError(f"sbatch: {error.strerror}") from error
    if completed.returncode:
        message = _one_line(completed.stderr) or f"exit code {completed.returncode}"
        raise refusal(message, submission.options, submission.jobs[0])
    return completed


def _one_line(output: str) -> str:
    lines = [line.removeprefix("sbatch: ").strip() for line in output.splitlines()]
    return "; ".join(dict.fromkeys(line.removeprefix("error: ") for line in lines if line))


def title(name: str, token: str) -> str:
    """Make a name for squeue that is safe in a shell and on a line; never read back as data."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:40]}-{token}"
