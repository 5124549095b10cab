"""Refusals of sbatch: the key of ours that each is about, and whether it is for now or for good."""

import re
from typing import Any

from launcher.errors import LaunchError, RequestError, WorkError
from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions


class NoRoom(RequestError):
    """SLURM takes no more jobs at once: some have to end first."""


UNREACHABLE = re.compile(r"Unable to contact|Socket timed out|Connection refused|unavailable", re.I)
"""Messages of sbatch where it is not the request that is wrong."""

SUBMITTED = re.compile(r"SubmitJob\w*Limit|^[\w ]+: Job violates accounting/QOS policy")
"""Messages about limits on queued and running jobs; the second is one without a reason."""

ABOUT = [
    (re.compile(pattern, re.I), parameters)
    for pattern, *parameters in (
        (r"MaxWall\w+Limit|time limit is", "time"),
        (r"QOS\w+Limit|invalid qos", "qos"),
        (r"Assoc\w+Limit", "account"),
        (r"invalid account", "account", "partition"),
        (r"violates accounting/QOS policy", "qos", "account"),
        (r"partition (?:name )?specified", "partition"),
        (r"reservation", "reservation"),
        (r"feature specification", "constraint"),
        (r"node name", "exclude", "nodelist"),
        (r"memory", "mem"),
        (r"license", "licenses"),
        (r"dependency", "dependency"),
        (r"\(gres\)", "gres", "gpus-per-node"),
    )
]
"""Messages, and the parameters of sbatch that each is about: the first that the user set counts."""

PARAMETER = re.compile(r"--([a-z][a-z-]+)")
"""A parameter that a message names itself."""


def refusal(message: str, options: SchedulerOptions, job: Job) -> LaunchError:
    """Return the error for a message of sbatch: one line that begins with the key and its value."""
    if UNREACHABLE.search(message):
        return WorkError(f"scheduler: sbatch refuses: {message}")
    keys = _keys(options, job)
    parameters = next((names for pattern, names in ABOUT if pattern.search(message)), [])
    candidates = [keys[name] for name in (*PARAMETER.findall(message), *parameters) if name in keys]
    candidates.sort(key=lambda pair: pair[1] in (None, (), 0))  # keys that the user set come first
    where = next((f"{key}={_written(value)}" for key, value in candidates), "scheduler")
    error_class = NoRoom if SUBMITTED.search(message) else RequestError
    return error_class(f"{where}: sbatch refuses: {message}")


def _keys(options: SchedulerOptions, job: Job) -> dict[str, tuple[str, Any]]:
    """Return for each parameter of sbatch the key that sets it, and the key's value."""
    names = ("partition", "account", "qos", "reservation", "constraint", "exclude", "cpus_per_task")
    keys: dict[str, tuple[str, Any]] = {
        name.replace("_", "-"): (f"scheduler.{name}", getattr(options, name)) for name in names
    }
    keys["mem"] = ("scheduler.memory_per_task_gib", options.memory_per_task_gib)
    keys["time"] = ("time_limit", job.time_limit)
    keys["gpus-per-node"] = ("cluster.gpus_per_node", job.cards_per_node)
    for name, value in options.sbatch.items():  # which win, as in the batch script
        keys[name.replace("_", "-")] = (f"scheduler.sbatch.{name}", value)
    return keys


def _written(value: Any) -> str:
    """Write a value as the command line takes it."""
    if isinstance(value, tuple):
        return f"[{','.join(value)}]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
