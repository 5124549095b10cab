"""The split of one run over accelerators, and the arithmetic that it has to obey."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.decode import Count, added
from launcher.errors import LayoutError
from launcher.spec import pipeline
from launcher.spec.shape import CORE_ATTENTION, ModelShape, Recompute, RecomputedModule

Dispatcher = Literal["alltoall", "allgather"]
RecomputeMethod = Literal["block", "uniform"]

DEGREES = ("tp", "pp", "vpp", "cp", "ep")
"""Sizes that split one model over ranks, in the order in which a label has them."""


def layout_label(degrees: Mapping[str, float], *words: str) -> str:
    """``tp2 pp4 zero1``: the degrees above 1, then what else is to say of a layout."""
    sizes = ((name, degrees.get(name, 1)) for name in DEGREES)
    return " ".join([*(f"{name}{size:g}" for name, size in sizes if size > 1), *words])


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelLayout:
    """Degrees of parallelism and what goes with them; data parallelism is what is left over."""

    tp: Count = 1
    """Tensor parallel size."""
    pp: Count = 1
    """Pipeline parallel size (stages)."""
    vpp: Count = 1
    """Virtual pipeline size: model chunks per stage; above 1 is the interleaved schedule."""
    cp: Count = 1
    """Context parallel size: ranks that share one sequence."""
    ep: Count = 1
    """Expert parallel size: ranks that share one layer's experts."""
    sequence_parallel: bool | None = None
    """Split activations between tensor parallel blocks along the sequence; None is wherever
    tp > 1. Read `sp`."""
    zero: Literal[0, 1, 2, 3] = 1
    """ZeRO stage; on the megatron backend 1 is the distributed optimizer."""
    micro_batch: Count = 1
    """Sequences per forward pass of one data parallel rank."""
    recompute: Recompute = "none"
    """Activation checkpointing: selective is of some modules of every layer, full is of whole
    layers."""
    offload: bool = False
    """Keep the optimizer's state in host memory (deepspeed, zero >= 1)."""
    overlap_p2p: bool = True
    """Interleaved schedule only: overlap the stages' sends with compute."""
    dispatcher: Dispatcher = added("alltoall")
    """Experts only: alltoall sends each token to the ranks of its experts, allgather sends all
    tokens to all ranks of a group, which is less where top_k is near ep."""
    recompute_modules: tuple[RecomputedModule, ...] | None = added(None)
    """With recompute selective, modules of each layer whose activations are computed again:
    core_attn, layernorm, mlp (dense models), moe (models with experts), moe_act (the activation
    function of experts alone); None is core_attn, whose scores flash attention does not keep."""
    recompute_layers: Count | None = added(None)
    """With recompute full, a number of layers, whose meaning is `recompute_method`'s; None
    recomputes every layer, one at a time."""
    recompute_method: RecomputeMethod = added("block")
    """Meaning of `recompute_layers`: block recomputes so many layers of each model chunk of a stage
    and keeps the activations of the others, uniform recomputes all, so many at a time."""
    pipeline: str | None = added(None)
    """Embedding, layers and LM head of each model chunk, in the notation of Megatron-LM
    (docs/engines.md); None is as even as can be."""

    @property
    def sp(self) -> bool:
        """True where activations are split along the sequence between tensor parallel blocks."""
        return self.tp > 1 if self.sequence_parallel is None else self.sequence_parallel

    @property
    def degrees(self) -> dict[str, int]:
        """Sizes of `DEGREES`."""
        return {name: getattr(self, name) for name in DEGREES}

    @property
    def recomputed_modules(self) -> tuple[RecomputedModule, ...]:
        """Modules of each layer that selective recomputation repeats."""
        if self.recompute != "selective":
            return ()
        return CORE_ATTENTION if self.recompute_modules is None else self.recompute_modules

    @property
    def recompute_unit(self) -> int:
        """Layers that full recomputation repeats at once, and of which it keeps one input."""
        return (self.recompute_layers or 1) if self.recompute_method == "uniform" else 1

    def recomputed_layers(self, chunk: int) -> int:
        """Layers that full recomputation repeats, of the ``chunk`` layers of a model chunk."""
        if self.recompute != "full":
            return 0
        if self.recompute_layers is None or self.recompute_method == "uniform":
            return chunk
        return min(self.recompute_layers, chunk)

    def hardware_flops_per_token(self, model: ModelShape) -> int:
        """Model FLOPs plus those that are computed again."""
        layers = sum(map(self.recomputed_layers, self.stages(model.layers)))
        return model.hardware_flops_per_token(self.recompute, self.recomputed_modules, layers)

    def dp(self, gpus: int) -> int:
        """Data parallel size on ``gpus`` accelerators."""
        return gpus // (self.tp * self.pp * self.cp)

    def accumulation(self, gpus: int, global_batch: int) -> int:
        """Micro batches per optimizer step of one data parallel rank."""
        return global_batch // (self.micro_batch * self.dp(gpus))

    def stages(self, layers: int) -> list[int]:
        """Layers of each model chunk in the order of the forward pass (pp * vpp chunks)."""
        if self.pipeline is None:
            return pipeline.even(layers, self.pp * self.vpp)
        return pipeline.layers_of_chunks(self.pipeline)

    def check(self, model: ModelShape, gpus: int, global_batch: int) -> None:
        """Raise LayoutError on the first rule of arithmetic that is broken.

        Rules of one framework are its backend's (`launcher.backends`).
        """
        self._check_ranks(model, gpus)
        self._check_model(model)
        self._check_recompute(model)
        self._check_batch(gpus, global_batch)

    def _check_ranks(self, model: ModelShape, gpus: int) -> None:
        names = [name for name in ("tp", "pp", "cp") if getattr(self, name) > 1] or ["tp"]
        size = self.tp * self.pp * self.cp
        factors = " x ".join(f"{name} {getattr(self, name)}" for name in names)
        product = factors if len(names) == 1 else f"{factors} ({size})"
        _divides(product, size, f"{gpus} gpus", gpus)
        if self.ep > 1:
            if not model.experts:
                raise LayoutError(f"ep {self.ep} needs a model with experts, {model.name} is dense")
            _divides(f"ep {self.ep}", self.ep, f"experts {model.experts}", model.experts)
            ranks = gpus // self.pp
            _divides(f"ep {self.ep}", self.ep, f"the {ranks} ranks of a pipeline stage", ranks)

        if self.dispatcher != "alltoall" and self.ep == 1:
            raise LayoutError(f"dispatcher {self.dispatcher} needs ep > 1, ep is 1")

    def _check_model(self, model: ModelShape) -> None:
        tp = f"tp {self.tp}"
        if model.head_width is None:
            _divides(f"heads {model.heads}", model.heads, f"hidden {model.hidden}", model.hidden)
        if model.head_dim % 2:
            raise LayoutError(f"head width {model.head_dim} is odd, rotary embeddings need it even")
        _divides(f"kv_heads {model.kv_heads}", model.kv_heads, f"heads {model.heads}", model.heads)
        _divides(tp, self.tp, f"heads {model.heads}", model.heads)
        _divides(tp, self.tp, f"kv_heads {model.kv_heads}", model.kv_heads)
        _divides(tp, self.tp, f"ffn {model.ffn}", model.ffn)
        _divides(tp, self.tp, f"padded vocab {model.padded_vocab}", model.padded_vocab)
        if model.experts and model.top_k > model.experts:
            raise LayoutError(f"top_k {model.top_k} is more than experts {model.experts}")
        if self.cp > 1:
            halves = 2 * self.cp  # each rank takes two pieces, so that causal work is balanced
            _divides(f"2 x cp ({halves})", halves, f"sequence {model.sequence}", model.sequence)
        if self.sp:
            if self.tp == 1:
                raise LayoutError("sequence_parallel true needs tp > 1, tp is 1")
            size = self.tp * self.cp
            _divides(f"tp x cp ({size})", size, f"sequence {model.sequence}", model.sequence)
        if self.vpp > 1 and self.pp == 1:
            raise LayoutError(f"vpp {self.vpp} needs pp > 1, pp is 1")
        if self.pipeline is not None:
            pipeline.check(self.pipeline, self.pp, self.vpp, model.layers)
        elif self.pp * self.vpp > model.layers:
            interleaved = f" x vpp {self.vpp} ({self.pp * self.vpp})" if self.vpp > 1 else ""
            raise LayoutError(f"pp {self.pp}{interleaved} is more than layers {model.layers}")

    def _check_recompute(self, model: ModelShape) -> None:
        kind = f"recompute is {self.recompute}"
        if self.recompute_modules is not None:
            self._check_modules(self.recompute_modules, model)
        if self.recompute_layers is None:
            if self.recompute_method == "uniform":
                raise LayoutError("recompute_method uniform needs recompute_layers, it is null")
            return
        layers = f"recompute_layers {self.recompute_layers}"
        if self.recompute != "full":
            raise LayoutError(f"{layers} needs recompute full, {kind}")
        chunks = self.stages(model.layers)
        part = "model chunk" if self.vpp > 1 else "pipeline stage"
        if self.recompute_layers > max(chunks):
            raise LayoutError(f"{layers} is more than the {max(chunks)} layers of a {part}")
        if self.recompute_method == "uniform":
            for chunk in chunks:
                chunk_layers = f"the {chunk} layers of a {part}, which uniform needs"
                _divides(layers, self.recompute_layers, chunk_layers, chunk)

    def _check_modules(self, modules: tuple[RecomputedModule, ...], model: ModelShape) -> None:
        names = f"recompute_modules [{', '.join(modules)}]"
        if self.recompute != "selective":
            raise LayoutError(f"{names} needs recompute selective, recompute is {self.recompute}")
        if not modules:
            raise LayoutError(f"{names} names no module; for that, recompute is none")
        if len(set(modules)) < len(modules):
            raise LayoutError(f"{names} names a module twice")
        for module in ("moe", "moe_act"):
            if module in modules and not model.experts:
                raise LayoutError(
                    f"{names}: {module} needs a model with experts, {model.name} is dense"
                )
        if {"moe", "moe_act"} <= {*modules}:
            raise LayoutError(f"{names}: moe_act is a part of moe")
        if "mlp" in modules and model.experts:
            raise LayoutError(
                f"{names}: mlp needs a dense model, {model.name} has experts {model.experts},"
                " which are moe"
            )

    def _check_batch(self, gpus: int, global_batch: int) -> None:
        dp = self.dp(gpus)
        size = self.micro_batch * dp
        product = f"micro_batch {self.micro_batch} x dp {dp} ({size})"
        _divides(product, size, f"global_batch {global_batch}", global_batch)
        batches = self.accumulation(gpus, global_batch)
        if self.vpp > 1 and batches % self.pp:
            raise LayoutError(
                f"pp {self.pp} does not divide the {batches} micro batches of a step,"
                f" which vpp {self.vpp} needs"
            )


def _divides(small_name: str, small: int, big_name: str, big: int) -> None:
    if big % small:
        raise LayoutError(f"{small_name} does not divide {big_name}")
