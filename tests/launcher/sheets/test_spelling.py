"""Words and numbers as people write them in sheets: titles, units, yes and no, ZeRO 3."""

import pytest

from launcher.planner.engines import ENGINES
from launcher.planner.points import NUMBER_FORMATS, RECOMPUTE
from launcher.sheets import spelling
from tests.launcher.sheets.made import read_conf


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("n_gpus", "n_gpus"), ("GPUs", "n_gpus"), (" # gpus", "n_gpus"), ("GPU", "hardware"),
        ("num_gpus", "n_gpus"), ("Micro Batch Size", "micro_batch"), ("mbs", "micro_batch"),
        ("per_device_train_batch_size", "micro_batch"), ("gbs", "global_batch"),
        ("tp_size", "tp"), ("Tensor Parallelism", "tp"), ("tensor_parallel", "tp"),
        ("sequence_length", "seq_len"), ("seq_length", "seq_len"), ("Seq Len", "seq_len"),
        ("activation_checkpointing", "recompute"), ("Sequence parallel", "seq_parallel"),
        ("Params (B)", "params_b"), ("tokens/s/GPU", "tokens_per_s_per_gpu"),
        ("Step time (s)", "step_s"), ("zero_stage", "zero_stage_or_strategy"), ("GPUs/node", "gpus_per_node"),
        ("tokens_per_s", "tokens_per_s"), ("Tokens/sec", "tokens_per_s"), ("tok/s", "tokens_per_s"),
        ("tok/s/GPU", "tokens_per_s_per_gpu"), ("tokens per second", "tokens_per_s"),
        ("steps", None), ("Steps", None), ("step_s", "step_s"), ("step (s)", "step_s"), ("steps/s", None),
        ("step/s", None), ("it/s", None), ("s/it", "step_s"), ("step time (ms)", "step_s"),
        ("iter time ms", "step_s"), ("step_ms_p50", "step_s"), ("step_ms_p95", None),
        ("peak_mem_mb", "mem_gb"), ("Global BS", "global_batch"), ("pipeline", "pp"), ("tensor", "tp"),
        ("#-GPUs", "n_gpus"), ("#GPU", "n_gpus"), ("# of GPUs", "n_gpus"), ("Number of GPUs", "n_gpus"), ("No. of cards", "n_gpus"),
        ("# HPU", "n_gpus"), ("Number of layers", "layers"), ("Number of parameters (billion)", "params_b"),
        ("Number of attention heads", "heads"), ("SeqLen (T)", "seq_len"), ("Micro batch size (MBS)", "micro_batch"),
        ("TP degree", "tp"), ("Tensor model-parallel size", "tp"), ("Batch size (per device)", "micro_batch"),
        ("GlobalBatchSize (T)", "global_batch"), ("Packed Sequence Length", "seq_len"), ("System", "hardware"),
        ("Tokens / sec / GPU", "tokens_per_s_per_gpu"), ("Time per Global Step (s)", "step_s"), ("latency", "step_s"),
        ("mem", "mem_gb"), ("Parameters (active)", None), ("Layers (encoder)", None), ("Total tokens", None),
        ("Activation CPUOffload", None), ("Est. time to train in days", None),
        ("hidden-size", "hidden"), ("NHIDDEN", "hidden"), ("ZS", "zero_stage_or_strategy"), ("node_num", "nodes"),
        ("Mic-BS", "micro_batch"), ("Glob-BS", "global_batch"), ("Micro Num", "accumulation"), ("Models", "model"), ("Grad Accu Steps", "accumulation"),
        ("global_train_batch_size", "global_batch"), ("device_train_microbatch_size", "micro_batch"),
        ("Tokens/Batch", "global_batch"), ("NPU count", "n_gpus"), ("NPU数量", "n_gpus"), ("参数规模", "params_b"),
        ("训练资源", "hardware"), ("策略", "zero_stage_or_strategy"), ("deepspeed类型", "zero_stage_or_strategy"),
        ("目标精度", None), ("收敛精度", None), ("power_w", None), ("", None), ("mem_min_gb", None),
    ],
)  # fmt: skip
def test_titles(title: str, name: str | None) -> None:
    assert spelling.column(title) == name


