"""Threads of ranks, by the cores that they were given.

Modules: launcher.schedulers.threads.
"""

import pytest

from launcher.schedulers import threads


@pytest.mark.parametrize(
    ("environment", "cores", "variables"),
    [
        ({}, 14, ("1", "14")),
        ({}, 0, ("1", "1")),
        ({"OMP_NUM_THREADS": "3"}, 14, ("3", "3")),
        ({"OMP_NUM_THREADS": "1"}, 14, ("1", "1")),
        ({"OMP_NUM_THREADS": "4,2"}, 14, ("4,2", "4")),
    ],
)
def test_variables(environment: dict[str, str], cores: int, variables: tuple[str, str]) -> None:
    names = ("OMP_NUM_THREADS", "MEGALAUNCH_THREADS")
    assert threads.of_rank(environment, cores) == dict(zip(names, variables, strict=True))


@pytest.mark.parametrize(
    ("environment", "affinity", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "14", "SLURM_CPUS_ON_NODE": "112"}, 112, 14),
        ({"SLURM_CPUS_PER_TASK": "14", "SLURM_CPUS_ON_NODE": "112"}, 14, 14),
        ({"SLURM_CPUS_ON_NODE": "112"}, 112, 14),  # all tasks share the node's
        ({"SLURM_CPUS_ON_NODE": "112"}, 7, 7),  # bound to its own
        ({}, 16, 2),
    ],
)
def test_cores_of_a_task(environment: dict[str, str], affinity: int, cores: int) -> None:
    tasks = {"SLURM_STEP_TASKS_PER_NODE": "8(x2)"}
    assert threads.cores_of_task({**tasks, **environment}, affinity) == cores
