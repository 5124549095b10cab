"""Bytes on the fullest rank, itemised.

Symbols: s sequence, b micro batch, n = b s / cp tokens of a micro batch on a rank, h hidden,
q = heads x head_dim, k = kv_heads x head_dim, f ffn, V padded vocabulary, t = tp, m micro batches
per step. Formulas and their sources: docs/planner.md.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from launcher.decode import Positive
from launcher.planner.engines import FSDP, MEGATRON
from launcher.planner.points import FP8, FP16, FP32, GIB, Array, Points

STAGES = ("first", "middle", "last")
"""Pipeline stages of which one is the fullest. The one in the middle is the first of those that
have a layer more than others, or the second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConstants:
    """What no formula gives. Those in `launcher.sheets.fit.SPREADS` are fitted to runs."""

    activations: Positive = 1.0
    """Measured activations / those counted here."""
    unfused: Positive = 1.15
    """The same where norms and activation functions are several kernels that each keep a copy."""
    logit_bytes: Positive = 9.0
    """Bytes per logit at the peak of the loss: half precision, and fp32 copies of it."""
    fused_logit_bytes: Positive = 4.0
    """The same where the loss is one kernel that overwrites them."""
    score_bytes: Positive = 5.0
    """Bytes per attention score without flash attention: softmax in, out, and dropout's mask."""
    workspace_gib: Positive = 0.15
    """Allocated besides all that is counted: workspaces, alignment, small buffers."""
    bucket_gib: Positive = 1.0
    """Communication buckets of DeepSpeed and FSDP where several ranks share the weights."""
    reserved: Positive = 1.12
    """torch's reserved / allocated bytes, where there is room."""
    squeezed: Positive = 1.03
    """The same just before it runs out of memory: what is cached and free is given back first."""
    context_gib: Positive = 1.5
    """CUDA context and kernels."""
    communicator_gib: Positive = 0.6
    """NCCL's buffers per communicator, outside torch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes on one rank at the peak of a step."""

    weights: Array
    gradients: Array
    optimizer: Array
    activations: Array
    """Of all micro batches in flight, and what one layer works on."""
    logits: Array
    """And the loss, on the last stage."""
    buffers: Array
    """Gathered weights and communication buckets."""
    other: Array
    """Workspaces."""

    @property
    def allocated(self) -> Array:
        """Their sum: what torch calls allocated."""
        parts = [getattr(self, one.name) for one in dataclasses.fields(self)]
        return np.sum(parts, axis=0)


def stage_memory(points: Points, constants: MemoryConstants, stage: str) -> Memory:
    """Bytes on a rank of one pipeline stage.

    Args:
        points: what is to be predicted.
        constants: the fitted figures.
        stage: one of `STAGES`; with fewer of them some are the same.
    """
    ends, index = points.pp == 1, _index(points, stage)
    has_head, has_embedding = index == points.pp - 1, index == 0
    embedding = points.vocab * points.hidden / points.tp
    both = ends & (points.tied == 0)
    outside = np.where(both, 2, np.where(has_head | has_embedding, 1, 0)) * embedding
    layers = points.layers // points.pp + _longer(points, index)
    dense = layers * _dense_params(points) + outside
    experts = layers * _expert_params(points)
    shards = np.maximum(points.shards, 1)
    expert_shards = np.where(points.ep > 1, np.maximum(shards * points.tp / points.ep, 1), shards)
    parts = [
        _per_param(points, what, shards) * dense + _per_param(points, what, expert_shards) * experts
        for what in ("weights", "gradients", "optimizer")
    ]
    in_flight = _in_flight(points, index, layers)
    return Memory(
        weights=parts[0],
        gradients=parts[1],
        optimizer=parts[2],
        activations=_activations(points, constants, in_flight),
        logits=np.where(has_head, points.tokens * points.vocab / points.tp, 0.0)
        * np.where(points.fused_loss > 0, constants.fused_logit_bytes, constants.logit_bytes),
        buffers=_buffers(points, constants, embedding),
        other=np.full(len(points), constants.workspace_gib * GIB),
    )


