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
"""Pipeline stages of which one is the fullest. The one in the middle is the first of those there
that have most layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConstants:
    """Figures that no formula gives. Those in `launcher.sheets.fit.SPREADS` are fitted to runs."""

    activations: Positive = 1.0
    """Measured activations / those counted here."""
    unfused: Positive = 1.15
    """Further factor where norms and activations are several kernels that each keep a copy."""
    logit_bytes: Positive = 9.0
    """Bytes per logit at the peak of the loss: half precision, and fp32 copies of it."""
    fused_logit_bytes: Positive = 4.0
    """Bytes per logit where the loss is one kernel that overwrites them."""
    score_bytes: Positive = 5.0
    """Bytes per attention score without flash attention: softmax in, out, and dropout's mask."""
    workspace_gib: Positive = 0.15
    """Allocated besides all that is counted: workspaces, alignment, small buffers."""
    bucket_gib: Positive = 1.0
    """Communication buckets of DeepSpeed and FSDP where several ranks share the weights."""
    reserved: Positive = 1.12
    """torch's reserved / allocated bytes, where there is room."""
    squeezed: Positive = 1.03
    """reserved / allocated just before it runs out of memory: torch returns free cached blocks
    first."""
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
    """Activations of all micro batches in flight, and those that one layer works on."""
    logits: Array
    """Logits and loss, on the last stage."""
    buffers: Array
    """Gathered weights and communication buckets."""
    other: Array
    """Workspaces."""

    @property
    def allocated(self) -> Array:
        """Their sum: what torch calls allocated."""
        parts = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return np.sum(parts, axis=0)


def stage_memory(points: Points, constants: MemoryConstants, stage: str) -> Memory:
    """Bytes on a rank of one pipeline stage.

    Args:
        points: what is to be predicted.
        constants: the fitted figures.
        stage: one of `STAGES`; with fewer of them some are the same.
    """
    single_stage, last = points.pp == 1, points.pp - 1
    index = {"first": np.zeros_like(last), "middle": points.middle_stage, "last": last}[stage]
    has_head, has_embedding = index == last, index == 0
    embedding = points.vocab * points.hidden / points.tp
    # With one stage, tied embedding and head are one matrix.
    two_matrices = single_stage & (points.tied == 0)
    matrices = np.where(two_matrices, 2, np.where(has_head | has_embedding, 1, 0))
    layers = getattr(points, f"{stage}_layers")
    dense = layers * _dense_params(points) + matrices * embedding
    experts = layers * _expert_params(points)
    shards = np.maximum(points.shards, 1)
    expert_shards = np.where(points.ep > 1, np.maximum(shards * points.tp / points.ep, 1), shards)
    parts = [
        _bytes_per_param(points, state, shards) * dense
        + _bytes_per_param(points, state, expert_shards) * experts
        for state in ("weights", "gradients", "optimizer")
    ]
    in_flight = _in_flight(points, index, layers)
    return Memory(
        weights=parts[0],
        gradients=parts[1],
        optimizer=parts[2],
        activations=_activations(points, constants, in_flight, points.recomputed_share(layers)),
        logits=np.where(has_head, points.micro_batch_tokens * points.vocab / points.tp, 0.0)
        * np.where(points.fused_loss > 0, constants.fused_logit_bytes, constants.logit_bytes),
        buffers=_buffers(points, constants, embedding),
        other=np.full(len(points), constants.workspace_gib * GIB),
    )


def fullest_rank(points: Points, constants: MemoryConstants) -> Memory:
    """Bytes on the rank that needs most."""
    stages = [stage_memory(points, constants, stage) for stage in STAGES]
    highest = np.argmax([memory.allocated for memory in stages], axis=0)
    names = [field.name for field in dataclasses.fields(Memory)]
    return Memory(
        **{name: np.choose(highest, [getattr(memory, name) for memory in stages]) for name in names}
    )


