"""Garbage collection at the same moment on every rank, between two steps.

Python collects when a process has made enough objects, so each rank does it at another moment,
and all others wait for it in the next collective: in a large run some rank is late at every step.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

YOUNG, ALL = 1, 2
ALL_EVERY = 100
"""Steps from one collection of all objects to the next: NVIDIA's ``manual_gc_interval``."""


@contextmanager
def collected_between_steps() -> Iterator[Callable[[int], None]]:
    """Turn automatic collection off; yield the function to call after each step, with its number.

    The young objects are collected at every step, which takes little time and frees what a step has
    made; what became old is looked at every `ALL_EVERY` steps, what was there before, never.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield _collect
    finally:
        gc.enable()
        gc.unfreeze()


def _collect(step: int) -> None:
    gc.collect(YOUNG if step % ALL_EVERY else ALL)