def fullest(points: Points, constants: MemoryConstants) -> Memory:
    """Bytes on the fullest rank."""
    stages = [stage_memory(points, constants, stage) for stage in STAGES]
    highest = np.argmax([one.allocated for one in stages], axis=0)
    names = [one.name for one in dataclasses.fields(Memory)]
    return Memory(**{n: np.choose(highest, [getattr(one, n) for one in stages]) for n in names})


def figure(
    points: Points, constants: MemoryConstants, kind: str, full: Memory | None = None
) -> Array:
    """What a tool shows of the memory, bytes; ``kind`` is a key of `KINDS`.

    ``full`` is what `fullest` says of the points, where that is known.
    """
    return KINDS[kind](points, constants, full)


def wanted(points: Points, constants: MemoryConstants, full: Memory | None = None) -> Array:
    """Bytes a device must have for the fullest rank: what is cached and free is given back."""
    memory = (full or fullest(points, constants)).allocated * constants.squeezed
    return np.where(points.cpu > 0, memory, memory + _outside_torch(points, constants))


def _reserved(points: Points, constants: MemoryConstants, full: Memory | None) -> Array:
    memory = (full or fullest(points, constants)).allocated
    most = np.maximum(points.memory - _outside_torch(points, constants), memory)
    return np.where(points.cpu > 0, memory, np.minimum(memory * constants.reserved, most))


def _device(points: Points, constants: MemoryConstants, full: Memory | None) -> Array:
    return _reserved(points, constants, full) + _outside_torch(points, constants)


def _outside_torch(points: Points, constants: MemoryConstants) -> Array:
    """Bytes that the device lacks besides: CUDA's context and NCCL."""
    sizes = (points.tp, points.pp, points.cp, points.ep, points.dp)
    communicators = np.sum([size > 1 for size in sizes], axis=0)
    return (constants.context_gib + constants.communicator_gib * communicators) * GIB


KINDS: dict[str, Callable[[Points, MemoryConstants, Memory | None], Array]] = {
    "reserved": _reserved,  # torch, the fullest rank: this project's own
    "device": _device,  # nvidia-smi
    "allocated first": lambda p, c, _: stage_memory(p, c, "first").allocated,  # torch, rank 0
    "allocated last": lambda p, c, _: stage_memory(p, c, "last").allocated,  # torch, the last rank
}


def _dense_params(points: Points) -> Array:
    """Parameters of a layer that a rank holds, experts apart; norms and routers are whole."""
    ffn = np.where(points.experts > 0, 0.0, points.ffn_params)
    whole = 2 * points.hidden + points.hidden * points.experts
    return (points.attention_params + ffn) / points.tp + whole


def _expert_params(points: Points) -> Array:
    """Of experts, spread over expert parallel ranks; where there are none, split like all else."""
    split = np.where(points.ep > 1, points.ep, points.tp)
    return points.experts / split * points.ffn_params


def _per_param(points: Points, what: str, shards: Array) -> Array:
    """Bytes per parameter on the rank.

    Mixed precision Adam: 2 of weight, 2 or 4 of gradient, 12 of master weight and two moments
    (ZeRO, arXiv:1910.02054, section 3.1; Megatron-LM docs/dist_optimizer.md).
    """
    zero, engine, number = points.zero, points.engine, points.number
    half = number != FP32
    if what == "weights":
        own = np.where(half, 2.0, 4.0)
        own = np.where((engine == FSDP) & half, 4.0, own)
        return np.where(zero == 3, own / shards, own)
    if what == "gradients":
        return np.where(zero >= 2, points.gradient / shards, points.gradient)
    # fp16 keeps an fp32 copy of the gradients to unscale them.
    master = np.where(half & (engine != FSDP), np.where(number == FP16, 16.0, 12.0), 8.0)
    return np.where(points.offload > 0, 0.0, np.where(zero >= 1, master / shards, master))


