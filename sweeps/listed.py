"""Every point, without looking at any result: in the order of the axes, or in a random one."""

import numpy as np

from sweeps.search import Answer, Search


def grid(search: Search) -> Answer:
    """Every point in the order the axes list them."""
    return _next(search, search.open)


def shuffled(search: Search) -> Answer:
    """Every point in an order that the seed decides."""
    order = np.random.default_rng(search.seed).permutation(len(search.grid.points))
    left = set(search.open)
    return _next(search, [int(i) for i in order if int(i) in left])


def _next(search: Search, left: list[int]) -> Answer:
    if search.spent:
        return Answer(given_up=dict.fromkeys(left, search.spent), ended=search.spent)
    return Answer(next=tuple(left[: search.free]))
