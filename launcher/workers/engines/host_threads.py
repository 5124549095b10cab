"""Threads for the update of an optimizer that is kept in host memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from launcher.schedulers.threads import SHARE
from launcher.spec.run import RunSpec


def widen_update(optimizer: Any, spec: RunSpec) -> None:
    """Let ``optimizer.step`` take all the cores that this rank was given, where it offloads.

    The norm of the gradients, clipping and AdamW are then the CPU's: on one thread the card would
    wait for tens of seconds. All the rest keeps one, also on a CPU, where it decides roundings.
    """
    if not spec.layout.offload:
        return
    threads, step = int(os.environ.get(SHARE, "1")), optimizer.step

    def widened(*arguments: Any, **options: Any) -> Any:
        with _threads(threads):
            return step(*arguments, **options)

    optimizer.step = widened


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