def _activations(points: Points, constants: MemoryConstants, in_flight: Array) -> Array:
    layer = _layer_activations(points, constants)
    kept = 2 * _width(points) * points.tokens * points.hidden
    kept = kept / np.where(points.sp > 0, points.tp, 1)
    scores = _scores(points, constants)
    stored = np.where(points.full, kept, layer + np.where(points.selective, 0.0, scores))
    working = np.where(points.full, layer, 0.0) + np.where(
        points.full | points.selective, scores, 0
    )
    return in_flight * stored + working


def _layer_activations(points: Points, constants: MemoryConstants) -> Array:
    """What one layer keeps for its backward pass of one micro batch, attention scores apart.

    Korthikanti et al. 2022 (arXiv:2205.05198), itemised for GQA, SwiGLU and flash attention:
    per token 8h (inputs of two norms and of the two matrix products after them), replicated
    without sequence parallelism, and [4q + 4k + 6f or 4f + 4 heads] / t.
    """
    n, h = points.tokens, points.hidden
    low = points.number == FP8  # what a matrix product was fed is kept in a byte
    ffn = (np.where(points.gated > 0, 6, 4) - low) * points.ffn * points.visits
    split = 4 * points.query + 4 * points.key + ffn + 4 * points.heads
    whole = (8 - 2 * low + 2 * points.dropout) * h + np.where(
        points.experts > 0, 4 * h * points.visits, 0.0
    )
    factor = np.where(points.fused > 0, 1.0, constants.unfused) * constants.activations
    return (
        _width(points)
        * factor
        * n
        * (whole / np.where(points.sp > 0, points.tp, 1) + split / points.tp)
    )


def _width(points: Points) -> Array:
    """How wide an activation is, in units of half precision."""
    return np.where(points.number == FP32, 2.0, 1.0)


def _scores(points: Points, constants: MemoryConstants) -> Array:
    """Attention scores of one layer where attention is not flash: 5 a s^2 b / t bytes."""
    rows = points.tokens * points.heads / points.tp
    return np.where(points.flash > 0, 0.0, constants.score_bytes * rows * points.sequence)


def _index(points: Points, stage: str) -> Array:
    """Number of a stage, from 0."""
    p, extra = points.pp, points.layers % points.pp
    if stage == "middle":
        return np.minimum(np.where(extra > 0, (p - extra) // 2, 1), p - 1)
    return p - 1 if stage == "last" else np.zeros_like(p)


def _longer(points: Points, index: Array) -> Array:
    """Whether a stage has a layer more: `launcher.spec.layout.ParallelLayout.stages`."""
    extra = points.layers % points.pp
    start = (points.pp - extra) // 2
    return (start <= index) & (index < start + extra)


def _in_flight(points: Points, index: Array, layers: Array) -> Array:
    """Layers whose activations a rank holds at once, counting each micro batch's.

    1F1B: min(m, p - r) micro batches on stage r. Interleaved (Megatron-LM, arXiv:2104.04473):
    2 (p - r - 1) + (v - 1) p + 1 chunks of 1 / v of a stage.
    """
    p, v, m = points.pp, points.vpp, points.accumulation
    chunks = np.where(v > 1, 2 * (p - index - 1) + (v - 1) * p + 1, p - index)
    return layers / v * np.minimum(chunks, m * v)


def _buffers(points: Points, constants: MemoryConstants, embedding: Array) -> Array:
    """Gathered weights under ZeRO 3 and their gradients, of a layer or the embedding; buckets.

    FSDP gathers the next layer meanwhile, DeepSpeed no more than 5e7 elements of it.
    """
    half = np.where(points.number == FP32, 4.0, 2.0)
    layer = _dense_params(points) + _expert_params(points)
    copies = np.where(points.engine == FSDP, 3.0, 2.0)
    gathered = np.where(points.zero == 3, half * copies * np.maximum(layer, embedding), 0.0)
    several = (points.engine != MEGATRON) & (points.shards > 1) & (points.cpu == 0)
    return gathered + np.where(several, constants.bucket_gib * GIB, 0.0)