def reported_bytes(
    points: Points, constants: MemoryConstants, kind: str, fullest: Memory | None = None
) -> Array:
    """Bytes that a tool reports of a run.

    Args:
        points: what is to be predicted.
        constants: the fitted figures.
        kind: which tool, and of which rank: a key of `KINDS`.
        fullest: the result of `fullest_rank`, where the caller has it.
    """
    return KINDS[kind](points, constants, fullest)


def required_bytes(
    points: Points, constants: MemoryConstants, fullest: Memory | None = None
) -> Array:
    """Bytes a device must have for the fullest rank, once torch has returned free cached blocks."""
    memory = (fullest or fullest_rank(points, constants)).allocated * constants.squeezed
    return np.where(points.cpu > 0, memory, memory + _outside_torch(points, constants))


def _reserved(points: Points, constants: MemoryConstants, fullest: Memory | None) -> Array:
    memory = (fullest or fullest_rank(points, constants)).allocated
    limit = np.maximum(points.memory - _outside_torch(points, constants), memory)
    return np.where(points.cpu > 0, memory, np.minimum(memory * constants.reserved, limit))


def _device(points: Points, constants: MemoryConstants, fullest: Memory | None) -> Array:
    return _reserved(points, constants, fullest) + _outside_torch(points, constants)


def _outside_torch(points: Points, constants: MemoryConstants) -> Array:
    """Bytes on the device that torch does not count: CUDA's context and NCCL."""
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
    """Parameters of a layer that a rank holds, without experts; norms and routers are not split."""
    ffn = np.where(points.experts > 0, 0.0, points.ffn_params)
    replicated = 2 * points.hidden + points.hidden * points.experts
    return (points.attention_params + ffn) / points.tp + replicated


def _expert_params(points: Points) -> Array:
    """Expert parameters of a layer that a rank holds.

    Experts are spread over expert parallel ranks; without those, tensor parallelism splits them.
    """
    split = np.where(points.ep > 1, points.ep, points.tp)
    return points.experts / split * points.ffn_params


def _bytes_per_param(points: Points, state: str, shards: Array) -> Array:
    """Bytes per parameter on the rank.

    Mixed precision Adam: 2 of weight, 2 or 4 of gradient, 12 of master weight and two moments
    (ZeRO, arXiv:1910.02054, section 3.1; Megatron-LM docs/dist_optimizer.md).
    """
    zero, engine, number_format = points.zero, points.engine, points.number_format
    half = number_format != FP32
    if state == "weights":
        size = np.where(half, 2.0, 4.0)
        # FSDP keeps fp32 weights and casts what it gathers.
        size = np.where((engine == FSDP) & half, 4.0, size)
        return np.where(zero == 3, size / shards, size)
    if state == "gradients":
        return np.where(zero >= 2, points.gradient_bytes / shards, points.gradient_bytes)
    # fp16 keeps an fp32 copy of the gradients to unscale them.
    master = np.where(half & (engine != FSDP), np.where(number_format == FP16, 16.0, 12.0), 8.0)
    return np.where(points.offload > 0, 0.0, np.where(zero >= 1, master / shards, master))


def _activations(
    points: Points, constants: MemoryConstants, in_flight: Array, recomputed: Array
) -> Array:
    """Bytes of activations of a stage.

    Args:
        points: what is to be predicted.
        constants: the fitted figures.
        in_flight: layers whose activations the rank holds at once.
        recomputed: share of them of which it holds the input alone.
    """
    layer = _layer_activations(points, constants)
    layer_input = 2 * _half_precision_units(points) * points.micro_batch_tokens * points.hidden
    layer_input = layer_input / np.where(points.sp > 0, points.tp, 1)
    scores = _scores(points, constants)
    again = _module_activations(points, constants) + points.repeats_core_attn * scores
    kept, unit = layer + scores - again, points.recompute_unit
    stored = recomputed * layer_input / unit + (1 - recomputed) * kept
    # The backward pass of one layer, or of a unit of them, holds again what was not stored.
    working = np.where(recomputed > 0, unit * (layer + scores), again)
    # Tokens of all ranks of an expert parallel group, what their experts made of them, and the sum
    # of that in fp32.
    gathered = points.ep * (2 * layer_input + 2 * layer_input / _half_precision_units(points))
    working = working + np.where(points.gathers_tokens, gathered, 0.0)
    return in_flight * stored + working


