"""Parameters of a model: their global names, their shards, initial values, and their number."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from launcher.workers.model import initial_weights, platform
from launcher.workers.model.groups import RankPlace

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"

NamedWeight = tuple[str, Any]
"""Global name (that in the unsplit model, so the same in every layout) and parameter."""


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """Size of the model that all ranks together built, each replicated part counted once."""

    params: int
    layers: int


def named_weights(chunk: Any, spec: RunSpec, place: RankPlace) -> Iterator[NamedWeight]:
    """Parameters of a GPTModel that holds any part of the layers, with their global names."""
    layers = list(chunk.decoder.layers)
    for name, parameter in chunk.named_parameters():
        parts = name.split(".")
        if parts[:2] == ["decoder", "layers"]:
            parts[2] = str(layers[int(parts[2])].layer_number - 1)
        yield global_name(parts, spec, place), parameter


def global_name(parts: list[str], spec: RunSpec, place: RankPlace) -> str:
    """Global name of a parameter, from its module path with the global layer number."""
    if "local_experts" in parts:
        index = parts.index("local_experts") + 1
        first = place.ep * (spec.model.experts // spec.layout.ep)
        parts = [*parts[:index], str(first + int(parts[index])), *parts[index + 1 :]]
    return ".".join(parts)


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
    for name, parameter in weights:
        name = stored_name(name, spec.model)
        split = initial_weights.split_of(name, spec.model)
        if split is not None:
            _mark_as_shard(parameter, split)
        shard = shard_of(name, spec, place)
        with gathered(parameter):
            initial_weights.fill(parameter, name, spec.model, spec.train.seed, shard)


def _mark_as_shard(parameter: Any, split: initial_weights.Split) -> None:
    """Set what megatron's ``set_tensor_model_parallel_attributes`` does, which refuses to set it
    again: since core 0.17 modules do without being initialised."""
    parameter.tensor_model_parallel = True
    parameter.partition_dim, parameter.partition_stride = split.dim, split.pieces


def count(
    weights: Iterable[NamedWeight], layers: int, spec: RunSpec, place: RankPlace
) -> BuiltModel:
    """Sum the parameters and layers of all ranks.

    Raises:
        AssertionError: the sum is not that of the model the spec asks for.
    """
    counts = torch.tensor(
        [
            sum(_numel(p) for name, p in weights if is_first(name, spec, place)),
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


def _numel(parameter: Any) -> int:
    """Elements of a parameter, also of one that ZeRO-3 has already partitioned."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
