"""Initial weights that depend on the seed, the parameter and the element, and on nothing else.

Element i of a parameter is a normal number made from hash(seed, name of the parameter, i) by
integer arithmetic. A rank computes exactly its own elements, so every layout, engine and device
starts from the same model, and no rank ever holds more than its shard.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import torch

from launcher.spec.shape import ModelShape
from launcher.workers.splitmix64 import GAMMA, MASK_64, MIX_1, MIX_2

STD = 0.02
CHUNK_ELEMENTS = 1 << 22
"""Elements made at once: bounds the temporaries to about 150 MB."""


@dataclass(frozen=True, slots=True)
class Split:
    """Tensor parallel split of a matrix: along ``dim``, each of ``pieces`` blocks by itself."""

    dim: int
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class Shard:
    """One rank's part of a parameter: part ``rank`` of ``size`` under ``split``."""

    split: Split | None
    rank: int = 0
    size: int = 1


def split_of(name: str, model: ModelShape) -> Split | None:
    """Tensor parallel split of a parameter, None for one that every rank holds in full.

    Raises:
        KeyError: a parameter that this module does not know, and so cannot initialise.
    """
    kind = name.split(".")[-2]
    return {
        "word_embeddings": Split(0),
        "output_layer": Split(0),
        "linear_qkv": Split(0),
        "linear_fc1": Split(0, 2 if model.gated else 1),  # gate and up, each cut
        "linear_proj": Split(1),
        "linear_fc2": Split(1),
        "router": None,
        "input_layernorm": None,
        "pre_mlp_layernorm": None,
        "final_layernorm": None,
    }[kind]


def fill(parameter: Any, name: str, model: ModelShape, seed: int, shard: Shard) -> None:
    """Write the initial weights of one rank's shard into ``parameter``.

    Args:
        parameter: the local tensor, one or two dimensions.
        name: global name of the parameter, the same in every layout.
        model: decides the standard deviation and how the matrix is split.
        seed: the run's.
        shard: the part of the parameter that ``parameter`` is.
    """
    if parameter.dim() == 1:  # a norm
        parameter.fill_(1.0)
        return
    rows, columns = indices(tuple(parameter.shape), shard)
    width = parameter.shape[1] * (shard.size if shard.split and shard.split.dim == 1 else 1)
    key, std = _mix(seed, zlib.crc32(name.encode())), deviation(name, model)
    step = max(1, CHUNK_ELEMENTS // parameter.shape[1])
    start = 0
    for part in rows.split(step):
        element = part.to(parameter.device)[:, None] * width + columns.to(parameter.device)
        parameter[start : start + len(part)] = normal(element, key) * std
        start += len(part)


def indices(shape: tuple[int, ...], shard: Shard) -> tuple[Any, Any]:
    """Row and column numbers, in the full matrix, of a shard's rows and columns."""
    counts = [torch.arange(size) for size in shape]
    if shard.split is not None:
        dim, pieces = shard.split.dim, shard.split.pieces
        size = shape[dim] // pieces
        begin = torch.arange(pieces)[:, None] * size * shard.size + shard.rank * size
        counts[dim] = (begin + torch.arange(size)).flatten()
    return counts[0], counts[1]


def deviation(name: str, model: ModelShape) -> float:
    """Standard deviation, smaller by sqrt(2 layers) where the output enters the residual stream.

    Each layer adds to the stream twice; its variance is not to grow with depth (as in GPT-2).
    """
    adds_to_residual = name.split(".")[-2] in ("linear_proj", "linear_fc2")
    return STD / math.sqrt(2 * model.layers) if adds_to_residual else STD


def normal(element: Any, key: int) -> Any:
    """Standard normal numbers (float64) of element numbers (int64): splitmix64, then erfinv."""
    bits = element * _signed(GAMMA) + _signed(key)
    bits = (bits ^ _shift(bits, 30)) * _signed(MIX_1)
    bits = (bits ^ _shift(bits, 27)) * _signed(MIX_2)
    bits = bits ^ _shift(bits, 31)
    uniform = (_shift(bits, 12).double() + 0.5) * 2.0**-52  # never 0 or 1
    return torch.erfinv(2 * uniform - 1) * math.sqrt(2)


def _shift(bits: Any, by: int) -> Any:
    """Shift to the right, filling with zeros: torch's shift of an int64 copies the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(seed: int, name: int) -> int:
    """One 64-bit key of a seed and a name."""
    key = (seed * GAMMA + name * 0xD1B54A32D192ED03) & MASK_64
    key = ((key ^ (key >> 32)) * 0xDABA0B6EB09322E3) & MASK_64
    return key ^ (key >> 29)


def _signed(bits: int) -> int:
    """Reinterpret 64 bits as a signed integer."""
    return bits - (1 << 64) if bits >= 1 << 63 else bits
