"""Access to the fp32 weights that an optimizer steps on and to its moments, one class each.

A parameter on this rank is a shard (tensor parallelism splits it); an optimizer keeps all of it or,
under ZeRO, a range of it flattened, often within one buffer of many parameters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from launcher.workers.checkpoints.tensorfile import WEIGHT

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSlice:
    """The range of a parameter's flattened shard that this rank's optimizer steps on."""

    start: int
    """First element, in the flattened shard."""
    stop: int
    """First element after it."""
    optimizer: Any
    """The torch optimizer that steps on it."""
    master: Any
    """The fp32 tensor that it steps on."""
    offset: int = 0
    """Element of ``master`` that is the first of the range."""
    sharded: bool
    """True where data parallel ranks each keep another range, False where all keep the same one."""

    def tensor(self, kind: str) -> Any:
        """Weights or a moment, as a view of one dimension."""
        buffer = self.master if kind == WEIGHT else self.optimizer.state[self.master][kind]
        return buffer.detach().view(-1)[self.offset : self.offset + self.stop - self.start]

    def within(self, first: int, after: int) -> "OptimizerSlice | None":
        """The part of it in elements ``first`` to ``after`` of the shard, counted from ``first``.

        None where no element of it is there.
        """
        start, stop = max(self.start, first), min(self.stop, after)
        if start >= stop:
            return None
        offset = self.offset + start - self.start
        return replace(self, start=start - first, stop=stop - first, offset=offset)

    @property
    def steps(self) -> int:
        """Steps that Adam has done."""
        if MOMENTS[0] not in self.optimizer.state[self.master]:  # they come with the first step
            self.prepare(0)
        if isinstance(self.optimizer, torch.optim.Adam):
            return int(self.optimizer.state[self.master]["step"])
        return int(self.optimizer.param_groups[0]["step"])

    def prepare(self, steps: int) -> None:
        """Create the moments where there are none, and set Adam's count of steps."""
        state = self.optimizer.state[self.master]
        for kind in MOMENTS:
            if kind not in state:
                state[kind] = torch.zeros_like(self.master, dtype=torch.float32).detach()
        if isinstance(self.optimizer, torch.optim.Adam):
            state["step"] = torch.tensor(float(steps), device=self.master.device)  # as fused=True
            return
        for group in self.optimizer.param_groups:  # Transformer Engine's and apex's count there
            group["step"] = steps


FindSlice = Callable[[Any], OptimizerSlice | None]
"""Finds the slice of a parameter; None where this rank's optimizer keeps nothing of it."""


def slice_finder(optimizer: Any) -> FindSlice:
    """Return a function that finds the slice of a parameter in an optimizer or in its members.

    Raises:
        KeyError: the optimizer is of a class that is not in `FAMILIES`.
    """
    finders = [FAMILIES[_family(member)](member) for member in _members(optimizer)]

    def find(parameter: Any) -> OptimizerSlice | None:
        slices = (find_in_member(parameter) for find_in_member in finders)
        return next((part for part in slices if part is not None), None)

    return find


def class_names(optimizer: Any) -> str:
    """Name the class of an optimizer and that of the one it wraps, with its library.

    Either of these: ``torch.AdamW``, ``DistributedOptimizer(transformer_engine.FusedAdam)``. Two of
    one kind, such as megatron's second for experts, are named once.
    """
    return " ".join(dict.fromkeys(map(_class_name, _members(optimizer))))


def _class_name(optimizer: Any) -> str:
    kind = type(optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    return f"{kind.__name__}({_class_name(optimizer.optimizer)})"


def _members(optimizer: Any) -> Iterator[Any]:
    """Optimizers that one is made of, without empty ones.

    megatron has a second for experts, and one without parameters on a rank that has none.
    """
    if hasattr(optimizer, "chained_optimizers"):
        for member in optimizer.chained_optimizers:
            yield from _members(member)
    elif isinstance(optimizer, torch.optim.Optimizer) or optimizer.optimizer is not None:
        yield optimizer


def _family(optimizer: Any) -> str:
    return "torch" if isinstance(optimizer, torch.optim.Optimizer) else type(optimizer).__name__


def _unsharded(optimizer: Any) -> FindSlice:
    """Find complete parameters, or the fp32 copy of each that megatron calls ``main_param``."""
    inner = optimizer if _family(optimizer) == "torch" else optimizer.optimizer
    stepped_on = {id(master) for group in inner.param_groups for master in group["params"]}

    def find(parameter: Any) -> OptimizerSlice | None:
        master = getattr(parameter, "main_param", parameter)
        if id(master) not in stepped_on:
            return None
        return OptimizerSlice(
            start=0, stop=parameter.numel(), optimizer=inner, master=master, sharded=False
        )

    return find


def _distributed(optimizer: Any) -> FindSlice:
    """Find slices in megatron's ZeRO 1, which has a tensor for each."""
    inner = optimizer.optimizer

    def find(parameter: Any) -> OptimizerSlice | None:
        if parameter not in optimizer.model_param_group_index_map:
            return None
        group, order = optimizer.model_param_group_index_map[parameter]
        in_shard = optimizer._get_model_param_range_map(parameter)["param"]
        return OptimizerSlice(
            start=in_shard.start,
            stop=in_shard.end,
            optimizer=inner,
            master=inner.param_groups[group]["params"][order],
            sharded=True,
        )

    return find


def _linked(optimizer: Any) -> FindSlice:
    """Find slices in DeepSpeed's ZeRO 1, 2 and bf16 optimizer: one flat tensor for each group."""
    inner = optimizer.optimizer

    def find(parameter: Any) -> OptimizerSlice | None:
        link = parameter._hp_mapping  # low precision (lp) parameter to high precision (hp) master
        if link is None:
            return None
        in_shard = link.lp_fragment_address
        (flat,) = inner.param_groups[link.param_group_index]["params"]
        return OptimizerSlice(
            start=in_shard.start,
            stop=in_shard.start + in_shard.numel,
            optimizer=inner,
            master=flat,
            offset=link.hp_fragment_address.start,
            sharded=True,
        )

    return find


def _partitioned(optimizer: Any) -> FindSlice:
    """Find slices in DeepSpeed's ZeRO 3: equal ones, the last padded, in flat tensors of many."""

    def find(parameter: Any) -> OptimizerSlice:
        flat, offset, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
        start = optimizer._get_param_partition_rank(parameter) * size
        return OptimizerSlice(
            start=min(start, parameter.ds_numel),
            stop=min(start + size, parameter.ds_numel),
            optimizer=optimizer.optimizer,
            master=optimizer.fp32_partitioned_groups_flat[flat],
            offset=offset,
            sharded=True,
        )

    return find


FAMILIES: dict[str, Callable[[Any], FindSlice]] = {
    "torch": _unsharded,
    "FP32Optimizer": _unsharded,
    "Float16OptimizerWithFloat16Params": _unsharded,
    "DistributedOptimizer": _distributed,
    "DeepSpeedZeroOptimizer": _linked,
    "BF16_Optimizer": _linked,
    "DeepSpeedZeroOptimizer_Stage3": _partitioned,
}
"""Finder for each class of optimizer, by its name: only one of the two libraries is imported."""
