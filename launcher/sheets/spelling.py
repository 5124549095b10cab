"""Words and numbers as people write them in sheets: columns, sizes, yes and no, ZeRO 3."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from launcher.planner.points import NumberFormat
from launcher.sheets import cells, titles
from launcher.spec import pipeline
from launcher.spec.layout import Dispatcher
from launcher.spec.shape import CORE_ATTENTION, Recompute, RecomputedModule

COLUMNS: Mapping[str, str] = {
    "hardware": "gpu gpu_type gpu_name gpu_model accelerator accelerator_type device device_name"
    " device_type card cluster system chip chip_type machine platform hw",
    "n_gpus": "gpus num_gpus n_gpu gpu_count world_size num_devices n_devices devices total_gpus"
    " cards chips n_chips num_chips accelerators npus hpus npu_count hpu_count npu hpu",
    "nodes": "n_nodes num_nodes node_count node_num",
    "gpus_per_node": "gpus_node gpu_per_node num_gpus_per_node n_gpus_per_node nproc_per_node",
    "model": "models model_name network",
    "params_b": "params parameters n_params num_params n_parameters model_size size size_b"
    " params_billion model_parameters",
    "layers": "n_layers num_layers n_layer num_hidden_layers depth",
    "hidden": "hidden_size hidden_dim n_hidden d_model n_embd dim embed_dim",
    "ffn": "ffn_hidden_size ffn_size ffn_dim d_ff intermediate_size mlp_hidden",
    "heads": "n_heads num_heads n_head attention_heads num_attention_heads",
    "kv_heads": "n_kv_heads num_kv_heads num_key_value_heads num_query_groups query_groups",
    "experts": "n_experts num_experts num_moe_experts num_local_experts",
    "top_k": "moe_top_k router_topk moe_router_topk num_experts_per_tok experts_per_token",
    "vocab": "vocab_size padded_vocab_size vocabulary",
    "gated": "swiglu glu activation activation_function hidden_act act_fn",
    "tied": "tie_word_embeddings tie_embeddings tied_embeddings untied"
    " untie_embeddings_and_output_weights",
    "seq_len": "seq sequence sequence_length seq_length sequence_len context context_length"
    " ctx_len ctx max_seq_len max_seq_length max_length max_sequence_length n_ctx"
    " packed_sequence_length",
    "global_batch": "gbs global_batch_size batch_size batch global_bsz global_bs train_batch_size"
    " batch_tokens tokens_per_batch tokens_batch tokens_per_step tokens_step global_batch_tokens"
    " bs_tokens total_batch_size global_train_batch_size glob_bs bs bsz",
    "micro_batch": "mbs mic_bs micro_batch_size micro_bsz micro_bs mbsz batch_per_gpu"
    " batch_size_per_gpu per_gpu_batch_size per_device_batch_size per_device_train_batch_size"
    " train_micro_batch_size_per_gpu batch_size_per_device batch_per_device device_batch_size"
    " batch_size_gpu batch_gpu bs_gpu bs_per_gpu"
    " local_batch_size local_batch local_bs lbs mbz device_train_microbatch_size",
    "accumulation": "ga gas grad_accum grad_acc grad_accu grad_accu_steps grad_acc_steps"
    " gradient_accumulation gradient_accumulation_steps gradient_accumulations"
    " grad_accum_steps accumulation_steps accum num_microbatches n_microbatches"
    " micro_batches micro_num",
    "tp": "tensor tp_size mp mp_size model_parallel model_parallel_size tensor_parallel"
    " tensor_parallel_size tensor_model_parallel_size",
    "pp": "pipeline pp_size pipeline_parallel pipeline_parallel_size pipeline_model_parallel_size",
    "vpp": "vp vp_size vpp_size virtual_pipeline virtual_pp virtual_pipeline_parallel_size"
    " virtual_pipeline_model_parallel_size",
    "pipeline_layout": "pipeline_model_parallel_layout",
    "layers_per_chunk": "num_layers_per_virtual_pipeline_stage",
    "cp": "cp_size context_parallel context_parallel_size",
    "ep": "ep_size expert_parallel expert_parallel_size expert_model_parallel_size",
    "dispatcher": "token_dispatcher moe_token_dispatcher_type moe_dispatcher",
    "dp": "dp_size data_parallel data_parallel_size",
    "zero_stage_or_strategy": "zero zs zero_stage zero_level deepspeed deepspeed_type"
    " zero_optimization strategy sharding sharding_strategy distributed_strategy parallel_strategy"
    " distributed_optimizer use_distributed_optimizer dist_optimizer",
    "offload": "cpu_offload optimizer_offload offload_optimizer optimizer_cpu_offload",
    "backend": "engine framework trainer",
    "recompute": "recomputation recompute_granularity activation_recompute"
    " activation_checkpointing activation_checkpoint activation_ckpt act_ckpt"
    " gradient_checkpointing checkpointing ckpt ac remat recompute_activations"
    " activation_recomputation gradient_checkpoint grad_checkpoint grad_checkpointing grad_ckpt",
    "recompute_modules": "recomputed_modules",
    "recompute_layers": "recompute_num_layers num_recompute_layers recomputed_layers",
    "recompute_method": "",
    "seq_parallel": "sp sequence_parallel sequence_parallel_enabled",
    "precision": "dtype data_type mixed_precision prec amp_dtype compute_dtype quantization",
    "reduce_precision": "communication_data_type reduce_dtype grad_reduce_dtype",
    "flash_attn": "flash flash_attention use_flash_attn fa attn attention attn_impl"
    " attention_impl attention_backend attn_implementation kernel kernels attention_kernel"
    " attn_kernel",
    "tokens_per_s_per_gpu": "tokens_per_sec_per_gpu tokens_s_gpu tok_s_gpu tgs"
    " tokens_per_gpu_per_second tokens_per_second_per_gpu",
    "tokens_per_s": "tokens_per_sec tokens_per_second tokens_s tokens_sec toks_s tok_s tok_sec"
    " tok_per_s tok_per_sec total_tokens_per_s total_tokens_per_sec",
    "step_s": "step_time step_time_s iter_time iter_time_s iteration_time iteration_time_s"
    " sec_per_step s_per_step s_per_iter s_per_it s_it sec_it sec_per_iter step_ms step_time_ms"
    " iter_ms iter_time_ms iteration_time_ms ms_per_step ms_per_iter ms_it step_ms_p50",
    "mem_gb": "mem_gib peak_mem_gb peak_mem_gib peak_memory_gb peak_memory_gib max_mem_gb"
    " max_memory_gb peak_mem peak_memory mem_mb mem_mib peak_mem_mb peak_mem_mib peak_memory_mb"
    " peak_memory_mib max_mem_mb max_memory_mb",
    "mem_kind": "memory_kind",
    "oom": "is_oom out_of_memory",
    "outcome": "",
    "source": "",
    "task": "peft",
    "notes": "note",
}
"""Column -> other names that it goes by. Case and what is no letter or digit do not matter."""

LAST = ("lbs", "localbatchsize", "localbatch", "localbs")
"""Titles, as letters and digits, that count where no other of their column is there: the batch of a
rank is its micro batch, but for programs that say both."""

OPEN_BATCH = ("batch", "batchsize", "bs", "bsz")
"""Titles, as letters and digits, of a batch that may be the whole one or that of one replica."""

JOINED = ("zero_stage_or_strategy", "recompute", "backend")
"""Columns that may be there under several names, all of which say something."""

YES = r"1|true|t|yes|y|on|enabled?|x"
NO = r"0|false|f|no|n|off|disabled?|none|null|without"

FLAGS: Mapping[str, tuple[str, str]] = {
    "seq_parallel": ("", ""),
    "flash_attn": (
        r"(use_?)?flash.*|fa_?[234]?|sdpa|fused|te|cudnn|triton|xformers|mem.*efficient",
        r"torch.*|megatron.*|eager|math|naive|unfused|local|core|baddbmm",
    ),
    "offload": (r"cpu|nvme|optimizer|.*offload", ""),
    "gated": (r".*glu|silu|swish", r".*gelu(_new)?|.*relu"),
    "tied": (r"tied?", r"untied?"),
    "oom": ("oom", "ok"),
}
"""Column -> patterns that mean yes and no, besides `YES` and `NO`."""

PRECISIONS: Sequence[tuple[NumberFormat, str]] = (
    ("fp8", r"fp8|float8|e4m3|hybrid"),
    ("bf16", r"bf16|bfloat|brain"),
    ("fp16", r"fp16|float16|f16|half|^16\b"),
    ("fp32", r"fp32|float32|f32|single|^32\b"),
)
RECOMPUTED: Sequence[tuple[Recompute, str]] = (
    ("selective", r"selective|\bsel\b|\bsac\b|attn|attention|core"),
    ("full", r"full|every|uniform|block"),
    ("none", rf"\b({NO})\b"),
    ("full", rf"layer|checkpoint|\b({YES}|all|ac)\b"),
)
STAGES: Sequence[tuple[int, str]] = (
    *((n, rf"(zero|stage|\bz)[^a-z\d]*(dp|stage)?[^a-z\d]*{n}(?!\d)") for n in range(4)),
    (3, r"full_shard|hybrid_shard|hsdp|infinity"),
    (2, r"grad_op"),
    (1, r"dist\w*[ _-]?opt|optimizer[ _-]?shard"),
    (0, r"no_shard"),
    (3, r"fsdp|fully.shard"),
    (0, rf"ddp|\b({NO})\b"),
)
FSDP = r"fsdp|fully.shard|full_shard|hybrid_shard|no_shard|grad_op|hsdp"
HYBRID = r"hybrid_shard|hsdp"
OFFLOADED = r"(?<!no)(?<!no.)(?<!without.)offload(?!\W*(no|off|false|none|0)\b)"
"""Patterns of a text in lower case, and the values that they mean; the first match counts."""


def bare(name: str) -> str:
    """A name's letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_COLUMN_OF_TITLE = {
    bare(title): name for name, others in COLUMNS.items() for title in (name, *others.split())
}


