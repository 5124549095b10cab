"""Arguments as sources print them -> facts of a run, in the words of this project."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.foreign.logs.lines import number, whole_number
from launcher.results.imported import RunFacts
from launcher.sheets import spelling
from launcher.spec.shape import ModelShape

Arguments = Mapping[str, str]

SHARDED = {"FULL_SHARD": 3, "HYBRID_SHARD": 3, "SHARD_GRAD_OP": 2, "NO_SHARD": 0}
"""FSDP's strategies -> the stages of ZeRO that they are."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "gpus": ("world_size", "global_num_gpus"),
    "dp": ("data_parallel_size", "dp"),
    "tp": ("tensor_model_parallel_size", "model_parallel_size", "tp"),
    "pp": ("pipeline_model_parallel_size", "pipe_parallel_size", "pp"),
    "vpp": ("virtual_pipeline_model_parallel_size",),
    "cp": ("context_parallel_size", "cp"),
    "ep": ("expert_model_parallel_size", "moe_expert_parallel_size", "ep"),
    "global_batch": (
        "global_batch_size", "engine.train_batch_size", "train_batch_size",
        "Total train batch size",
    ),
    "micro_batch": (
        "micro_batch_size", "engine.train_micro_batch_size_per_gpu", "batch_size",
        "train_micro_batch_size_per_gpu", "Instantaneous batch size per device",
    ),
    "seq_len": ("seq_length", "encoder_seq_length", "args.max_seq_len"),
    "layers": ("num_layers", "args.n_layers"),
    "hidden": ("hidden_size", "args.dim"),
    "heads": ("num_attention_heads", "args.n_heads"),
    "vocab": ("padded_vocab_size", "vocab_size", "args.vocab_size"),
    "total": ("train_iters",),
}  # fmt: skip
"""Field -> what sources call it, the first one that is there counts."""

DUMP_NAMES = {name for names in NAMES.values() for name in names} | {
    "sequence_parallel",
    "recompute_granularity",
    "pipeline_model_parallel_layout",
    "recompute_modules",
    "recompute_num_layers",
    "recompute_method",
    "precision",
    "use_distributed_optimizer",
    "ffn_hidden_size",
    "num_query_groups",
    "kv_channels",
    "position_embedding_type",
    "moe_token_dispatcher_type",
    "accumulate_allreduce_grads_in_fp32",
}
"""Names that are taken from a dump that has much else."""

DUMPED = ("tensor_model_parallel_size", "model_parallel_size")
"""Names that only a dump of all arguments has: what such a log does not state has its default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The sizes, where they are known, and the parameters."""

    shape: ModelShape | None
    params: float | None


def count(arguments: Arguments, field: str) -> int | None:
    """A whole number of `NAMES`; None where it is not said."""
    for name in NAMES[field]:
        if (value := whole_number(arguments.get(name))) is not None:
            return value
    return None


def run_facts(arguments: Arguments, backend: str | None, params: float | None) -> RunFacts:
    """Facts that the arguments of a run state."""
    dumped = any(name in arguments for name in DUMPED)
    default = 1 if dumped else None
    tp, pp = count(arguments, "tp") or default, count(arguments, "pp") or default
    cp, ep = count(arguments, "cp") or default, count(arguments, "ep") or default
    gpus = count(arguments, "gpus") or _engine_ranks(arguments, dumped)
    dp = count(arguments, "dp")
    if dp is None and gpus:
        dp = gpus // ((tp or 1) * (pp or 1) * (cp or 1))
    recompute = _recompute(arguments, dumped)
    micro = count(arguments, "micro_batch")
    batch = count(arguments, "global_batch")
    if batch is None and dp and "batch_size" in arguments:  # before there was accumulation
        batch = count(arguments, "micro_batch")
        batch = None if batch is None else batch * dp
    return RunFacts(
        backend=backend,
        model=arguments.get("model"),
        params_b=None if params is None else params / 1e9,
        nodes=_nodes(arguments, gpus),
        gpus=gpus,
        dp=dp,
        tp=tp,
        pp=pp,
        cp=cp,
        ep=ep,
        dispatcher=_dispatcher(arguments),
        pipeline_layout=spelling.pipeline_layout(
            arguments.get("pipeline_model_parallel_layout", "")
        ),
        vpp=_virtual(arguments, pp) or default,
        sp=_flag(arguments, "sequence_parallel", False if dumped else None),
        zero=_zero(arguments, dumped),
        global_batch=batch,
        micro_batch=micro,
        recompute=recompute,
        **_recomputed(arguments, recompute),
        seq_len=count(arguments, "seq_len"),
        precision=_precision(arguments, dumped),
        reduce_precision=_reduce_precision(arguments),
    )


