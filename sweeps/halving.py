"""Successive halving: every point for a few steps, the best of them for more.

The rungs are the values of the axis ``train.steps``: of n points at 10 steps the best n / 4 go
on to 40, so that each rung takes about as long as the one before. Source: Jamieson and Talwalkar,
arXiv:1502.07943.
"""

import math
from itertools import pairwise

import numpy as np

from sweeps.best_first import ruled_out
from sweeps.search import Answer, Search


def halving(search: Search) -> Answer:
    """Open points of the lowest rung that is not done; the slower ones do not climb."""
    given_up = ruled_out(search)
    rank = "fastest" if search.merits is None else "best"
    count = len(search.grid.points)
    steps = np.zeros(count) if search.steps is None else search.steps
    twins = np.arange(count) if search.twins is None else search.twins
    for lower, upper in pairwise(sorted(set(steps.tolist()))):
        below = [i for i in np.flatnonzero(steps == lower).tolist() if i not in given_up]
        if any(i not in search.observations for i in below):
            break
        keep = _best(search, below, lower / upper)
        reason = f"not among the {rank} {len(keep)} of {len(below)} after {lower:g} steps"
        climbing = {twins[i] for i in keep}
        rung = np.flatnonzero(steps == upper).tolist()
        given_up = {i: reason for i in rung if twins[i] not in climbing} | given_up
    candidates = [i for i in search.open if i not in given_up]
    if ended := search.exhausted_budget:
        return Answer(given_up=given_up | dict.fromkeys(candidates, ended), ended=ended)
    lowest = min((steps[i] for i in (*candidates, *search.running)), default=0)
    rung = [i for i in candidates if steps[i] == lowest]
    return Answer(next=tuple(rung[: search.free_slots]), given_up=given_up)


def _best(search: Search, points: list[int], share: float) -> list[int]:
    """The share of some points that is best, those without a value of the goal left out."""
    merits = {i: merit for i in points if (merit := search.merit(i)) is not None}
    order = sorted(merits, key=lambda i: -merits[i])
    return order[: math.ceil(len(points) * share)]
