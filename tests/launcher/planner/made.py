"""Shared by tests of the planner: points written down field by field, and constants of no say."""

import dataclasses
from typing import Any

import numpy as np

from launcher.planner.constants import Constants
from launcher.planner.engines import ENGINES
from launcher.planner.forecast import Grid
from launcher.planner.memory import MemoryConstants
from launcher.planner.points import GIB, NUMBER_FORMATS, Points, recompute_fields, stage_fields
from launcher.planner.steptime import TimeConstants
from launcher.spec.pipeline import even

PLAIN = MemoryConstants(
    activations=1.0,
    unfused=1.0,
    logit_bytes=8.0,
    fused_logit_bytes=4.0,
    score_bytes=5.0,
    workspace_gib=0.0,
    bucket_gib=0.0,
    reserved=1.0,
    squeezed=1.0,
    context_gib=0.0,
    communicator_gib=0.0,
)
"""The formulas' own bytes and nothing besides."""

FIXED = Constants(
    memory=MemoryConstants(
        activations=1.0,
        unfused=1.15,
        logit_bytes=8.0,
        fused_logit_bytes=4.0,
        score_bytes=5.0,
        workspace_gib=0.15,
        bucket_gib=1.0,
        reserved=1.1,
        squeezed=1.03,
        context_gib=1.0,
        communicator_gib=0.5,
    ),
    time=TimeConstants(
        matmul=0.8,
        matmul_h100=0.9,
        matmul_fp8=0.8,
        half_rows=300.0,
        half_width=100.0,
        memory=0.8,
        hidden_bytes=26.0,
        ffn_bytes=8.0,
        score_traffic=10.0,
        flash=0.6,
        flash_h100=0.6,
        launch=30e-6,
        link=0.7,
        network=0.75,
        collective=20e-6,
        ring=0.0,
        send=40e-6,
        exposed_gradients=0.3,
        exposed_gathers=0.2,
        exposed_sends=0.5,
        step=5e-3,
        cpu_launch=25e-6,
        cpu_collective=300e-6,
        cpu_step=5e-3,
    ),
)
"""Plausible figures that stay as they are when those of the package are fitted anew."""

GPT = {
    "layers": 4, "hidden": 1024, "ffn": 4096, "heads": 8, "kv_heads": 8, "head_dim": 128,
    "vocab": 1024, "sequence": 512, "experts": 0, "top_k": 2, "gated": 0, "tied": 0,
    "tp": 1, "pp": 1, "vpp": 1, "cp": 1, "ep": 1, "sp": 0, "zero": 0, "micro_batch": 1,
    "recompute": "none", "recompute_modules": None, "recompute_layers": None, "recompute_method": "block",
    "offload": 0, "dispatcher": 0, "flash": 1, "fused": 1, "fused_loss": 0,
    "dropout": 0, "engine": "megatron", "number_format": "bf16", "gradient_bytes": 4, "sums_late": 0,
    "reduced_bytes": 4, "gpus": 1, "gpus_per_node": 8, "global_batch": 8, "cpu": 0,
    "peak": 312e12, "peak_half": 312e12, "memory": 78.6 * GIB, "memory_rate": 2039e9,
    "link_rate": 300e9, "network_rate": 25e9,
}  # fmt: skip
"""A small GPT on one A100."""

RECOMPUTED = ("recompute", "recompute_modules", "recompute_layers", "recompute_method")

LAYER_PARAMS = 4 * 1024**2 + 2 * 1024 * 4096 + 2 * 1024
"""Parameters of one of its layers: four attention matrices, two of the feed-forward block, two norms."""


def point(**changes: Any) -> dict[str, Any]:
    """The fields of `GPT` with some changed; ``shards`` are the ranks that share the weights."""
    row = {**GPT, **changes}
    row.setdefault("shards", row["gpus"] // (row["tp"] * row["pp"]))
    row.setdefault("stages", even(row["layers"], row["pp"]))
    stages = row.pop("stages")
    kind, modules, layers, method = (row.pop(name) for name in RECOMPUTED)
    if modules is None:
        modules = ("core_attn",) if kind == "selective" else ()
    return {
        **row,
        **stage_fields(stages),
        **recompute_fields(kind, modules, layers, method),
        "engine": ENGINES.index(row["engine"]),
        "number_format": NUMBER_FORMATS.index(row["number_format"]),
    }


def points(*rows: dict[str, Any], **changes: Any) -> Points:
    """One point for each of ``rows``, or one; ``changes`` are for all of them."""
    return Points.from_rows([point(**{**changes, **row}) for row in rows or ({},)])


def grid(points: Points, extra: Any = None) -> Grid:
    """To choose from, predicted with `FIXED`."""
    none = np.zeros((len(points), 0))
    return Grid(points=points, constants=FIXED, extra=none if extra is None else np.array(extra))


def only(constants: TimeConstants, *names: str) -> TimeConstants:
    """The constants without the seconds that no work takes, except those named."""
    free = {"launch", "collective", "send", "step", "half_rows", "half_width"} - set(names)
    return dataclasses.replace(constants, **dict.fromkeys(free, 0.0))
