"""Folders of small sweeps on a cluster, as runs leave them, with step times that a test decides."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from launcher.results.run_folder import RunFolder, Status
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from tests.conftest import spec

LAYOUTS = [
    ParallelLayout(tp=tp, zero=zero, micro_batch=micro)
    for tp in (1, 2)
    for zero in (0, 1)
    for micro in (1, 2)
]

NODE = Cluster(
    name="node", nodes=1, gpus_per_node=8, accelerator=Accelerator(name="H100", bf16_tflops=989.0)
)


def point(layout: ParallelLayout) -> RunSpec:
    """A run of 64 steps on eight cards."""
    base = spec(layout, global_batch=64, steps=64, precision="bf16")
    return replace(base, cluster=NODE)


def made(
    folder: Path,
    seed: int = 1,
    noise: float = 0.02,
    drift: float = 0.005,
    slower: Mapping[int, float] | None = None,
) -> Path:
    """A sweep of `LAYOUTS`.

    Args:
        noise: standard deviation of the time of a step, as a share.
        drift: the same of a whole run.
        slower: for the number of a layout how many times as long it takes.
    """
    chance = random.Random(seed)
    for number, layout in enumerate(LAYOUTS):
        usual = 100 * (1 + number / 10) * chance.gauss(1, drift) * (slower or {}).get(number, 1)
        times = [usual * chance.gauss(1, noise) for _ in range(64)]
        run(folder, point(layout), times)
    names = [point(layout).name for layout in LAYOUTS]
    (folder / "points.json").write_text(json.dumps(names))
    return folder


def run(sweep: Path, run_spec: RunSpec, times: list[float]) -> RunFolder:
    """A run's folder, as it is once it has ended well."""
    folder = RunFolder(sweep / run_spec.name)
    folder.create(run_spec)
    folder.write_status(
        Status(state="ended", exit_codes=(0,) * 8, started=100.0, ended=190.0, nodes=("n1",))
    )
    lines = [
        {
            "step": step,
            "tokens": step * run_spec.tokens_per_step,
            "loss": 7 - step / 100,
            "grad_norm": 1.0,
            "step_ms": ms,
            "mem_min_gib": 20.0,
            "mem_max_gib": 40.0 / run_spec.layout.tp,
            "attempt": 1,
        }
        for step, ms in enumerate(times, 1)
    ]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.write_result({"memory_kind": "cuda reserved"})
    return folder