def _dispatcher(arguments: Arguments) -> str | None:
    """Way of tokens to their experts; None for a dense model, whose dump names one too."""
    experts = whole_number(arguments.get("num_experts"))
    return arguments.get("moe_token_dispatcher_type") if experts else None


def _engine_ranks(arguments: Arguments, dumped: bool) -> int | None:
    """DeepSpeed's world_size is of data parallelism: all ranks, unless Megatron splits them."""
    return None if dumped else whole_number(arguments.get("engine.world_size"))


def _nodes(arguments: Arguments, gpus: int | None) -> int | None:
    nodes, per_node = (
        whole_number(arguments.get("NNODES")),
        whole_number(arguments.get("GPUS_PER_NODE")),
    )
    if nodes:
        return nodes
    return gpus // per_node or 1 if gpus and per_node else None


def _flag(arguments: Arguments, name: str, default: bool | None) -> bool | None:
    return {"True": True, "true": True, "False": False, "false": False}.get(
        arguments.get(name, ""), default
    )


def _virtual(arguments: Arguments, pp: int | None) -> int | None:
    """Model chunks of a pipeline stage."""
    chunk_layers = whole_number(arguments.get("num_layers_per_virtual_pipeline_stage"))
    layers = count(arguments, "layers")
    if count(arguments, "vpp") is None and chunk_layers and layers and pp:
        return layers // pp // chunk_layers
    return count(arguments, "vpp")


def _zero(arguments: Arguments, dumped: bool) -> int | None:
    if (stage := SHARDED.get(arguments.get("sharding_strategy", ""))) is not None:
        return stage
    for name in ("engine.zero_optimization_stage", "optimizer.zero_stage"):
        if (stage := whole_number(arguments.get(name))) is not None:
            return stage
    if (
        _flag(arguments, "deepspeed", False)
        and (stage := whole_number(arguments.get("zero_stage"))) is not None
    ):
        return stage
    if "dp_shard" in arguments:  # FSDP; with stages torchtitan keeps the weights gathered
        sharded = arguments["dp_shard"] != "1"
        return (2 if arguments.get("pp", "1") != "1" else 3) if sharded else 0
    return int(_flag(arguments, "use_distributed_optimizer", False) or False) if dumped else None


def _recompute(arguments: Arguments, dumped: bool) -> str | None:
    granularity = arguments.get("recompute_granularity", "None")
    if granularity not in ("None", "null"):
        return granularity
    if _flag(arguments, "checkpoint_activations", False):
        return "full"
    if _flag(arguments, "recompute_activations", False):
        return "selective"
    return "none" if dumped else None


def _recomputed(arguments: Arguments, kind: str | None) -> dict[str, Any]:
    """Modules of selective recomputation, or layers of full one; nothing where that is default."""
    modules = re.findall(r"\w+", arguments.get("recompute_modules", "None"))
    if kind == "selective" and modules not in (["None"], ["core_attn"]):
        return {"recompute_modules": " ".join(sorted(modules)) or None}
    layers = whole_number(arguments.get("recompute_num_layers"))
    method = arguments.get("recompute_method", "None")
    if kind != "full" or not layers or method not in ("block", "uniform"):
        return {}
    one_at_a_time = layers == 1 and method == "uniform"
    return {} if one_at_a_time else {"recompute_layers": layers, "recompute_method": method}


def _precision(arguments: Arguments, dumped: bool) -> str | None:
    if arguments.get("fp8", "None") not in ("None", "False", "null"):
        return "fp8"
    for name, flags in (
        ("bf16", ("bf16", "engine.bfloat16_enabled")),
        ("fp16", ("fp16", "engine.fp16_enabled")),
    ):
        if any(_flag(arguments, flag, False) for flag in flags):
            return name
    text = arguments.get("precision") or arguments.get("params_dtype") or ""
    precision = spelling.first(spelling.PRECISIONS, text) if text else None
    return precision or ("fp32" if dumped else None)


def _reduce_precision(arguments: Arguments) -> str | None:
    """Precision in which Megatron-LM sums gradients: that of the weights, or fp32."""
    in_fp32 = _flag(arguments, "accumulate_allreduce_grads_in_fp32", None)
    if in_fp32 is None:
        return None
    half = (name for name in ("bf16", "fp16") if _flag(arguments, name, False))
    return "fp32" if in_fp32 else next(half, "fp32")


