"""All that a step of an engine changes, by its place in the whole model.

The learning rate and the samples are functions of the step's number, nothing is random, gradients
are zero between two steps, and so are the micro batches that DeepSpeed counts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.manifest import Piece
from launcher.workers.checkpoints.matrix_regions import Cut, cuts
from launcher.workers.checkpoints.optimizer_state import OptimizerSlice, slice_finder
from launcher.workers.checkpoints.tensorfile import KINDS, WEIGHT, PieceTensors, Source
from launcher.workers.model import weights
from launcher.workers.model.groups import RankPlace
from launcher.workers.model.initial_weights import Shard
from launcher.workers.model.weights import NamedWeight


@dataclass(frozen=True, slots=True)
class Stretch:
    """Elements of a flattened shard, and the tensor they are in."""

    start: int
    stop: int
    tensor: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Local:
    """What a rank has of one parameter."""

    name: str
    parameter: Any
    shard: Shard
    fragment: OptimizerSlice | None
    """None where others step on all of it."""
    first: bool
    """This rank is the one, of those that have the same fragment, that writes it."""

    def cuts(self, start: int, stop: int) -> Iterator[Cut]:
        """Where a stretch of it is in the whole matrix."""
        shape = getattr(self.parameter, "ds_shape", self.parameter.shape)
        return cuts(start, stop, tuple(shape), self.shard)

    def weights(self) -> Iterator[Stretch]:
        """What the next forward pass computes with, whatever its precision."""
        partition = getattr(self.parameter, "ds_tensor", None)
        if partition is not None:
            assert self.fragment is not None
            start, stop = self.fragment.start, self.fragment.stop
            yield Stretch(start, stop, partition.detach().view(-1)[: stop - start])
            if self.parameter.ds_status.name != "AVAILABLE":  # but for those that stay whole
                return
        whole = self.parameter.detach().view(-1)
        yield Stretch(0, whole.numel(), whole)


class TrainingState:
    """The parameters of a rank and its part of the optimizer's state; read and written in place."""

    def __init__(
        self, named: Iterable[NamedWeight], optimizer: Any, spec: RunSpec, place: RankPlace
    ) -> None:
        """``optimizer`` is megatron's, DeepSpeed's or torch's own."""
        find = slice_finder(optimizer)
        self._parameters = [_local(name, one, find(one), spec, place) for name, one in named]

    def filled(self) -> list[PieceTensors]:
        """What this rank writes: together, the ranks write each element once."""
        return [
            _filled(local, local.fragment, cut)
            for local in self._parameters
            if local.fragment is not None and local.first
            for cut in local.cuts(local.fragment.start, local.fragment.stop)
        ]

    def lacks(self, source: Source) -> str | None:
        """The first parameter that a checkpoint has not all of that this rank needs."""
        for local in self._parameters:
            ranges = [(one.start, one.stop) for one in (*local.weights(), local.fragment) if one]
            for cut in (cut for start, stop in ranges for cut in local.cuts(start, stop)):
                if not source.has(local.name, cut.region):
                    return f"{local.name} is not all there"
        return None

    @torch.no_grad()
    def restore(self, source: Source) -> None:
        """Become what was saved, in place: buffers and views of the engine stay what they are."""
        for local in self._parameters:
            done = list(local.weights())
            for one in done:
                _read(local, one, WEIGHT, source)
            if local.fragment is not None:
                _restore_fragment(local, local.fragment, done, source)


def _local(
    name: str, parameter: Any, fragment: OptimizerSlice | None, spec: RunSpec, place: RankPlace
) -> Local:
    sharded = fragment is not None and fragment.sharded
    return Local(
        name=weights.stored_name(name, spec.model),
        parameter=parameter,
        shard=weights.shard_of(name, spec, place),
        fragment=fragment,
        first=weights.is_first(name, spec, place, sharded),
    )


def _filled(local: Local, fragment: OptimizerSlice, cut: Cut) -> PieceTensors:
    at, one = cut.at - fragment.start, cut.region
    piece = Piece(
        name=local.name,
        rows=(one.top, one.bottom),
        columns=(one.left, one.right),
        steps=fragment.steps,
    )
    return PieceTensors(piece, {kind: fragment.tensor(kind)[at : at + one.area] for kind in KINDS})


def _restore_fragment(
    local: Local, fragment: OptimizerSlice, done: list[Stretch], source: Source
) -> None:
    regions = [cut.region for cut in local.cuts(fragment.start, fragment.stop)]
    if not regions:  # ZeRO-3 has nothing for the last ranks of a small parameter
        return
    fragment.prepare(max(source.steps(local.name, one) for one in regions))
    for kind in KINDS:
        one = Stretch(fragment.start, fragment.stop, fragment.tensor(kind))
        if kind != WEIGHT or not any(_within(one, other) for other in done):
            _read(local, one, kind, source)


def _read(local: Local, one: Stretch, kind: str, source: Source) -> None:
    for cut in local.cuts(one.start, one.stop):
        at = cut.at - one.start
        target = one.tensor[at : at + cut.region.area].view(cut.region.shape)
        source.read(local.name, kind, cut.region, target)


def _within(one: Stretch, other: Stretch) -> bool:
    """Whether a stretch is in the memory of another, and has been read with it."""
    return (
        other.start <= one.start
        and one.stop <= other.stop
        and one.tensor.dtype == other.tensor.dtype
        and one.tensor.data_ptr() == other.tensor[one.start - other.start :].data_ptr()
    )
