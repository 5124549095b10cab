"""Where each kind of optimizer keeps the fp32 weights it steps on, and its moments.

A parameter on this rank is a shard (tensor parallelism cuts it); an optimizer keeps all of it or,
under ZeRO, a stretch of it flattened, often within one buffer of many parameters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from launcher.workers.checkpoints.tensorfile import WEIGHT

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSlice:
    """The stretch of a parameter's shard that this rank's optimizer steps on."""

    start: int
    """Of the flattened shard."""
    stop: int
    """The first element after it."""
    optimizer: Any
    """torch's own kind."""
    master: Any
    """What it steps on."""
    at: int = 0
    """Where in that the stretch begins."""
    sharded: bool
    """Data parallel ranks keep other stretches, and not the same one."""

    def tensor(self, kind: str) -> Any:
        """The weights or a moment, of one dimension: a view."""
        whole = self.master if kind == WEIGHT else self.optimizer.state[self.master][kind]
        return whole.detach().view(-1)[self.at : self.at + self.stop - self.start]

    @property
    def steps(self) -> int:
        """That Adam has done."""
        if MOMENTS[0] not in self.optimizer.state[self.master]:  # they come with the first step
            self.prepare(0)
        if isinstance(self.optimizer, torch.optim.Adam):
            return int(self.optimizer.state[self.master]["step"])
        return int(self.optimizer.param_groups[0]["step"])

    def prepare(self, steps: int) -> None:
        """Have moments, and be after step ``steps``."""
        state = self.optimizer.state[self.master]
        for kind in MOMENTS:
            if kind not in state:
                state[kind] = torch.zeros_like(self.master, dtype=torch.float32).detach()
        if isinstance(self.optimizer, torch.optim.Adam):
            state["step"] = torch.tensor(float(steps), device=self.master.device)  # as fused=True
            return
        for group in self.optimizer.param_groups:  # Transformer Engine's and apex's count there
            group["step"] = steps


Find = Callable[[Any], OptimizerSlice | None]
"""The fragment of a parameter; None where this rank keeps nothing of it."""


def slice_finder(optimizer: Any) -> Find:
    """What knows the fragments of an optimizer, of as many as it may be made of.

    Raises:
        KeyError: of a kind that is not known here.
    """
    finds = [FAMILIES[_family(one)](one) for one in _members(optimizer)]

    def find(parameter: Any) -> OptimizerSlice | None:
        found = (one(parameter) for one in finds)
        return next((fragment for fragment in found if fragment is not None), None)

    return find


def _members(optimizer: Any) -> Iterator[Any]:
    """megatron has one more for experts, and one for nothing on a rank without any."""
    if hasattr(optimizer, "chained_optimizers"):
        for one in optimizer.chained_optimizers:
            yield from _members(one)
    elif isinstance(optimizer, torch.optim.Optimizer) or optimizer.optimizer is not None:
        yield optimizer


def _family(optimizer: Any) -> str:
    return "torch" if isinstance(optimizer, torch.optim.Optimizer) else type(optimizer).__name__


def _unsharded(optimizer: Any) -> Find:
    """Whole parameters, or for each a copy in fp32 that megatron calls ``main_param``."""
    inner = optimizer if _family(optimizer) == "torch" else optimizer.optimizer
    stepped_on = {id(one) for group in inner.param_groups for one in group["params"]}

    def find(parameter: Any) -> OptimizerSlice | None:
        master = getattr(parameter, "main_param", parameter)
        if id(master) not in stepped_on:
            return None
        return OptimizerSlice(
            start=0, stop=parameter.numel(), optimizer=inner, master=master, sharded=False
        )

    return find


def _distributed(optimizer: Any) -> Find:
    """megatron's ZeRO 1: a tensor for each stretch."""
    inner = optimizer.optimizer

    def find(parameter: Any) -> OptimizerSlice | None:
        if parameter not in optimizer.model_param_group_index_map:
            return None
        group, order = optimizer.model_param_group_index_map[parameter]
        stretch = optimizer._get_model_param_range_map(parameter)["param"]
        return OptimizerSlice(
            start=stretch.start,
            stop=stretch.end,
            optimizer=inner,
            master=inner.param_groups[group]["params"][order],
            sharded=True,
        )

    return find


def _linked(optimizer: Any) -> Find:
    """DeepSpeed's ZeRO 1 and 2, and its bf16 optimizer: one flat tensor for each group."""
    inner = optimizer.optimizer

    def find(parameter: Any) -> OptimizerSlice | None:
        link = parameter._hp_mapping
        if link is None:
            return None
        here = link.lp_fragment_address
        (flat,) = inner.param_groups[link.param_group_index]["params"]
        return OptimizerSlice(
            start=here.start,
            stop=here.start + here.numel,
            optimizer=inner,
            master=flat,
            at=link.hp_fragment_address.start,
            sharded=True,
        )

    return find


def _partitioned(optimizer: Any) -> Find:
    """DeepSpeed's ZeRO 3: equal stretches, the last one padded, in flat tensors of many."""

    def find(parameter: Any) -> OptimizerSlice:
        flat, at, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
        start = optimizer._get_param_partition_rank(parameter) * size
        return OptimizerSlice(
            start=min(start, parameter.ds_numel),
            stop=min(start + size, parameter.ds_numel),
            optimizer=optimizer.optimizer,
            master=optimizer.fp32_partitioned_groups_flat[flat],
            at=at,
            sharded=True,
        )

    return find


FAMILIES: dict[str, Callable[[Any], Find]] = {
    "torch": _unsharded,
    "FP32Optimizer": _unsharded,
    "Float16OptimizerWithFloat16Params": _unsharded,
    "DistributedOptimizer": _distributed,
    "DeepSpeedZeroOptimizer": _linked,
    "BF16_Optimizer": _linked,
    "DeepSpeedZeroOptimizer_Stage3": _partitioned,
}
"""By the name of the class: only one of the two libraries is imported."""
