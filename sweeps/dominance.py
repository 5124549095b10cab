"""Points that a run rules out without any model: more of the same cannot fit or be faster."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from launcher.planner.forecast import Grid, Observation

COMPARED = {
    "micro_batch",
    "recompute",
    "recompute_layers",
    "repeats_core_attn",
    "repeats_layernorm",
    "repeats_feed_forward",
    "repeats_moe_act",
}
"""Fields of points of which one may have more, or recompute more, than another; in all others those
that are compared are equal."""


def dominated(grid: Grid, observations: Mapping[int, Observation]) -> dict[int, str]:
    """Points ruled out, and the reason for each.

    A layout that did not fit rules out the same with larger micro batches or less recomputation.
    One that fitted rules out the same with more recomputation, which only costs time.
    """
    if not observations:
        return {}
    p = grid.points
    names = {field.name for field in dataclasses.fields(p)} - COMPARED
    repeated = p.repeated.shares
    position = np.column_stack([*(getattr(p, name) for name in sorted(names)), grid.extra])
    reasons: dict[int, str] = {}
    for i, run in observations.items():
        if run.fitted is None or (run.fitted and run.step is None):
            continue
        otherwise_equal = (position == position[i]).all(axis=1)
        if run.fitted:
            more = (repeated >= repeated[i]).all(axis=1) & (repeated > repeated[i]).any(axis=1)
            worse = (p.micro_batch == p.micro_batch[i]) & more
            reason = "the same fits with less recomputation"
        else:
            no_more = (repeated <= repeated[i]).all(axis=1)
            worse = (p.micro_batch >= p.micro_batch[i]) & no_more
            reason = f"micro batch {p.micro_batch[i]:g} ran out of memory, the rest equal"
        for point in np.flatnonzero(otherwise_equal & worse):
            if point != i:
                reasons.setdefault(int(point), reason)
    return reasons
