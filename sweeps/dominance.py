"""What a run says of others without any model: more of the same cannot fit, or cannot be faster."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from launcher.planner.forecast import Grid, Seen


def dominated(grid: Grid, seen: Mapping[int, Seen]) -> dict[int, str]:
    """Points ruled out, and by which.

    A layout that did not fit rules out the same with larger micro batches or less recomputation.
    One that fitted rules out the same with more recomputation, which only costs time.
    """
    if not seen:
        return {}
    p = grid.points
    names = {one.name for one in dataclasses.fields(p)} - {"micro_batch", "recompute"}
    place = np.column_stack([*(getattr(p, name) for name in sorted(names)), grid.extra])
    out: dict[int, str] = {}
    for i, one in seen.items():
        if one.fitted is None or (one.fitted and one.step is None):
            continue
        same = (place == place[i]).all(axis=1)
        if one.fitted:
            worse = (p.micro_batch == p.micro_batch[i]) & (p.recompute > p.recompute[i])
            why = "the same fits with less recomputation"
        else:
            worse = (p.micro_batch >= p.micro_batch[i]) & (p.recompute <= p.recompute[i])
            why = f"micro batch {p.micro_batch[i]:g} ran out of memory, the rest equal"
        for other in np.flatnonzero(same & worse):
            if other != i:
                out.setdefault(int(other), why)
    return out
