"""Small collectives between all ranks: numbers of each rank, their sums, or a value of rank 0."""

import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from launcher.workers.model import platform

_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
"""Gathering into one tensor, which has another name since torch 2.13."""


def gather(figures: Sequence[float]) -> list[list[float]]:
    """Return the figures of all ranks, a row for each, on every rank.

    They are float64, so that integers below 2**53 are exact.
    """
    row = torch.tensor(figures, dtype=torch.float64, device=platform.device())
    rows = row.new_empty(dist.get_world_size() * len(row))
    _all_gather(rows, row)
    return rows.view(-1, len(row)).tolist() if figures else [[]] * dist.get_world_size()


def total(figures: Sequence[float]) -> list[float]:
    """Return the sums of the figures of all ranks, float64, on every rank; a NaN stays one."""
    sums = torch.tensor(figures, dtype=torch.float64, device=platform.device())
    dist.all_reduce(sums)
    return [float(figure) for figure in sums.tolist()]


def broadcast_json(value: Any) -> Any:
    """Return on every rank the value of rank 0, which must be JSON."""
    encoded = json.dumps(value).encode() if dist.get_rank() == 0 else b""
    size = int(gather([len(encoded)])[0][0])
    text = torch.zeros(size, dtype=torch.uint8, device=platform.device())
    if encoded:
        text.copy_(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))
    dist.broadcast(text, 0)
    return json.loads(bytes(text.tolist()))