LONGEST_TITLE = 100
"""Characters beyond which a cell is no title."""

_DROPPED = titles.word_set("number of num no n the count degree total used")
"""Words of a title that change nothing of what a column counts."""
_COUNTED = titles.word_set(
    "t token tokens b billion billions m million millions k bf fp 16 seqs sequences samples"
)
"""Words in brackets that say in what a column counts, or of what."""
BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_ONE = ("gpu", "device", "card", "chip", "accelerator")
"""Words that are a kind of hardware, unless a number of them is asked for."""


@lru_cache(maxsize=4096)
def column(title: str) -> str | None:
    """The column that a title means, such as ``Micro Batch Size`` or ``# of GPUs``."""
    if len(title) > LONGEST_TITLE:
        return None
    plain = titles.english(title)
    exact = bare(plain).replace("parallelism", "parallel")
    if exact in _ONE and re.search(r"#|\bno\b|\bnum", plain.lower()):
        return "n_gpus"
    if exact == "steps" and re.search(r"steps|steps?\s*/\s*s", plain.lower()):
        return None  # how many, or how many a second: not the seconds of one
    if exact in _COLUMN_OF_TITLE and not has_other_letters(plain):
        return _COLUMN_OF_TITLE[exact]
    if measure := titles.measure(title):
        return measure.name if measure.name in COLUMNS else None
    name = _counted_column(BRACKETS.sub(" ", plain))
    inside = BRACKETS.findall(plain)
    return name if name and all(_agrees(name, text) for text in inside) else None


