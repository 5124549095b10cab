"""Parameters of a model: their global names, their shards, initial values, and their number."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist

from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from launcher.workers.model import initial_weights, platform
from launcher.workers.model.groups import RankPlace

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"

STACKS = ("linear_fc1", "linear_fc2")
"""Parameters of `launcher.workers.model.experts.StackedExperts`."""


@dataclass(frozen=True, slots=True)
class NamedWeight:
    """A matrix or vector of the model, and the parameter that it is or is a part of."""

    name: str
    """Global name: that in the unsplit model, so the same in every layout."""
    parameter: Any
    slot: int | None = None
    """Number of the matrix in a parameter that stacks those of experts; None for all others."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of this rank's shard, also of one that ZeRO-3 has already partitioned."""
        shape = tuple(getattr(self.parameter, "ds_shape", self.parameter.shape))
        return shape if self.slot is None else shape[1:]

    @property
    def elements(self) -> int:
        """Number of elements of this rank's shard."""
        return math.prod(self.shape)

    @property
    def first(self) -> int:
        """Number of its first element in the flattened parameter."""
        return (self.slot or 0) * self.elements

    @property
    def tensor(self) -> Any:
        """This rank's shard, of a parameter that is complete."""
        return self.parameter if self.slot is None else self.parameter[self.slot]


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """Size of the model that all ranks together built, each replicated part counted once."""

    params: int
    layers: int


def named_weights(chunk: Any, spec: RunSpec, place: RankPlace) -> Iterator[NamedWeight]:
    """Parameters of a GPTModel that holds any part of the layers, with their global names."""
    layers = list(chunk.decoder.layers)
    paths = []
    for name, parameter in chunk.named_parameters():
        parts = name.split(".")
        if parts[:2] == ["decoder", "layers"]:
            parts[2] = str(layers[int(parts[2])].layer_number - 1)
        paths.append((".".join(parts), parameter))
    return with_experts_apart(paths, spec, place)


def with_experts_apart(
    paths: Iterable[tuple[str, Any]], spec: RunSpec, place: RankPlace
) -> Iterator[NamedWeight]:
    """Weights of parameters, each matrix of an expert by itself, one expert after the other.

    Args:
        paths: path of each parameter's module, with the global number of the layer, and parameter.
        spec: the run.
        place: this rank's.
    """
    count = spec.model.experts // spec.layout.ep
    for stack, members in groupby(paths, key=lambda path: _stack_of(path[0])):
        if stack is None:
            yield from (NamedWeight(name, parameter) for name, parameter in members)
            continue
        parameters = [(name.rpartition(".")[2], parameter) for name, parameter in members]
        for slot in range(count):
            expert = f"{stack}.local_experts.{place.ep * count + slot}"
            for kind, parameter in parameters:
                yield NamedWeight(f"{expert}.{kind}.weight", parameter, slot)


def _stack_of(path: str) -> str | None:
    """Path of the experts of which a parameter stacks matrices; None of any other parameter."""
    module, _, kind = path.rpartition(".")
    return module if kind in STACKS else None


@torch.no_grad()
def initialise(
    weights: Iterable[NamedWeight],
    spec: RunSpec,
    place: RankPlace,
    gathered: Callable[[Any], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Fill this rank's parameters, and mark which are shards, as megatron's own fill does.

    ``gathered`` is a context in which a parameter that ZeRO-3 partitions is complete.
    """
    model = spec.model
    for parameter, parts in by_parameter(weights):
        split = initial_weights.split_of(stored_name(parts[0].name, model), model)
        if split is not None:
            dim = split.dim + (parts[0].slot is not None)
            _mark_as_shard(parameter, dim, split.pieces)
        with gathered(parameter):
            for weight in parts:
                name = stored_name(weight.name, model)
                shard = shard_of(name, spec, place)
                initial_weights.fill(weight.tensor, name, model, spec.train.seed, shard)


def by_parameter(weights: Iterable[NamedWeight]) -> list[tuple[Any, list[NamedWeight]]]:
    """Parameters, each once and in their order, with the weights that each holds."""
    held: dict[int, tuple[Any, list[NamedWeight]]] = {}
    for weight in weights:
        held.setdefault(id(weight.parameter), (weight.parameter, []))[1].append(weight)
    return list(held.values())


def _mark_as_shard(parameter: Any, dim: int, pieces: int) -> None:
    """Set what megatron's ``set_tensor_model_parallel_attributes`` does, which refuses to set it
    again: since core 0.17 modules do without being initialised."""
    parameter.tensor_model_parallel = True
    parameter.partition_dim, parameter.partition_stride = dim, pieces


def count(
    weights: Iterable[NamedWeight], layers: int, spec: RunSpec, place: RankPlace
) -> BuiltModel:
    """Sum the parameters and layers of all ranks.

    Raises:
        AssertionError: the sum is not that of the model the spec asks for.
    """
    counts = torch.tensor(
        [
            sum(weight.elements for weight in weights if is_first(weight.name, spec, place)),
            layers if place.tp == place.dp == place.cp == 0 else 0,  # one rank of each stage
        ],
        device=platform.device(),
    )
    dist.all_reduce(counts)
    built = BuiltModel(*counts.tolist())
    model = spec.model
    assert built.layers == model.layers, f"built {built.layers} layers, asked for {model.layers}"
    assert built.params == model.params, f"built {built.params} params, asked for {model.params}"
    return built


def stored_name(name: str, model: ModelShape) -> str:
    """Name under which a parameter is stored: a tied output layer is a copy of the embedding."""
    return EMBEDDING if model.tied and name == OUTPUT else name


def shard_of(name: str, spec: RunSpec, place: RankPlace) -> initial_weights.Shard:
    """Shard of a parameter that this rank holds."""
    split = initial_weights.split_of(name, spec.model)
    if split is None or (_is_expert(name) and spec.layout.ep > 1):
        return initial_weights.Shard(None)
    return initial_weights.Shard(split, place.tp, spec.layout.tp)


def is_first(name: str, spec: RunSpec, place: RankPlace, sharded: bool = False) -> bool:
    """Return True on the first of the ranks that hold the same part of a parameter.

    Args:
        name: global name of the parameter.
        spec: the run.
        place: this rank's.
        sharded: True where data parallel ranks hold different parts of it, as under ZeRO.
    """
    model = spec.model
    if model.tied and name == OUTPUT:
        return False
    if _is_expert(name) and spec.layout.ep > 1:
        return sharded or place.expert_dp == 0
    replicated = initial_weights.split_of(name, model) is None
    return (sharded or place.dp == place.cp == 0) and (not replicated or place.tp == 0)


def _is_expert(name: str) -> bool:
    return "local_experts" in name.split(".")
