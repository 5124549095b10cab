"""A sweep on SLURM, over one and two nodes, equals one on this machine to the last digit."""

import json
import subprocess
from pathlib import Path

from tests.conftest import command, environment
from tests.slurm.conftest import Make

GRID = (
    "sweep=parallelism_grid",
    "sweep.axes.layout.tp=[1,2]",
    "sweep.axes.layout.pp=[1]",
    "sweep.axes.layout.zero=[1,3]",
    "layout.vpp=1",
    "layout.cp=1",
    "layout.ep=1",
    "layout.micro_batch=2",
    "layout.recompute=none",
    "sweep.where=[backend == 'megatron' and (layout.tp == 2 or layout.zero == 3)"
    " or backend == 'deepspeed' and layout.tp == 1 and layout.zero == 3]",
    "train.global_batch=24",
    "train.steps=4",
)
"""megatron with tp 2, DeepSpeed with ZeRO 3, and ZeRO 3 of megatron, which is rejected."""
COMPARED = (
    *("backend", "gpus", "tp", "zero", "outcome", "cause"),
    *("steps", "loss_first", "loss_last", "grad_norm_max"),
)


def test_outcomes_and_losses_are_those_of_one_machine(
    sweep: Make, tmp_path: Path, cache: Path
) -> None:
    on_slurm = sweep(
        *GRID, "sweep.axes.cluster.nodes=[1,2]", "cluster.gpus_per_node=2", "parallel=2"
    )
    local_rows = []
    code, output = on_slurm.end()
    assert code == 0, output
    for gpus in (2, 4):
        words = [*GRID, f"cluster.gpus_per_node={gpus}", f"output={tmp_path}/here{gpus}"]
        completed = subprocess.run(
            command([*words, "--format", "json"]),
            env=environment(cache),
            capture_output=True,
            text=True,
            check=True,
        )
        local_rows += json.loads(completed.stdout)
    rows = on_slurm.rows()
    assert sorted(map(_key, rows)) == sorted(map(_key, local_rows))
    ran = [row for row in rows if row["outcome"] == "ok"]
    assert (len(rows), len(ran)) == (8, 4)
    assert all(len(str(row["hosts"]).split()) == row["nodes"] for row in ran)
    on_slurm.check()


def _key(row: dict[str, object]) -> str:
    return json.dumps({name: row[name] for name in COMPARED})
