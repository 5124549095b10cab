"""Shared by tests of strategies: a grid of layouts, and runs on a machine that is made up."""

import itertools
from typing import Any

import numpy as np

from launcher.planner import memory
from launcher.planner.forecast import Grid, Observation
from launcher.planner.points import Array
from sweeps import Answer, Search, Strategy
from tests.launcher.planner.made import FIXED, points
from tests.launcher.planner.made import grid as grid_of

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
    return grid_of(points(*LAYOUTS, **{**LLAMA, **changes}))


class Machine:
    """Runs points: what the formulas say, times factors that they do not know."""

    def __init__(self, grid: Grid, slower: Any = 1.0, larger: float = 1.0) -> None:
        required = memory.required_bytes(grid.points, FIXED.memory) * larger
        self.grid = grid
        self.fits: Array = required < grid.points.memory
        self.speed: Array = np.where(
            self.fits, grid.tokens_per_device / (grid.seconds * slower), 0.0
        )

    def run(self, point: int) -> Observation:
        """Result of a run of one point."""
        fits = bool(self.fits[point])
        step = float(self.grid.tokens_per_device[point] / self.speed[point]) if fits else None
        return Observation(fitted=fits, step=step)

    def search(self, strategy: Strategy, **options: Any) -> tuple[dict[int, Observation], Answer]:
        """Ask and run until nothing more is asked for."""
        runs: dict[int, Observation] = {}
        while True:
            answer = strategy(Search(grid=self.grid, observations=dict(runs), **options))
            if not answer.next:
                return runs, answer
            assert not runs.keys() & set(answer.next), "asked for twice"
            runs |= {point: self.run(point) for point in answer.next}
