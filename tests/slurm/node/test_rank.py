"""The agent of one rank, without SLURM: the environment that it starts the rank in.

Modules: slurm.node.rank. Signals and exit codes are in tests/slurm/test_faults.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder
from tests import limits
from tests.conftest import ROOT, spec

TASK = {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_CPUS_PER_TASK": "14",
    "MEGALAUNCH_ATTEMPT": "1",
}


@pytest.mark.parametrize(
    ("environment", "threads"), [({}, "1 14"), ({"OMP_NUM_THREADS": "2"}, "2 2")]
)
def test_a_rank_is_told_its_place_and_its_cores(
    tmp_path: Path, environment: dict[str, str], threads: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.create(spec())
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    names += ("OMP_NUM_THREADS", "MEGALAUNCH_THREADS")
    code = f"import os; print(*(os.environ[name] for name in {names}))"
    words = ["-m", "slurm.node.rank", "--folder", str(tmp_path), "--", sys.executable, "-c", code]
    outside = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run(
        [sys.executable, "-P", *words],
        env={**outside, **TASK, **environment, "PYTHONPATH": str(ROOT)},
        timeout=limits.COMMAND,
        check=True,
    )
    assert folder.log(3).read_text() == f"3 1 4 2 {threads}\n"
