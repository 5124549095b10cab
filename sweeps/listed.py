"""Points as they are listed: in the order of the axes, in a random one, or one by one."""

import numpy as np

from sweeps.search import Answer, Search


def grid(search: Search) -> Answer:
    """Every point in the order the axes list them."""
    return _next(search, search.open)


def shuffled(search: Search) -> Answer:
    """Every point in an order that the seed decides."""
    order = np.random.default_rng(search.seed).permutation(len(search.grid.points))
    candidates = set(search.open)
    return _next(search, [int(i) for i in order if int(i) in candidates])


def in_order(search: Search) -> Answer:
    """One point after the other, as long as each ends well: the stages of a curriculum."""
    failed = any(not run.fitted for run in search.observations.values())
    return Answer() if failed or search.running else _next(search, search.open[:1])


def _next(search: Search, points: list[int]) -> Answer:
    if ended := search.exhausted_budget:
        return Answer(given_up=dict.fromkeys(points, ended), ended=ended)
    return Answer(next=tuple(points[: search.free_slots]))
