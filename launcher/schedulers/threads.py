"""Threads of a rank: one for all that cards do, and its share of the cores where it needs them."""

from collections.abc import Mapping

SHARE = "MEGALAUNCH_THREADS"
"""Variable with the threads that a rank may take while it computes on the CPU beside its card."""


def of_rank(environment: Mapping[str, str], cores: int) -> dict[str, str]:
    """Variables of a rank that was given so many cores; a user's OMP_NUM_THREADS decides both.

    More threads than one for everything, and trials at once on one machine would slow each other.
    """
    chosen = environment.get("OMP_NUM_THREADS")
    if chosen:
        return {"OMP_NUM_THREADS": chosen, SHARE: chosen.split(",")[0]}  # a list is of nested ones
    return {"OMP_NUM_THREADS": "1", SHARE: str(max(cores, 1))}


def cores_of_task(environment: Mapping[str, str], cores: int) -> int:
    """Cores of one of SLURM's tasks.

    Args:
        environment: the task's.
        cores: those it may run on, by its affinity.
    """
    if chosen := environment.get("SLURM_CPUS_PER_TASK"):
        return int(chosen)
    on_node = int(environment.get("SLURM_CPUS_ON_NODE", cores))
    if cores < on_node:  # SLURM has bound the task to its own
        return cores
    return cores // int(environment["SLURM_STEP_TASKS_PER_NODE"].split("(")[0])
