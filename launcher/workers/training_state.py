"""Every tensor that a step of an engine changes: what a checkpoint is made of.

The learning rate and the samples are functions of the step's number, nothing is random, gradients
are zero between two steps, and so are the micro batches that DeepSpeed counts.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from launcher.workers.errors import CheckpointError

Contents = dict[str, Any]
"""Tensors and integers in dicts and lists: what ``torch.load`` reads with ``weights_only``."""


class TrainingState:
    """The weights of this rank, and what its optimizers step on and remember."""

    def __init__(self, parameters: Iterable[Any], optimizer: Any) -> None:
        """``optimizer`` is megatron's, DeepSpeed's or torch's own, around as many as there are."""
        self._weights = [getattr(one, "ds_tensor", one) for one in parameters]  # ZeRO-3's own part
        self._optimizers = [
            (one, _masters(outer, one)) for outer, one in _innermost(optimizer, optimizer)
        ]

    def contents(self) -> Contents:
        """The tensors themselves; what shares memory here shares it in a file too."""
        return {
            "weights": [weight.detach() for weight in self._weights],
            "optimizers": [
                {
                    "masters": [master.detach() for master in masters],
                    "state": [_tensors(optimizer.state.get(master, {})) for master in masters],
                    "steps": [group.get("step", -1) for group in optimizer.param_groups],
                }
                for optimizer, masters in self._optimizers
            ],
        }

    @torch.no_grad()
    def restore(self, saved: Contents) -> None:
        """Become what was saved, in place: buffers and views of the engine stay what they are.

        Raises:
            CheckpointError: a tensor has another shape or type than the one saved.
        """
        _copy_all(self._weights, saved["weights"])
        _same(len(self._optimizers), len(saved["optimizers"]), "optimizers")
        for (optimizer, masters), part in zip(self._optimizers, saved["optimizers"], strict=True):
            _copy_all(masters, part["masters"])
            for master, tensors in zip(masters, part["state"], strict=True):
                _restore_state(optimizer.state[master], tensors, master.device)
            for group, step in zip(optimizer.param_groups, part["steps"], strict=True):
                if step >= 0:  # Transformer Engine's and apex's Adam count here, torch's does not
                    group["step"] = step


def _innermost(optimizer: Any, outer: Any) -> Iterator[tuple[Any, Any]]:
    """Each of torch's optimizers, after what is wrapped around it."""
    if hasattr(optimizer, "chained_optimizers"):  # megatron: one more for experts
        for one in optimizer.chained_optimizers:
            yield from _innermost(one, one)
    elif isinstance(optimizer, torch.optim.Optimizer):
        yield outer, optimizer
    elif optimizer.optimizer is not None:  # None: a rank without parameters of that kind
        yield from _innermost(optimizer.optimizer, optimizer)


def _masters(outer: Any, optimizer: Any) -> list[Any]:
    """What the optimizer steps on. ZeRO-3 tells it only for the moment of each step."""
    partitions = getattr(outer, "fp32_partitioned_groups_flat", None)
    if partitions is not None:
        return list(partitions)
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if torch.is_tensor(value)}


def _restore_state(state: dict[str, Any], saved: dict[str, Any], device: Any) -> None:
    """Empty before the first step, so it is made here."""
    for key, value in saved.items():
        if key in state:
            _copy_all([state[key]], [value])
        else:
            state[key] = value.to(device, copy=True)


def _copy_all(tensors: list[Any], saved: list[Any]) -> None:
    _same(len(tensors), len(saved), "tensors")
    for tensor, value in zip(tensors, saved, strict=True):
        _same((tensor.shape, tensor.dtype), (value.shape, value.dtype), "a tensor")
        tensor.copy_(value)


def _same(here: Any, saved: Any, what: str) -> None:
    if here != saved:
        raise CheckpointError(f"{what}: the checkpoint has {saved}, the run has {here}")
