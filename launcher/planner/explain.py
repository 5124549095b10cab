"""Terms that make up a prediction: ``launch plan --explain ROW``."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from launcher.planner import memory, steptime
from launcher.planner.constants import Constants
from launcher.planner.memory import Memory
from launcher.planner.points import GIB, Points
from launcher.planner.steptime import StepTime

MEANING = {
    Memory: {
        "weights": "parameters of this rank",
        "gradients": "accumulated over the micro batches",
        "optimizer": "fp32 copy of the weights, and two moments",
        "activations": "kept for the backward passes of all micro batches in flight",
        "logits": "output of the LM head, and the loss",
        "buffers": "gathered weights, communication buckets",
        "other": "workspaces",
    },
    StepTime: {
        "compute": "matrix products, attention, norms: forward and backward",
        "host": "waiting for the host to start kernels",
        "recompute": "forward passes that activation checkpointing repeats",
        "tensor": "collectives between tensor and context parallel ranks",
        "experts": "all-to-all between expert parallel ranks",
        "pipeline": "sends between stages",
        "bubble": "waiting for the pipeline to fill and to drain",
        "data": "data parallel communication that nothing hides",
        "optimizer": "update of weights and moments",
        "other": "once a step, whatever its size",
    },
}


def terms(points: Points, constants: Constants) -> Iterator[dict[str, Any]]:
    """Rows for one point, ``points`` of length 1: memory of each stage, then the step time."""
    stages = memory.STAGES if points.pp[0] > 2 else ("first", "last")[: int(points.pp[0])]
    for stage in stages:
        of_stage = memory.stage_memory(points, constants.memory, stage)
        group = f"memory, {stage} stage" if len(stages) > 1 else "memory"
        yield from _rows(group, of_stage, GIB, "gib", of_stage.allocated)
    required = float(memory.required_bytes(points, constants.memory)[0]) / GIB
    yield _row("memory", "needed on the device", "gib", required, None)
    if np.isfinite(points.memory[0]):
        yield _row("memory", "there is", "gib", float(points.memory[0]) / GIB, None)
    times = steptime.step_time(points, constants.time)
    yield from _rows("step", times, 1e-3, "ms", times.total)


def _rows(
    group: str, prediction: Memory | StepTime, unit: float, unit_name: str, total: Any
) -> Iterator[dict[str, Any]]:
    for field in dataclasses.fields(prediction):
        value = float(getattr(prediction, field.name)[0])
        share = 100 * value / float(total[0])
        meaning = MEANING[type(prediction)][field.name]
        yield _row(group, field.name, unit_name, value / unit, share, meaning)
    yield _row(group, "together", unit_name, float(total[0]) / unit, 100.0)


def _row(
    group: str, term: str, unit: str, value: float, share: float | None, meaning: str | None = None
) -> dict[str, Any]:
    digits = 2 if unit == "gib" else 1
    return {
        "of": group,
        "term": term,
        "gib": round(value, digits) if unit == "gib" else None,
        "ms": round(value, digits) if unit == "ms" else None,
        "share_pct": None if share is None else round(share, 1),
        "meaning": meaning,
    }