def has_other_letters(text: str) -> bool:
    """Return True for letters beyond ASCII: words that `bare` leaves out of a name."""
    return any(letter.isalpha() and not letter.isascii() for letter in text)


def exact_column(title: str) -> str | None:
    """The column that has a title among its names as it is."""
    return _COLUMN_OF_TITLE.get(bare(title))


def _counted_column(title: str) -> str | None:
    words = [word for word in titles.words(title) if word not in _DROPPED and word != "/"]
    joined = "".join(words).replace("parallelism", "parallel")
    if joined in _ONE and set(titles.words(title)) & {"number", "num", "no", "n"}:
        return "n_gpus"
    shorter = joined.removesuffix("size")
    return _COLUMN_OF_TITLE.get(joined) or _COLUMN_OF_TITLE.get(shorter)


def _agrees(name: str, inside: str) -> bool:
    """Return True for what stands in brackets behind a title and changes no column."""
    return set(titles.words(inside)) <= _COUNTED or _COLUMN_OF_TITLE.get(bare(inside)) == name


_GROUPED = r"[1-9]\d{0,2}(?:[,_ ]\d{3})+(?:\.\d+)?"
_NUMBER = re.compile(
    rf"[~\u2248]?\s*(?P<value>{_GROUPED}|\d+(?:[.,]\d+)?(?:e[+-]?\d+)?|\.\d+)\s*"
    r"(?P<times>[kmbgt]?)(?P<unit>(?:\s*(?:tokens?|toks?|seqs?|sequences|samples|gpus?|cards"
    r"|nodes?|layers|heads|params|parameters|gib|gb|ib|b|s|sec))?)",
    re.I,
)
_PREFIXED = {"ms": 1e-3, "msec": 1e-3, "mb": 1e-3, "mib": 1 / 1024, "tb": 1e3, "tib": 1024}
"""Factors to the columns' own units, seconds and GB or GiB."""
_TIMES = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def number(text: str, thousand: int = 1000) -> float | None:
    """A number of 0 or more: ``1,024``, ``2k``, ``80 GB``; None where there is none."""
    match = _NUMBER.fullmatch(cells.without_remark(text.strip()).strip())
    if match is None:
        return None
    digits, times = match["value"], match["times"].lower()
    if re.fullmatch(_GROUPED, digits):
        digits = re.sub(r"[,_ ]", "", digits)
    if times in ("b", "g") and re.match(r"b|ib|$", match["unit"].strip().lower()):
        times = ""  # 80 GB, 7B: the column's own unit
    unit = match["unit"].strip().lower()
    scale = thousand if times == "k" else thousand**2 if times == "m" else _TIMES[times]
    value = float(digits.replace(",", ".")) * _PREFIXED.get(times + unit, scale)
    if thousand == 1024 and scale > 1:
        value = float(round(value))  # 3.7M tokens are whole ones
    return value if math.isfinite(value) else None  # 1e400