def test_no_name_means_two_columns() -> None:
    names = [
        spelling.bare(title)
        for name, titles in spelling.COLUMNS.items()
        for title in (name, *titles.split())
    ]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8), (" 8.0 ", 8), ("1,024", 1024), ("1_024", 1024), ("1 024", 1024), ("2,7", 2.7),
        ("1,234,567.5", 1234567.5), ("0,175", 0.175), ("6.7e9", 6.7e9), ("32k", 32000),
        ("4M", 4e6), ("4M tokens", 4e6), ("80 GB", 80), ("80GiB", 80), ("7B", 7), ("~64", 64),
        ("16 GPUs", 16), ("512 tokens", 512), ("32 layers", 32), ("0", 0), (".5", 0.5),
        ("", None), ("n/a", None), ("-", None), ("-1", None), ("3-4", None), ("8x8", None),
        ("inf", None), ("nan", None), ("two", None), ("tp2", None),
    ],
)  # fmt: skip
def test_numbers(text: str, value: float | None) -> None:
    assert spelling.number(text) == value


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("2k", 2048), ("8K", 8192), ("128k", 131072), ("4096", 4096), ("1,024", 1024)],
)
def test_sequences(text: str, tokens: float) -> None:
    assert read_conf(seq_len=text).points.sequence.tolist() == [tokens]


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("7B", 7), ("350M", 0.35), ("6.7e9", 6.7), ("7,000,000,000", 7)]
)
def test_billions(text: str, value: float) -> None:
    assert spelling.billions(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *(("seq_parallel", text, True) for text in ("1", "1.0", "True", "YES", "y", "on", "x", "4")),
        *(("seq_parallel", text, False) for text in ("0", "0.0", "False", "No", "n", "off", "none")),
        *(("seq_parallel", text, None) for text in ("", "?", "auto")),
        *(("flash_attn", text, True) for text in ("flash2", "flash_attn1.0.8", "flash_attn2 + RMS kernel", "FA2", "fa3", "yes", "flash-attn 2", "flash",
                                                 "sdpa", "flash_attention_2")),
        *(("flash_attn", text, False) for text in ("False", "torch", "torch kernel", "megatron", "eager", "unfused", "no")),
        *(("gated", text, True) for text in ("SwiGLU", "geglu", "silu", "1")),
        *(("gated", text, False) for text in ("gelu", "relu", "squared-relu", "no")),
        *(("offload", text, True) for text in ("cpu", "yes", "optimizer", "cpu_offload")),
        *(("offload", text, False) for text in ("none", "0", "false")),
    ],
)  # fmt: skip
def test_flags(name: str, text: str, value: bool | None) -> None:
    assert spelling.flag(name, text) is value


@pytest.mark.parametrize(
    ("text", "gathers"),
    [("allgather", 1), ("All-Gather", 1), ("all_gather", 1), ("alltoall", 0), ("flex", 0), ("", 0)],
)
def test_dispatchers(text: str, gathers: int) -> None:
    assert read_conf(moe_token_dispatcher_type=text, ep="2", experts="8").points.dispatcher == [
        gathers
    ]


@pytest.mark.parametrize(
    ("column", "text", "zero", "engine", "offload"),
    [
        ("zero", "ZeRO 3", 3, None, 0), ("zero", "ZeRO-3", 3, None, 0), ("zero", "stage3", 3, None, 0),
        ("zero", "stage 2", 2, None, 0), ("strategy", "zero_stage=1", 1, None, 0),
        ("strategy", "ZeRO stage 2", 2, None, 0), ("strategy", "z3", 3, None, 0),
        ("strategy", "FSDP", 3, "fsdp", 0), ("strategy", "SHARD_GRAD_OP", 2, "fsdp", 0),
        ("strategy", "fsdp NO_SHARD", 0, "fsdp", 0), ("strategy", "HYBRID_SHARD", 3, "fsdp", 0),
        ("strategy", "distributed optimizer", 1, "megatron", 0),
        ("use_distributed_optimizer", "True", 1, "megatron", 0),
        ("use_distributed_optimizer", "no", 0, "megatron", 0),
        ("zero", "zero1+offload", 1, None, 1), ("zero", "2 + cpu offload", 2, None, 1),
        ("zero", "zero2, no offload", 2, None, 0), ("zero", "zero2 offload=none", 2, None, 0),
        ("strategy", "DeepSpeed ZeRO-2", 2, "deepspeed", 0), ("strategy", "off", 0, None, 0),
        ("zero_stage", "2.0", 2, None, 0), ("strategy", "megatron-deepspeed zero1", 1, "deepspeed", 0),
        ("framework", "NeMo", 1, "megatron", 0), ("framework", "torchtitan", 3, "fsdp", 0),
        ("offload_optimizer", "cpu", 1, None, 1),
    ],
)  # fmt: skip
def test_strategies(
    column: str, text: str, zero: float, engine: str | None, offload: float
) -> None:
    sheet = read_conf(**{column: text})
    p = sheet.points
    assert (p.zero[0], p.offload[0]) == (zero, offload)
    assert ENGINES[int(p.engine[0])] == (engine or "deepspeed")
    assert ("engine" in sheet.assumed[0]) == (engine is None)
    assert ("zero" in sheet.assumed[0]) == (column in ("framework", "offload_optimizer"))


