"""Arguments as sources print them -> what a run was, in the words of this project."""

from collections.abc import Mapping
from dataclasses import dataclass

from launcher.foreign.logs.lines import number, whole
from launcher.results.imported import RunFacts
from launcher.sheets import spelling
from launcher.spec.shape import ModelShape

Facts = Mapping[str, str]

NAMES: Mapping[str, tuple[str, ...]] = {
    "gpus": ("world_size",),
    "dp": ("data_parallel_size", "dp"),
    "tp": ("tensor_model_parallel_size", "model_parallel_size", "tp"),
    "pp": ("pipeline_model_parallel_size", "pipe_parallel_size", "pp"),
    "vpp": ("virtual_pipeline_model_parallel_size",),
    "cp": ("context_parallel_size", "cp"),
    "ep": ("expert_model_parallel_size", "moe_expert_parallel_size", "ep"),
    "global_batch": (
        "global_batch_size",
        "engine.train_batch_size",
        "train_batch_size",
        "Total train batch size",
    ),
    "micro_batch": (
        "micro_batch_size",
        "engine.train_micro_batch_size_per_gpu",
        "batch_size",
        "train_micro_batch_size_per_gpu",
        "Instantaneous batch size per device",
    ),
    "seq_len": ("seq_length", "encoder_seq_length", "args.max_seq_len"),
    "layers": ("num_layers", "args.n_layers"),
    "hidden": ("hidden_size", "args.dim"),
    "heads": ("num_attention_heads", "args.n_heads"),
    "vocab": ("padded_vocab_size", "vocab_size", "args.vocab_size"),
    "total": ("train_iters",),
}
"""Field -> what sources call it, the first one that is there counts."""

NAMED = {name for names in NAMES.values() for name in names} | {
    "sequence_parallel",
    "recompute_granularity",
    "precision",
    "use_distributed_optimizer",
    "ffn_hidden_size",
    "num_query_groups",
    "kv_channels",
    "position_embedding_type",
}
"""What is taken from a dump that has much else."""

DUMPED = ("tensor_model_parallel_size", "model_parallel_size")
"""Where one of them is known, so are the others: what is not said has its default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The sizes, where they are known, and the parameters."""

    shape: ModelShape | None
    params: float | None


def count(facts: Facts, field: str) -> int | None:
    """A whole number of `NAMES`; None where it is not said."""
    for name in NAMES[field]:
        if (value := whole(facts.get(name))) is not None:
            return value
    return None


def known(facts: Facts, backend: str | None, params: float | None) -> RunFacts:
    """What a run was."""
    dumped = any(name in facts for name in DUMPED)
    default = 1 if dumped else None
    tp, pp = count(facts, "tp") or default, count(facts, "pp") or default
    cp, ep = count(facts, "cp") or default, count(facts, "ep") or default
    gpus = count(facts, "gpus") or _engine_ranks(facts, dumped)
    dp = count(facts, "dp")
    if dp is None and gpus:
        dp = gpus // ((tp or 1) * (pp or 1) * (cp or 1))
    micro = count(facts, "micro_batch")
    batch = count(facts, "global_batch")
    if batch is None and dp and "batch_size" in facts:  # before there was accumulation
        batch = count(facts, "micro_batch")
        batch = None if batch is None else batch * dp
    return RunFacts(
        backend=backend,
        model=facts.get("model"),
        params_b=None if params is None else params / 1e9,
        nodes=_nodes(facts, gpus),
        gpus=gpus,
        dp=dp,
        tp=tp,
        pp=pp,
        cp=cp,
        ep=ep,
        vpp=_virtual(facts, pp) or default,
        sp=_flag(facts, "sequence_parallel", False if dumped else None),
        zero=_zero(facts, dumped),
        global_batch=batch,
        micro_batch=micro,
        recompute=_recompute(facts, dumped),
        seq_len=count(facts, "seq_len"),
        precision=_precision(facts, dumped),
    )


def _engine_ranks(facts: Facts, dumped: bool) -> int | None:
    """DeepSpeed's world_size is of data parallelism: all ranks, unless Megatron splits them."""
    return None if dumped else whole(facts.get("engine.world_size"))


def _nodes(facts: Facts, gpus: int | None) -> int | None:
    stated, per_node = whole(facts.get("NNODES")), whole(facts.get("GPUS_PER_NODE"))
    if stated:
        return stated
    return gpus // per_node or 1 if gpus and per_node else None


def _flag(facts: Facts, name: str, default: bool | None) -> bool | None:
    return {"True": True, "true": True, "False": False, "false": False}.get(
        facts.get(name, ""), default
    )


def _virtual(facts: Facts, pp: int | None) -> int | None:
    """Chunks of a stage."""
    each = whole(facts.get("num_layers_per_virtual_pipeline_stage"))
    layers = count(facts, "layers")
    if count(facts, "vpp") is None and each and layers and pp:
        return layers // pp // each
    return count(facts, "vpp")