def billions(text: str) -> float | None:
    """Parameters: ``7``, ``7B``, ``350M``, ``6.7e9``, ``7,000,000,000``."""
    value = number(text)
    return value / 1e9 if value and value > 1e5 else value


def flag(name: str, text: str) -> bool | None:
    """Yes or no in a cell of a column of `FLAGS`; None where it says neither."""
    word = re.sub(r"[\s-]+", "_", text.strip().lower())
    yes, no = FLAGS[name]
    if re.fullmatch(rf"{NO}|0\.0|{no or NO}", word):
        return False
    count = number(text)  # a 2 may be a version, or how many ranks
    return True if re.fullmatch(rf"{YES}|{yes or YES}", word) or (count or 0) >= 1 else None


NARROW = re.compile(r"fp[46]\b|int[48]\b|nf4|e2m1|\b[468][ -]?bit")
"""Number formats that no formula here knows, in lower case."""
_NEGATED = re.compile(r"\(?\bnot\s+\w+\)?", re.I)
"""A format that a cell says it is not: "bf16 (not NVFP4)"."""


def precision(text: str) -> NumberFormat | None:
    """Format of the products; None where none is known, or it is narrower than fp8."""
    stated = _NEGATED.sub("", text)
    return None if NARROW.search(stated.lower()) else first(PRECISIONS, stated)


PARTIAL = re.compile(
    r"partial|selective[ _-]*layer|every[ _-]*(?:\d+|other|second|two|few|n\b)"
    r"|\b\d+\s*/\s*\d+|\d\s*%|^\d+ (?:of \d+ )?layers"
)
"""Recomputation of some of the layers, in lower case."""
MODULES: Mapping[str, RecomputedModule] = {
    "mlp": "mlp", "moe": "moe", "moe_act": "moe_act", "layernorm": "layernorm",
    "layernorms": "layernorm", "norm": "layernorm", "norms": "layernorm",
}  # fmt: skip
"""Words for modules that Megatron can recompute by themselves, besides core attention."""
OTHER_MODULES = titles.word_set("mla_up_proj shared_experts")
"""Such modules that no model here has."""


def recompute(text: str) -> Recompute | None:
    """Recomputation; None where none is known, or it is of some layers or of other modules."""
    lower, words = text.lower(), _words(text)
    if PARTIAL.search(lower) or (words & OTHER_MODULES and "full" not in lower):
        return None
    if words & MODULES.keys() and "full" not in lower:
        return "selective"
    return first(RECOMPUTED, text)


def recomputed_modules(text: str) -> tuple[RecomputedModule, ...] | None:
    """Modules that selective recomputation repeats, in the order of the alphabet.

    Core attention where none is named; None where one is named that no model here has.
    """
    words = _words(text)
    if words & OTHER_MODULES:
        return None
    modules = {MODULES[word] for word in words & MODULES.keys()}
    if re.search(r"attn|attention|core", text.lower()):
        modules.add("core_attn")
    return tuple(sorted(modules)) or CORE_ATTENTION


def pipeline_layout(text: str) -> str | None:
    """Model chunks in Megatron-LM's notation, without blanks; None where a text is none."""
    layout = re.sub(r"\s", "", text)
    items = "".join(pipeline.chunks(layout))
    return layout if re.fullmatch(r"E[tm]*L", items) else None


def _words(text: str) -> set[str]:
    return set(re.split(r"[\s,;+\[\]()'\"]+", text.lower()))


DISPATCHERS: Sequence[tuple[Dispatcher, str]] = (
    ("allgather", r"all[ _-]?gather"), ("alltoall", r"all[ _-]?to[ _-]?all|all2all"),
)  # fmt: skip


def dispatcher(text: str) -> Dispatcher | None:
    """Dispatcher of tokens to experts; None for another one, such as DeepEP."""
    return first(DISPATCHERS, text)


T = TypeVar("T")


def first(patterns: Sequence[tuple[T, str]], text: str) -> T | None:
    """Value of the first pattern that matches in a text."""
    lower = text.lower().removesuffix(".0")
    return next((value for value, pattern in patterns if re.search(pattern, lower)), None)
