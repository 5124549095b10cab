"""What tests of strategies share: a grid of layouts, and runs on a machine that is made up."""

import itertools
from typing import Any

import numpy as np

from launcher.planner import memory
from launcher.planner.forecast import Grid, Observation
from launcher.planner.points import Array
from sweeps import Answer, Search, Strategy
from tests.launcher.planner.made import FIXED, grid, points

LLAMA = {"layers": 32, "hidden": 4096, "ffn": 11008, "heads": 32, "kv_heads": 32, "gated": 1,
         "vocab": 32000, "sequence": 4096, "gpus": 16, "global_batch": 128, "zero": 1}  # fmt: skip
"""A 7B model on two nodes of A100."""

LAYOUTS: list[dict[str, Any]] = [
    {"tp": tp, "pp": pp, "micro_batch": micro, "recompute": recompute, "sp": tp > 1}
    for tp, pp, micro, recompute in itertools.product(
        (1, 2, 4, 8), (1, 2), (1, 2, 4, 8), ("none", "full")
    )
]


def layouts(**changes: Any) -> Grid:
    """64 of them, of which a few do not fit."""
    return grid(points(*LAYOUTS, **{**LLAMA, **changes}))


class Machine:
    """Runs points: what the formulas say, times factors that they do not know."""

    def __init__(self, where: Grid, slower: Any = 1.0, larger: float = 1.0) -> None:
        wants = memory.required_bytes(where.points, FIXED.memory) * larger
        self.grid = where
        self.fits: Array = wants < where.points.memory
        self.speed: Array = np.where(
            self.fits, where.tokens_per_device / (where.seconds * slower), 0.0
        )

    def run(self, point: int) -> Observation:
        """What it shows."""
        fits = bool(self.fits[point])
        step = float(self.grid.tokens_per_device[point] / self.speed[point]) if fits else None
        return Observation(fitted=fits, step=step)

    def search(self, strategy: Strategy, **options: Any) -> tuple[dict[int, Observation], Answer]:
        """Ask and run until nothing more is asked for."""
        seen: dict[int, Observation] = {}
        while True:
            answer = strategy(Search(grid=self.grid, observations=dict(seen), **options))
            if not answer.next:
                return seen, answer
            assert not seen.keys() & set(answer.next), "asked for twice"
            seen |= {point: self.run(point) for point in answer.next}
