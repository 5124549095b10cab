"""What sbatch refuses: which key of ours it is about, and whether it is for now or for good."""

import re
from typing import Any

from launcher.errors import LaunchError, RequestError, WorkError
from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions


class NoRoom(RequestError):
    """SLURM takes no more jobs at once: some have to end first."""


UNREACHABLE = re.compile(r"Unable to contact|Socket timed out|Connection refused|unavailable", re.I)
"""What sbatch says when it is not the request that is wrong."""

SUBMITTED = re.compile(r"SubmitJob\w*Limit|^[\w ]+: Job violates accounting/QOS policy")
"""What it says of limits on jobs that are queued or run; the second where it gives no reason."""

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
"""What it says, and the parameters of sbatch that this is about: the first that was given."""

NAMED = re.compile(r"--([a-z][a-z-]+)")
"""A parameter that it names itself."""


def refusal(said: str, options: SchedulerOptions, job: Job) -> LaunchError:
    """What to raise for what sbatch said: one line that begins with the key and its value."""
    if UNREACHABLE.search(said):
        return WorkError(f"scheduler: sbatch refuses: {said}")
    keys = _keys(options, job)
    about = next((names for pattern, names in ABOUT if pattern.search(said)), [])
    found = [keys[name] for name in (*NAMED.findall(said), *about) if name in keys]
    found.sort(key=lambda pair: pair[1] in (None, (), 0))  # what was given comes first
    where = next((f"{key}={_written(value)}" for key, value in found), "scheduler")
    kind = NoRoom if SUBMITTED.search(said) else RequestError
    return kind(f"{where}: sbatch refuses: {said}")


def _keys(options: SchedulerOptions, job: Job) -> dict[str, tuple[str, Any]]:
    """For parameters of sbatch the key that sets each, and its value."""
    names = ("partition", "account", "qos", "reservation", "constraint", "exclude", "cpus_per_task")
    ours = {n.replace("_", "-"): (f"scheduler.{n}", getattr(options, n)) for n in names}
    ours["mem"] = ("scheduler.memory_per_task_gib", options.memory_per_task_gib)
    ours["time"] = ("time_limit", job.time_limit)
    ours["gpus-per-node"] = ("cluster.gpus_per_node", job.cards_per_node)
    own = {n.replace("_", "-"): (f"scheduler.sbatch.{n}", v) for n, v in options.sbatch.items()}
    return ours | own


def _written(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, tuple):
        return f"[{','.join(value)}]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
