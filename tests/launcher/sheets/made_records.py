"""Records of a sweep on one card that nobody had, as a machine of known constants would have made it."""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from launcher.backends import engine_traits
from launcher.decode import encode
from launcher.planner import memory, steptime
from launcher.planner.constants import Constants, constants_of
from launcher.planner.points import GIB, Points
from launcher.results import record
from launcher.results.record import Figures, RunRecord
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.shape import Recompute
from tests import conftest
from tests.conftest import shape

CARD = Cluster(
    name="one",
    nodes=1,
    gpus_per_node=1,
    accelerator=Accelerator(
        name="H100-SXM5-80GB",
        memory_gib=78.6,
        bf16_tflops=989.4,
        fp32_tflops=66.9,
        memory_gb_s=3350.0,
    ),
)
MODEL = shape(name="1b", layers=22, hidden=2048, ffn=5632, heads=32, kv_heads=4, vocab=32000,
              sequence=2048)  # fmt: skip
RECOMPUTE: tuple[Recompute, ...] = ("none", "full")

START = constants_of(None)
TRUE = Constants(
    time=dataclasses.replace(START.time, matmul_h100=0.8 * START.time.matmul_h100),
    memory=dataclasses.replace(START.memory, unfused=1.3 * START.memory.unfused),
)
"""Constants of the machine on which the records were measured."""


def specs(cluster: Cluster = CARD) -> list[RunSpec]:
    """Eight layouts of one rank, on either engine."""
    return [
        dataclasses.replace(
            conftest.spec(
                ParallelLayout(micro_batch=micro, recompute=recompute), 1, backend, precision="bf16"
            ),
            model=MODEL,
            cluster=cluster,
        )
        for backend, recompute, micro in itertools.product(
            ("megatron", "deepspeed"), RECOMPUTE, (2, 4)
        )
    ]


def measured(specs: Sequence[RunSpec], on_card: bool = True) -> list[RunRecord]:
    """Records of the specs as a machine of `TRUE` would have run them."""
    points = Points.from_specs(specs, engine_traits)
    seconds = steptime.step_time(points, TRUE.time).total
    reserved = memory.reported_bytes(points, TRUE.memory, "reserved") / GIB
    return [
        RunRecord(
            spec=spec,
            outcome="ok",
            figures=Figures(
                step_ms_p50=1e3 * float(step),
                mem_max_gib=float(gib),
                memory_kind="cuda reserved" if on_card else "rss",
            ),
        )
        for spec, step, gib in zip(specs, seconds, reserved, strict=True)
    ]


def written(path: Path, runs: Sequence[RunRecord]) -> Path:
    """The records in a file of either form."""
    if path.suffix == ".jsonl":
        record.write(path, runs)
    else:
        path.write_text(json.dumps({"card": "mine", "records": [encode(run) for run in runs]}))
    return path