def _zero(facts: Facts, dumped: bool) -> int | None:
    if (stage := whole(facts.get("engine.zero_optimization_stage"))) is not None:
        return stage
    if _flag(facts, "deepspeed", False) and (stage := whole(facts.get("zero_stage"))) is not None:
        return stage
    if "dp_shard" in facts:  # FSDP; with stages torchtitan keeps the weights gathered
        sharded = facts["dp_shard"] != "1"
        return (2 if facts.get("pp", "1") != "1" else 3) if sharded else 0
    return int(_flag(facts, "use_distributed_optimizer", False) or False) if dumped else None


def _recompute(facts: Facts, dumped: bool) -> str | None:
    stated = facts.get("recompute_granularity", "None")
    if stated not in ("None", "null"):
        return stated
    if _flag(facts, "checkpoint_activations", False):
        return "full"
    if _flag(facts, "recompute_activations", False):
        return "selective"
    return "none" if dumped else None


def _precision(facts: Facts, dumped: bool) -> str | None:
    if facts.get("fp8", "None") not in ("None", "False", "null"):
        return "fp8"
    for name, flags in (
        ("bf16", ("bf16", "engine.bfloat16_enabled")),
        ("fp16", ("fp16", "engine.fp16_enabled")),
    ):
        if any(_flag(facts, flag, False) for flag in flags):
            return name
    said = facts.get("precision") or facts.get("params_dtype") or ""
    found = spelling.first(spelling.PRECISIONS, said) if said else None
    return found or ("fp32" if dumped else None)


def model(facts: Facts) -> Model:
    """The sizes of a model, as far as `ModelShape` can express it."""
    shape = _shape(facts)
    stated = number(facts.get("params"))
    if stated is None and shape is not None:
        stated = shape.params + (0 if "args.dim" in facts else _beside(facts, shape))
    return Model(shape=shape, params=stated or _ranks_params(facts))


def _shape(facts: Facts) -> ModelShape | None:
    names = ("layers", "hidden", "heads", "vocab", "seq_len")
    sizes = {name: count(facts, name) for name in names}
    layers, hidden, heads, vocab, sequence = (sizes[name] for name in names)
    if not (layers and hidden and heads and vocab and sequence) or _unlike(facts):
        return None
    titan = "args.dim" in facts
    grouped = _flag(facts, "group_query_attention", True)
    groups = whole(facts.get("num_query_groups" if not titan else "args.n_kv_heads"))
    experts = whole(facts.get("num_experts")) or 0
    inner = whole(facts.get("moe_ffn_hidden_size")) if experts else None
    inner = inner or whole(facts.get("ffn_hidden_size"))
    width = whole(facts.get("kv_channels"))
    return ModelShape(
        name=facts.get("model", "imported"),
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocab=vocab,
        sequence=sequence,
        ffn=_titan_ffn(facts, hidden) if titan else inner or 4 * hidden,
        kv_heads=groups if groups and grouped else heads,
        head_width=width or None,
        experts=experts,
        top_k=whole(facts.get("moe_router_topk")) or 2,
        gated=titan or bool(_flag(facts, "swiglu", False)),
        tied=not titan and not _flag(facts, "untie_embeddings_and_output_weights", False),
        vocab_multiple=1,  # the vocabulary is the padded one, where the source says it
    )


def _unlike(facts: Facts) -> bool:
    """Whether it has what `ModelShape` cannot express."""
    flags = ("multi_latent_attention", "is_hybrid_model")
    shared = whole(facts.get("moe_shared_expert_intermediate_size"))
    some = facts.get("moe_layer_freq", "1") not in ("1", "None")
    return any(_flag(facts, name, False) for name in flags) or bool(shared) or some


def _titan_ffn(facts: Facts, hidden: int) -> int:
    """torchtitan's FeedForward: two thirds of 4 x, times a factor, rounded up."""
    inner = int(2 * 4 * hidden / 3)
    factor = number(facts.get("args.ffn_dim_multiplier"))
    multiple = whole(facts.get("args.multiple_of")) or 1
    inner = int(factor * inner) if factor else inner
    return -(-inner // multiple) * multiple


def _beside(facts: Facts, shape: ModelShape) -> int:
    """Parameters of GPT-2's kind, of which `ModelShape` knows nothing: positions and biases."""
    positions = 0
    if facts.get("position_embedding_type", "learned_absolute").endswith("learned_absolute"):
        positions = (whole(facts.get("max_position_embeddings")) or 0) * shape.hidden
    norms = 0 if facts.get("normalization", "LayerNorm") == "RMSNorm" else 1
    biases = norms * (2 * shape.layers + 1) * shape.hidden
    if _flag(facts, "add_bias_linear", True):
        inner = (2 if shape.gated else 1) * shape.ffn * max(shape.experts, 1)
        queries = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        biases += shape.layers * (queries + inner + 2 * shape.hidden)
    return positions + biases


def _ranks_params(facts: Facts) -> float | None:
    """The sum over all model parallel ranks, where each has said its own; what several of them
    have (norms, tied embeddings) counts each time."""
    ranks = {name: int(value) for name, value in facts.items() if name.startswith("params.")}
    parts = (count(facts, "tp") or 1) * (count(facts, "pp") or 1)
    return float(sum(ranks.values())) if ranks and len(ranks) == parts else None
