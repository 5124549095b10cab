"""Small collectives between all ranks: numbers of each, or a value of rank 0."""

import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from launcher.workers.model import platform


def gather(figures: Sequence[float]) -> list[list[float]]:
    """One row of figures a rank, on every rank; whole numbers are exact below 2**53."""
    mine = torch.tensor(figures, dtype=torch.float64, device=platform.device())
    rows = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, mine)
    return torch.stack(rows).tolist()


def broadcast_json(value: Any) -> Any:
    """Return on every rank the value of rank 0, which must be JSON."""
    mine = json.dumps(value).encode() if dist.get_rank() == 0 else b""
    size = int(gather([len(mine)])[0][0])
    text = torch.zeros(size, dtype=torch.uint8, device=platform.device())
    if mine:
        text.copy_(torch.frombuffer(bytearray(mine), dtype=torch.uint8))
    dist.broadcast(text, 0)
    return json.loads(bytes(text.tolist()))