def _layer_activations(points: Points, constants: MemoryConstants) -> Array:
    """Bytes one layer keeps for the backward pass of one micro batch, without attention scores.

    Korthikanti et al. 2022 (arXiv:2205.05198), itemised for GQA, SwiGLU and flash attention:
    per token 8h (inputs of two norms and of the two matrix products after them), replicated
    without sequence parallelism, and [4q + 4k + 6f or 4f + 4 heads] / t.
    """
    fp8 = points.number_format == FP8  # inputs of matrix products are kept in a byte
    norm_inputs = (4 + 2 * points.dropout) * points.hidden
    attention = 4 * points.query_width + 4 * points.key_width + 4 * points.heads
    replicated = norm_inputs + _norm_outputs(points, fp8) + _copies(points)
    return _bytes_of(points, constants, replicated, attention + _ffn_products(points, fp8))


def _module_activations(points: Points, constants: MemoryConstants) -> Array:
    """Bytes of those that selective recomputation does not keep, without attention scores.

    The norms' outputs, and all inside a feed-forward block, whose input is kept, or what its
    activation function makes.
    """
    fp8 = points.number_format == FP8
    norms, feed_forward = points.repeats_layernorm, points.repeats_feed_forward
    replicated = norms * _norm_outputs(points, fp8) + feed_forward * _copies(points)
    activated = points.repeats_moe_act * (2 - fp8) * points.ffn * points.active_ffns
    split = np.maximum(feed_forward * _ffn_products(points, fp8), activated)
    return _bytes_of(points, constants, replicated, split)


def _norm_outputs(points: Points, fp8: Array) -> Array:
    """Bytes per token of the inputs of the first matrix products of attention and of the block."""
    return (4 - 2 * fp8) * points.hidden


def _copies(points: Points) -> Array:
    """Bytes per token of its copies for its experts, and of what each made of it."""
    return np.where(points.experts > 0, 4 * points.hidden * points.active_ffns, 0.0)


def _ffn_products(points: Points, fp8: Array) -> Array:
    """Bytes per token that feed-forward blocks keep inside."""
    return (np.where(points.gated > 0, 6, 4) - fp8) * points.ffn * points.active_ffns


def _bytes_of(points: Points, constants: MemoryConstants, replicated: Array, split: Array) -> Array:
    """Bytes of a micro batch, from those per token in half precision.

    Args:
        points: what is to be predicted.
        constants: the fitted figures.
        replicated: on every tensor parallel rank, without sequence parallelism.
        split: over them.
    """
    per_token = replicated / np.where(points.sp > 0, points.tp, 1) + split / points.tp
    factor = np.where(points.fused > 0, 1.0, constants.unfused) * constants.activations
    return _half_precision_units(points) * factor * points.micro_batch_tokens * per_token


def _half_precision_units(points: Points) -> Array:
    """Width of an activation in units of half precision."""
    return np.where(points.number_format == FP32, 2.0, 1.0)


def _scores(points: Points, constants: MemoryConstants) -> Array:
    """Attention scores of one layer where attention is not flash: 5 a s^2 b / t bytes."""
    rows = points.micro_batch_tokens * points.heads / points.tp
    return np.where(points.flash > 0, 0.0, constants.score_bytes * rows * points.sequence)


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
    size = np.where(points.number_format == FP32, 4.0, 2.0)
    layer = _dense_params(points) + _expert_params(points)
    copies = np.where(points.engine == FSDP, 3.0, 2.0)
    gathered = np.where(points.zero == 3, size * copies * np.maximum(layer, embedding), 0.0)
    several = (points.engine != MEGATRON) & (points.shards > 1) & (points.cpu == 0)
    return gathered + np.where(several, constants.bucket_gib * GIB, 0.0)
