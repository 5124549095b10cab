"""A sweep on SLURM, over one and two nodes, and the same on this machine: equal to the last digit."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import command, environment
from tests.slurm.conftest import Make

GRID = (
    "sweep=parallelism_grid",
    "sweep.axes.layout.tp=[1,2]",
    "sweep.axes.layout.pp=[1,2]",
    "sweep.axes.layout.zero=[1,3]",
    "sweep.axes.layout.recompute=[none]",
    "train.steps=4",
)
SAME = (
    "backend",
    "tp",
    "pp",
    "zero",
    "outcome",
    "cause",
    "steps",
    "loss_first",
    "loss_last",
    "grad_norm_max",
)


@pytest.mark.parametrize("nodes", [1, 2])
def test_outcomes_and_losses_are_those_of_one_machine(
    sweep: Make, tmp_path: Path, cache: Path, nodes: int
) -> None:
    gpus = nodes * 2
    there = sweep(*GRID, f"cluster.nodes={nodes}", "cluster.gpus_per_node=2", "parallel=2")
    code, out = there.end(timeout=500)
    assert code == 0, out
    words = [*GRID, f"cluster.gpus_per_node={gpus}", f"output={tmp_path}/here", "--format", "json"]
    here = subprocess.run(
        command(words), env=environment(cache), capture_output=True, text=True, check=True
    )
    rows, others = there.rows(), json.loads(here.stdout)
    assert [row["outcome"] for row in rows].count("ok") >= 6
    assert sorted(map(_key, rows)) == sorted(map(_key, others))
    assert {row["nodes"] for row in rows} == {nodes}
    ran = [row for row in rows if row["outcome"] == "ok"]
    assert all(len(str(row["hosts"]).split()) == nodes for row in ran)
    there.check()


def _key(row: dict[str, object]) -> str:
    return json.dumps({name: row[name] for name in SAME})
