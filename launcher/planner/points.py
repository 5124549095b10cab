"""Points of a sweep, or rows of a sheet, as columns: what the formulas compute with.

A hundred thousand points are a few dozen arrays, and one formula is one pass over them.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from launcher.planner.engines import ENGINES, EngineTraits
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import Dispatcher, ParallelLayout, RecomputeMethod
from launcher.spec.pipeline import layers_of_stages
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape, Recompute, RecomputedModule

Array = NDArray[Any]
"""One element per point."""

NumberFormat = Literal["fp32", "fp16", "bf16", "fp8"]
"""Formats that matrix products are computed in; wider than what a spec trains in, for sheets."""
NUMBER_FORMATS: tuple[NumberFormat, ...] = get_args(NumberFormat)
RECOMPUTE: tuple[Recompute, ...] = get_args(Recompute)
DISPATCHERS: tuple[Dispatcher, ...] = get_args(Dispatcher)

TERA, GIGA, GIB = 1e12, 1e9, 2.0**30

FP32, FP16, BF16, FP8 = range(len(NUMBER_FORMATS))

CPU = Accelerator(name="cpu", bf16_tflops=0.042, fp32_tflops=0.042, memory_gb_s=8.0, link_gb_s=1.0)
"""Stand-in for a CPU core of which nothing is known, before any run on it has been measured: a
core with AVX2, and the gloo of one machine."""

CARD = Accelerator(
    name="?", bf16_tflops=312.0, fp32_tflops=19.5, memory_gb_s=2039.0, link_gb_s=300.0
)
"""Stand-in for a card of which nothing is stated: an A100."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """Shares of the layers whose forward pass is computed again, for each part of a layer."""

    core_attn: Array
    layernorm: Array
    """Both norms."""
    feed_forward: Array
    """Feed-forward block or, with experts, all of theirs and the router."""
    activation: Array
    """Activation function inside of it."""
    rest: Array
    """Projections of attention, rotary embeddings and residuals."""

    @property
    def shares(self) -> Array:
        """One column for each part. [points, 5]"""
        return np.stack([getattr(self, field.name) for field in dataclasses.fields(self)], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Every field is an array of the same length. Counts are floats: products of them overflow."""

    layers: Array
    first_layers: Array
    """Layers of the first pipeline stage."""
    middle_layers: Array
    """Those of the stage between the first and the last that has most."""
    last_layers: Array
    middle_stage: Array
    """Number of that stage, from 0; of fewer than 3 stages the last one's."""
    hidden: Array
    ffn: Array
    heads: Array
    kv_heads: Array
    head_dim: Array
    vocab: Array
    """Padded."""
    sequence: Array
    experts: Array
    top_k: Array
    gated: Array
    tied: Array
    tp: Array
    pp: Array
    vpp: Array
    cp: Array
    ep: Array
    sp: Array
    zero: Array
    shards: Array
    """Ranks over which ZeRO splits; the data parallel ranks, unless a sheet says otherwise."""
    micro_batch: Array
    recompute: Array
    """Index into `RECOMPUTE`."""
    repeats_core_attn: Array
    """1 where selective recomputation has core attention."""
    repeats_layernorm: Array
    """1 where it has the norms."""
    repeats_feed_forward: Array
    """1 where it has the feed-forward block or, with experts, all of theirs and the router."""
    repeats_moe_act: Array
    """1 where it has the activation function of experts."""
    recompute_layers: Array
    """Layers of a model chunk of which full recomputation repeats the forward pass; infinite for
    all there are."""
    recompute_unit: Array
    """Layers that it repeats at once."""
    offload: Array
    dispatcher: Array
    """Index into `DISPATCHERS`."""
    flash: Array
    """1 where attention scores never reach memory."""
    fused: Array
    """1 where norms and activation functions are single kernels."""
    fused_loss: Array
    """1 where the loss needs no copy of the logits."""
    dropout: Array
    """1 where masks of dropout on the residual are kept."""
    engine: Array
    """Index into `launcher.planner.engines.ENGINES`."""
    number_format: Array
    """Index into `NUMBER_FORMATS`."""
    gradient_bytes: Array
    """Bytes of gradient per parameter, before ZeRO splits them."""
    reduced_bytes: Array
    """Bytes per gradient in which data parallel ranks sum them."""
    sums_late: Array
    """1 where they are all-reduced after the last backward pass, and so beside nothing."""
    gpus: Array
    gpus_per_node: Array
    global_batch: Array
    cpu: Array
    """1 where ranks are processes of a CPU."""
    peak: Array
    """Dense peak of matrix products in their precision, FLOP/s."""
    peak_half: Array
    """Dense peak in bf16, FLOP/s, in which attention is computed whatever the rest is."""
    memory: Array
    """Bytes that a process may allocate on the device; infinite where that is not known."""
    memory_rate: Array
    """Bandwidth of the device's memory, bytes/s."""
    link_rate: Array
    """Bandwidth to the devices of the same node, bytes/s and direction."""
    network_rate: Array
    """Bandwidth to other nodes, bytes/s, device and direction."""

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, chosen: Any) -> Self:
        """Some of the points."""
        names = [field.name for field in dataclasses.fields(self)]
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in names})

    @property
    def dp(self) -> Array:
        """Data parallel size."""
        return np.maximum(self.gpus // (self.tp * self.pp * self.cp), 1)

    @property
    def most_layers(self) -> Array:
        """Layers of the stage that has most."""
        return np.max([self.first_layers, self.middle_layers, self.last_layers], axis=0)

    @property
    def unevenness(self) -> Array:
        """Layers that the largest stage has beyond an even split, as a share of those."""
        even = np.ceil(self.layers / self.pp)
        return (self.most_layers - even) / even

    @property
    def accumulation(self) -> Array:
        """Micro batches per optimizer step."""
        return np.maximum(self.global_batch / (self.micro_batch * self.dp), 1)

    @property
    def micro_batch_tokens(self) -> Array:
        """Tokens of one micro batch on one rank (context parallel ranks share a sequence)."""
        return self.micro_batch * self.sequence / self.cp

    def recomputed_share(self, layers: Array) -> Array:
        """Share of the layers of a stage that the backward pass computes again as a whole.

        Args:
            layers: of the stage; its model chunks have as many each.
        """
        chunk = np.maximum(layers, 1) / self.vpp
        share = np.minimum(self.recompute_layers, chunk) / chunk
        return np.where(self.recompute == RECOMPUTE.index("full"), share, 0.0)

    @property
    def repeated(self) -> "Repeated":
        """Work that the backward pass of the largest stage does again."""
        whole = self.recomputed_share(self.most_layers)
        return Repeated(
            core_attn=np.maximum(self.repeats_core_attn, whole),
            layernorm=np.maximum(self.repeats_layernorm, whole),
            feed_forward=np.maximum(self.repeats_feed_forward, whole),
            activation=np.max([self.repeats_moe_act, self.repeats_feed_forward, whole], axis=0),
            rest=whole,
        )

    @property
    def recomputation(self) -> tuple[Array, ...]:
        """Coordinates of the choice of what is recomputed, 0 or 1 apart, in the order of cost; but
        for none, core attention and all layers 0 in all but the first.
        """
        selective = self.recompute == RECOMPUTE.index("selective")
        kept = np.where(self.recompute == RECOMPUTE.index("full"), 1 - self.repeated.rest, 0.0)
        no_attention = np.where(selective, 1 - self.repeats_core_attn, 0.0)
        feed_forward = (self.repeats_moe_act, self.repeats_feed_forward)
        return (self.recompute, no_attention, self.repeats_layernorm, *feed_forward, kept)

    @property
    def gathers_tokens(self) -> Array:
        """True where all tokens of an expert parallel group go to all of its ranks."""
        return (self.dispatcher == DISPATCHERS.index("allgather")) & (self.ep > 1)

    @property
    def query_width(self) -> Array:
        """Width of all query heads."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> Array:
        """Width of all key heads, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def active_ffns(self) -> Array:
        """Feed-forward blocks that a token passes in a layer: the experts of its router, or one."""
        return np.where(self.experts > 0, np.minimum(self.top_k, self.experts), 1.0)

    @property
    def attention_params(self) -> Array:
        """Parameters of one layer's attention, before any split."""
        return 2 * self.hidden * (self.query_width + self.key_width)

    @property
    def ffn_params(self) -> Array:
        """Parameters of one feed-forward block or expert, before any split."""
        return (2 + self.gated) * self.hidden * self.ffn

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Rows that have every field of this class."""
        names = [field.name for field in dataclasses.fields(cls)]
        table = np.array([[float(row[name]) for name in names] for row in rows]).reshape(
            -1, len(names)
        )
        return cls(**{name: table[:, column] for column, name in enumerate(names)})

    @classmethod
    def from_specs(
        cls, specs: Sequence[RunSpec], engine_traits: Callable[[RunSpec], EngineTraits]
    ) -> Self:
        """The points of a sweep.

        Args:
            specs: one for each point.
            engine_traits: what the backend of a spec answers, `launcher.backends.engine_traits`.
        """
        return cls.from_rows([_row(spec, engine_traits(spec)) for spec in specs])


def _row(spec: RunSpec, traits: EngineTraits) -> dict[str, Any]:
    """Return the fields of a point: two groups that many points share, and the rest."""
    layout, machine = spec.layout, _machine_fields(spec.cluster, spec.train.precision)
    return {
        **_model_fields(spec.model),
        **machine,
        **_stage_fields(layout.pp, layout.vpp, layout.pipeline, spec.model.layers),
        "tp": layout.tp,
        "pp": layout.pp,
        "vpp": layout.vpp,
        "cp": layout.cp,
        "ep": layout.ep,
        "sp": layout.sp,
        "zero": layout.zero,
        "shards": machine["gpus"] // (layout.tp * layout.pp),
        "micro_batch": layout.micro_batch,
        **recompute_fields(
            layout.recompute,
            layout.recomputed_modules,
            layout.recompute_layers,
            layout.recompute_method,
        ),
        "offload": layout.offload,
        "dispatcher": DISPATCHERS.index(layout.dispatcher),
        "flash": True,
        "fused": machine["cpu"],  # on cards without Transformer Engine, norms are several kernels
        "fused_loss": False,
        "dropout": False,
        "engine": ENGINES.index(traits.engine),
        "number_format": NUMBER_FORMATS.index(spec.train.precision),
        "gradient_bytes": traits.gradient_bytes,
        "reduced_bytes": 4.0 if spec.train.reduces_in == "fp32" else 2.0,
        # DeepSpeed's engine without ZeRO, and its pipeline.
        "sums_late": traits.engine == "deepspeed" and (layout.zero == 0 or layout.pp > 1),
        "global_batch": spec.train.global_batch,
    }


@lru_cache(maxsize=1024)
def _stage_fields(pp: int, vpp: int, pipeline: str | None, layers: int) -> dict[str, int]:
    layout = ParallelLayout(pp=pp, vpp=vpp, pipeline=pipeline)
    return stage_fields(layers_of_stages(layout.stages(layers), pp))


def stage_fields(stages: Sequence[int]) -> dict[str, int]:
    """Return the fields of a point that the layers of its pipeline stages decide."""
    inner = stages[1:-1]
    middle = 1 + inner.index(max(inner)) if inner else len(stages) - 1
    return {
        "first_layers": stages[0],
        "middle_layers": stages[middle],
        "last_layers": stages[-1],
        "middle_stage": middle,
    }


def recompute_fields(
    recompute: Recompute,
    modules: Collection[RecomputedModule],
    layers: float | None,
    method: RecomputeMethod,
) -> dict[str, Any]:
    """Return the fields of a point that say what its backward pass computes again.

    Args:
        recompute: kind of activation checkpointing.
        modules: those that it repeats of every layer, where it is selective.
        layers: a number of layers, where it is full; None is all of them, one at a time.
        method: meaning of ``layers``.
    """
    uniform = method == "uniform"
    return {
        "recompute": RECOMPUTE.index(recompute),
        "repeats_core_attn": "core_attn" in modules,
        "repeats_layernorm": "layernorm" in modules,
        "repeats_feed_forward": "mlp" in modules or "moe" in modules,
        "repeats_moe_act": "moe_act" in modules,
        "recompute_layers": math.inf if uniform or layers is None else layers,
        "recompute_unit": (layers or 1) if uniform else 1,
    }


_OF_SHAPE = ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "sequence", "experts",
             "top_k", "gated", "tied")  # fmt: skip
"""Fields that a point has in common with `ModelShape`."""


@lru_cache(maxsize=1024)
def _model_fields(shape: ModelShape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in _OF_SHAPE} | {"vocab": shape.padded_vocab}


@lru_cache(maxsize=1024)
def _machine_fields(cluster: Cluster, number_format: NumberFormat) -> dict[str, Any]:
    return {
        "gpus": cluster.gpus,
        "gpus_per_node": cluster.gpus_per_node,
        **device_fields(cluster.accelerator, number_format, cluster.network_gb_s),
    }


def device_fields(
    card: Accelerator, number_format: NumberFormat, network_gb_s: float | None
) -> dict[str, Any]:
    """Return the fields that a card and its network decide; figures not stated are guesses."""
    stand_in = CPU if card.name == "cpu" else CARD
    bf16 = card.bf16_tflops or stand_in.bf16_tflops or 0.0
    fp32 = card.fp32_tflops or stand_in.fp32_tflops or 0.0
    fp8 = card.fp8_tflops or bf16
    peak = {"fp32": fp32, "fp16": bf16, "bf16": bf16, "fp8": fp8}[number_format]
    link = card.link_gb_s or stand_in.link_gb_s or 0.0
    return {
        "cpu": card.name == "cpu",
        "peak": peak * TERA,
        "peak_half": (fp32 if number_format == "fp32" else bf16) * TERA,
        "memory": (card.memory_gib or math.inf) * GIB,
        "memory_rate": (card.memory_gb_s or stand_in.memory_gb_s or 0.0) * GIGA,
        "link_rate": link * GIGA,
        "network_rate": (network_gb_s or link / 8) * GIGA,
    }
