"""All that a step of an engine changes, addressed by global name and region of the full matrix.

The learning rate and the samples are functions of the step's number, nothing is random, gradients
are zero between two steps, and so are the micro batches that DeepSpeed counts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.manifest import Piece
from launcher.workers.checkpoints.matrix_regions import ShardRegion, shard_regions
from launcher.workers.checkpoints.optimizer_state import OptimizerSlice, slice_finder
from launcher.workers.checkpoints.tensorfile import KINDS, WEIGHT, CheckpointReader, PieceTensors
from launcher.workers.model import weights
from launcher.workers.model.groups import RankPlace
from launcher.workers.model.initial_weights import Shard
from launcher.workers.model.weights import NamedWeight


@dataclass(frozen=True, slots=True)
class FlatRange:
    """Elements ``start`` to ``stop`` of a flattened shard, and the tensor that holds them."""

    start: int
    stop: int
    tensor: Any

    def is_view_of(self, larger: "FlatRange") -> bool:
        """Return True if this is in the memory of a larger range, and so is read with it."""
        return (
            larger.start <= self.start
            and self.stop <= larger.stop
            and self.tensor.dtype == larger.tensor.dtype
            and self.tensor.data_ptr() == larger.tensor[self.start - larger.start :].data_ptr()
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalParameter:
    """One matrix or vector as this rank has it: its shard, and its optimizer's slice of that."""

    name: str
    """Name under which it is stored."""
    weight: NamedWeight
    shard: Shard
    optimizer_slice: OptimizerSlice | None
    """None where other ranks step on all of it."""
    before: int
    """Elements of the parameter that the optimizer steps on before those of the slice."""
    writes: bool
    """True on the one, of the ranks that have the same slice, that writes it."""

    def regions(self, start: int, stop: int) -> Iterator[ShardRegion]:
        """Regions of the full matrix that elements ``start`` to ``stop`` of the shard make up."""
        return shard_regions(start, stop, self.weight.shape, self.shard)

    def weights(self) -> Iterator[FlatRange]:
        """Weights that the next forward pass computes with, in the model's precision."""
        parameter, elements = self.weight.parameter, self.weight.elements
        partition = getattr(parameter, "ds_tensor", None)
        if partition is not None:
            if self.optimizer_slice is not None:
                start, stop = self.optimizer_slice.start, self.optimizer_slice.stop
                flat = partition.detach().view(-1)[self.before : self.before + stop - start]
                yield FlatRange(start, stop, flat)
            # ZeRO-3 does not partition small parameters: those are available in full as well.
            if parameter.ds_status.name != "AVAILABLE":
                return
        first = self.weight.first
        yield FlatRange(0, elements, parameter.detach().view(-1)[first : first + elements])


class TrainingState:
    """The parameters of a rank and its part of the optimizer's state; read and written in place."""

    def __init__(
        self, named_weights: Iterable[NamedWeight], optimizer: Any, spec: RunSpec, place: RankPlace
    ) -> None:
        """``optimizer`` is megatron's, DeepSpeed's or torch's own."""
        find_slice = slice_finder(optimizer)
        self._parameters = [
            _local(weight, find_slice(weight.parameter), spec, place) for weight in named_weights
        ]

    def contents(self) -> list[PieceTensors]:
        """Pieces that this rank writes; all ranks together write each element once."""
        return [
            _piece_tensors(local, local.optimizer_slice, shard_region)
            for local in self._parameters
            if local.optimizer_slice is not None and local.writes
            for shard_region in local.regions(
                local.optimizer_slice.start, local.optimizer_slice.stop
            )
        ]

    def lacks(self, reader: CheckpointReader) -> str | None:
        """Return the first parameter of which a checkpoint lacks a part that this rank needs."""
        for local in self._parameters:
            needed = [(weight.start, weight.stop) for weight in local.weights()]
            if local.optimizer_slice:
                needed.append((local.optimizer_slice.start, local.optimizer_slice.stop))
            parts = (part for start, stop in needed for part in local.regions(start, stop))
            if not all(reader.has(local.name, part.region) for part in parts):
                return f"{local.name} is not all there"
        return None

    @torch.no_grad()
    def restore(self, reader: CheckpointReader) -> None:
        """Become what was saved, in place: buffers and views of the engine stay what they are."""
        for local in self._parameters:
            restored = list(local.weights())
            for weight in restored:
                _read(local, weight, WEIGHT, reader)
            if local.optimizer_slice is not None:
                _restore_slice(local, local.optimizer_slice, restored, reader)


def _local(
    weight: NamedWeight, of_parameter: OptimizerSlice | None, spec: RunSpec, place: RankPlace
) -> LocalParameter:
    optimizer_slice, sharded, before = of_parameter, False, 0
    if of_parameter is not None:
        sharded = of_parameter.sharded
        if weight.slot is not None:
            optimizer_slice = of_parameter.within(weight.first, weight.first + weight.elements)
        if optimizer_slice is not None:
            before = optimizer_slice.offset - of_parameter.offset
    return LocalParameter(
        name=weights.stored_name(weight.name, spec.model),
        weight=weight,
        shard=weights.shard_of(weight.name, spec, place),
        optimizer_slice=optimizer_slice,
        before=before,
        writes=weights.is_first(weight.name, spec, place, sharded),
    )


def _piece_tensors(
    local: LocalParameter, optimizer_slice: OptimizerSlice, shard_region: ShardRegion
) -> PieceTensors:
    start, region = shard_region.offset - optimizer_slice.start, shard_region.region
    piece = Piece(
        name=local.name,
        rows=(region.top, region.bottom),
        columns=(region.left, region.right),
        steps=optimizer_slice.steps,
    )
    stop = start + region.area
    return PieceTensors(piece, {kind: optimizer_slice.tensor(kind)[start:stop] for kind in KINDS})


def _restore_slice(
    local: LocalParameter,
    optimizer_slice: OptimizerSlice,
    restored: list[FlatRange],
    reader: CheckpointReader,
) -> None:
    """Read the fp32 weights and moments; not weights that are views of ``restored`` ones."""
    start, stop = optimizer_slice.start, optimizer_slice.stop
    regions = [part.region for part in local.regions(start, stop)]
    if not regions:  # ZeRO-3 has nothing for the last ranks of a small parameter
        return
    optimizer_slice.prepare(max(reader.steps(local.name, region) for region in regions))
    for kind in KINDS:
        values = FlatRange(start, stop, optimizer_slice.tensor(kind))
        if kind != WEIGHT or not any(values.is_view_of(weight) for weight in restored):
            _read(local, values, kind, reader)


def _read(local: LocalParameter, values: FlatRange, kind: str, reader: CheckpointReader) -> None:
    for part in local.regions(values.start, values.stop):
        offset = part.offset - values.start
        target = values.tensor[offset : offset + part.region.area].view(part.region.shape)
        reader.read(local.name, kind, part.region, target)
