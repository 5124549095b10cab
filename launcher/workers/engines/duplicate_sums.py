"""Sums of the gradients of what sequence parallelism duplicates, for DeepSpeed's engines."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist


class DuplicateSums:
    """Sums gradients of duplicated parameters over the tensor parallel ranks, once a step.

    megatron does that in fp32, after the last backward pass. DeepSpeed reduces and partitions
    gradients as they appear, so here a hook holds them back, adds them up in fp32, and hands the
    sum of all ranks over with the last micro batch's.
    """

    def __init__(self, parameters: Iterable[Any], group: Any) -> None:
        self._group = group
        self._micro_batches = 0
        if group.size() > 1:
            for parameter in parameters:
                if getattr(parameter, "sequence_parallel", False):
                    parameter.register_hook(self._hook())

    def begin(self, micro_batches: int) -> None:
        """Expect that many backward passes in the step that follows."""
        self._micro_batches = micro_batches

    def _hook(self) -> Callable[[Any], Any]:
        """Return the hook of one parameter."""
        held: Any = None
        passes = 0

        def hold_back(gradient: Any) -> Any:
            nonlocal held, passes
            held = gradient.to(torch.float32, copy=True) if held is None else held + gradient
            passes += 1
            if passes < self._micro_batches:
                return torch.zeros_like(gradient)
            total, held, passes = held.contiguous(), None, 0
            dist.all_reduce(total, group=self._group)
            return total.to(gradient.dtype)

        return hold_back
