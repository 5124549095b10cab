"""A model's parameters: their names in the whole model, initial values, and how many there are."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.tensor_parallel import set_tensor_model_parallel_attributes

from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from launcher.workers.model import initial_weights, platform
from launcher.workers.model.groups import Place

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"

Named = tuple[str, Any]
"""A parameter and its name in the whole model, the same in every layout."""


@dataclass(frozen=True, slots=True)
class Built:
    """What was really made, over all ranks and without replicas."""

    params: int
    layers: int


def named_weights(chunk: Any, spec: RunSpec, place: Place) -> Iterator[Named]:
    """The parameters of a GPTModel that holds any part of the layers."""
    layers = list(chunk.decoder.layers)
    for name, parameter in chunk.named_parameters():
        parts = name.split(".")
        if parts[:2] == ["decoder", "layers"]:
            parts[2] = str(layers[int(parts[2])].layer_number - 1)
        yield whole_name(parts, spec, place), parameter


def whole_name(parts: list[str], spec: RunSpec, place: Place) -> str:
    """A parameter's name in the whole model, from its path with the global layer number."""
    if "local_experts" in parts:
        at = parts.index("local_experts") + 1
        first = place.ep * (spec.model.experts // spec.layout.ep)
        parts = [*parts[:at], str(first + int(parts[at])), *parts[at + 1 :]]
    return ".".join(parts)


@torch.no_grad()
def initialise(
    weights: Iterable[Named],
    spec: RunSpec,
    place: Place,
    held: Callable[[Any], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Fill this rank's parameters, and mark which are shards, as megatron's own fill does.

    ``held`` makes a parameter that is spread over ranks whole while it is filled.
    """
    for name, parameter in weights:
        name = stored_name(name, spec.model)
        split = initial_weights.split_of(name, spec.model)
        if split is not None:
            set_tensor_model_parallel_attributes(parameter, True, split.dim, split.pieces)
        shard = shard_of(name, spec, place)
        with held(parameter):
            initial_weights.fill(parameter, name, spec.model, spec.train.seed, shard)


def count(weights: Iterable[Named], layers: int, spec: RunSpec, place: Place) -> Built:
    """What all ranks built together.

    Raises:
        AssertionError: it is not the model that was asked for.
    """
    mine = torch.tensor(
        [
            sum(_numel(p) for name, p in weights if is_first(name, spec, place)),
            layers if place.tp == place.dp == place.cp == 0 else 0,
        ],
        device=platform.device(),
    )
    dist.all_reduce(mine)
    built = Built(*mine.tolist())
    model = spec.model
    assert built.layers == model.layers, f"built {built.layers} layers, asked for {model.layers}"
    assert built.params == model.params, f"built {built.params} params, asked for {model.params}"
    return built


def stored_name(name: str, model: ModelShape) -> str:
    """The name of whose copy a parameter is: the last stage has one of a tied embedding."""
    return EMBEDDING if model.tied and name == OUTPUT else name


def shard_of(name: str, spec: RunSpec, place: Place) -> initial_weights.Shard:
    """Which part of a whole parameter this rank has."""
    split = initial_weights.split_of(name, spec.model)
    if split is None or (_is_expert(name) and spec.layout.ep > 1):
        return initial_weights.Shard(None)
    return initial_weights.Shard(split, place.tp, spec.layout.tp)


def is_first(name: str, spec: RunSpec, place: Place, sharded: bool = False) -> bool:
    """Whether this rank is the first of those that have the same part of a parameter.

    Args:
        name: the parameter's.
        spec: the run.
        place: of this rank.
        sharded: data parallel ranks have other parts of it, as under ZeRO.
    """
    model = spec.model
    if model.tied and name == OUTPUT:
        return False
    if _is_expert(name) and spec.layout.ep > 1:
        return sharded or place.expert_dp == 0
    whole = initial_weights.split_of(name, model) is None
    return (sharded or place.dp == place.cp == 0) and (not whole or place.tp == 0)


def _is_expert(name: str) -> bool:
    return "local_experts" in name.split(".")


def _numel(parameter: Any) -> int:
    """Elements of a parameter, also of one that ZeRO-3 has partitioned already."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