def test_what_several_columns_say_of_a_strategy_is_put_together() -> None:
    sheet = read_conf(strategy="FSDP", zero_stage="2", offload="no")
    assert (sheet.points.zero[0], ENGINES[int(sheet.points.engine[0])]) == (2, "fsdp")


def test_hybrid_shards_are_those_of_a_node() -> None:
    assert read_conf(strategy="hybrid_shard", n_gpus="32").points.shards.tolist() == [8]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("float32", "fp32"), ("32-true", "fp32"), ("bfloat16", "bf16"), ("mixed-bf16", "bf16"),
        ("bf16-mixed", "bf16"), ("torch.bfloat16", "bf16"), ("float16", "fp16"), ("16-mixed", "fp16"),
        ("half", "fp16"), ("fp8-hybrid", "fp8"), ("FP8-CS", "fp8"), ("mxfp8", "fp8"), ("bf16+fp8", "fp8"),
    ],
)  # fmt: skip
def test_precisions(text: str, number: str) -> None:
    sheet = read_conf(precision=text)
    assert NUMBER_FORMATS[int(sheet.points.number_format[0])] == number
    assert "precision" not in sheet.assumed[0]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, "full") for text in ("every_layer", "yes", "True", "1", "1.0", "full", "block", "uniform",
                                      "activation checkpointing on", "every layer", "\u2713", "Full (12 layers)")),
        *((text, "selective") for text in ("selective", "Selective (core_attn)", "core attention", "mlp, layernorm")),
        *((text, "none") for text in ("no", "False", "0", "0.0", "off", "none", "no recompute",
                                      "activation checkpointing off", "disabled")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("title", ["recompute", "activation_checkpointing"])
def test_recomputation(text: str, kind: str, title: str) -> None:
    sheet = read_conf(**{title: text})
    assert RECOMPUTE[int(sheet.points.recompute[0])] == kind
    assert "recompute" not in sheet.assumed[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("350 ms", 0.35), ("1.5 s", 1.5), ("40000 MB", 40.0), ("81559MiB", 81559 / 1024),
        ("1.2 TB", 1200.0), ("350M", 350e6), ("4M tokens", 4e6),
    ],
)  # fmt: skip
def test_other_units(text: str, value: float) -> None:
    assert spelling.number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("title", "text", "seconds"),
    [("step_ms", "1,250", 1.25), ("step time (ms)", "1250.5", 1.2505), ("ms/it", "9e2", 0.9),
     ("step_ms_p50", "128204.35", 128.20435), ("step_ms", "2 s", 2), ("s/it", "3.5", 3.5)],
)  # fmt: skip
def test_units_of_titles(title: str, text: str, seconds: float) -> None:
    assert read_conf(**{title: text}).step_seconds.tolist() == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    ("title", "text", "gib"),
    [("peak_mem_mb", "40000", 40), ("mem_mib", "40960", 40), ("mem_mb", "40 GB", 40),
     ("mem_gb", "40", 40), ("peak_mem_gib", "40", 40)],
)  # fmt: skip
def test_units_of_memory(title: str, text: str, gib: float) -> None:
    assert read_conf(**{title: text}).numbers("mem_gb").tolist() == [gib]