def model(arguments: Arguments) -> Model:
    """The sizes of a model, as far as `ModelShape` can express it."""
    shape = _shape(arguments)
    params = number(arguments.get("params"))
    if params is None and shape is not None:
        params = shape.params + (0 if "args.dim" in arguments else _beside(arguments, shape))
    billions = number(arguments.get("params_in_billions"))
    rounded = None if billions is None else 1e9 * billions
    return Model(shape=shape, params=params or _ranks_params(arguments) or rounded)


def _shape(arguments: Arguments) -> ModelShape | None:
    names = ("layers", "hidden", "heads", "vocab", "seq_len")
    sizes = {name: count(arguments, name) for name in names}
    layers, hidden, heads, vocab, sequence = (sizes[name] for name in names)
    vocab = _padded(arguments, vocab)
    if not (layers and hidden and heads and vocab and sequence) or _unlike(arguments):
        return None
    titan = "args.dim" in arguments
    grouped = _flag(arguments, "group_query_attention", True)
    groups = whole_number(arguments.get("num_query_groups" if not titan else "args.n_kv_heads"))
    experts = whole_number(arguments.get("num_experts")) or 0
    inner = whole_number(arguments.get("moe_ffn_hidden_size")) if experts else None
    inner = inner or whole_number(arguments.get("ffn_hidden_size"))
    width = whole_number(arguments.get("kv_channels"))
    return ModelShape(
        name=arguments.get("model", "imported"),
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocab=vocab,
        sequence=sequence,
        ffn=_titan_ffn(arguments, hidden) if titan else inner or 4 * hidden,
        kv_heads=groups if groups and grouped else heads,
        head_width=width or None,
        experts=experts,
        top_k=whole_number(arguments.get("moe_router_topk")) or 2,
        gated=titan or bool(_flag(arguments, "swiglu", False)),
        tied=not titan and not _flag(arguments, "untie_embeddings_and_output_weights", False),
        vocab_multiple=1,  # the vocabulary is the padded one, where the source says it
    )


def _padded(arguments: Arguments, vocab: int | None) -> int | None:
    """Rows of the embedding: Megatron pads them, if after it has printed its arguments."""
    multiple = whole_number(arguments.get("make_vocab_size_divisible_by"))
    known = whole_number(arguments.get("padded_vocab_size")) is not None
    if vocab is None or known or not multiple:
        return vocab
    multiple *= count(arguments, "tp") or 1
    return -(-vocab // multiple) * multiple


def _unlike(arguments: Arguments) -> bool:
    """Return True for a model that `ModelShape` cannot express."""
    flags = ("multi_latent_attention", "is_hybrid_model")
    shared = whole_number(arguments.get("moe_shared_expert_intermediate_size"))
    mixed = arguments.get("moe_layer_freq", "1") not in ("1", "None")
    return any(_flag(arguments, name, False) for name in flags) or bool(shared) or mixed


def _titan_ffn(arguments: Arguments, hidden: int) -> int:
    """torchtitan's FeedForward: two thirds of 4 x, times a factor, rounded up."""
    inner = int(2 * 4 * hidden / 3)
    factor = number(arguments.get("args.ffn_dim_multiplier"))
    multiple = whole_number(arguments.get("args.multiple_of")) or 1
    inner = int(factor * inner) if factor else inner
    return -(-inner // multiple) * multiple


def _beside(arguments: Arguments, shape: ModelShape) -> int:
    """Parameters of GPT-2's kind, of which `ModelShape` knows nothing: positions and biases."""
    positions = 0
    if arguments.get("position_embedding_type", "learned_absolute").endswith("learned_absolute"):
        positions = (whole_number(arguments.get("max_position_embeddings")) or 0) * shape.hidden
    norms = 0 if arguments.get("normalization", "LayerNorm") == "RMSNorm" else 1
    biases = norms * (2 * shape.layers + 1) * shape.hidden
    if _flag(arguments, "add_bias_linear", True):
        inner = (2 if shape.gated else 1) * shape.ffn * max(shape.experts, 1)
        queries = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        biases += shape.layers * (queries + inner + 2 * shape.hidden)
    return positions + biases


def _ranks_params(arguments: Arguments) -> float | None:
    """The sum over all model parallel ranks, where each has said its own; what several of them
    have (norms, tied embeddings) counts each time."""
    ranks = {name: int(value) for name, value in arguments.items() if name.startswith("params.")}
    parts = (count(arguments, "tp") or 1) * (count(arguments, "pp") or 1)
    return float(sum(ranks.values())) if ranks and len(ranks) == parts else None
