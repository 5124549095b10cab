"""One row of a sheet: what each cell means, and what is assumed without it."""

import pytest

from launcher.planner.engines import ENGINES
from launcher.planner.points import GIB, NUMBER_FORMATS, RECOMPUTE
from launcher.sheets.sheet import read as read_rows
from tests.launcher.sheets.made import CLUSTERS, FULL, MODELS, cluster, read, value


def test_a_row_that_says_everything_assumes_nothing() -> None:
    sheet = read(**FULL)
    assert sheet.notes == [""]
    expected = {
        "gpus": 16, "gpus_per_node": 4, "layers": 24, "hidden": 2048, "ffn": 5632, "heads": 16,
        "kv_heads": 4, "head_dim": 128, "experts": 8, "top_k": 3, "vocab": 32000, "sequence": 1024,
        "global_batch": 64, "micro_batch": 2, "tp": 2, "pp": 2, "vpp": 2, "cp": 2, "ep": 2,
        "zero": 1, "sp": 1, "flash": 0, "recompute": RECOMPUTE.index("selective"),
        "engine": ENGINES.index("megatron"), "number_format": NUMBER_FORMATS.index("bf16"), "gradient_bytes": 4,
        "shards": 4, "peak": 989e12, "memory": 78.6 * GIB, "network_rate": 50e9, "cpu": 0,
        "offload": 0, "gated": 1, "tied": 0, "first_layers": 12, "last_layers": 12,
    }  # fmt: skip
    assert {name: getattr(sheet.points, name)[0] for name in expected} == expected


@pytest.mark.parametrize(
    ("row", "layers"),
    [
        ({"pp": "3"}, [8, 8, 8]),
        ({"pp": "3", "vpp": "8", "layers": "25"}, [8, 8, 9]),
        ({"pp": "3", "vpp": "", "layers": "26"}, [9, 9, 8]),
        ({"pp": "3", "vpp": "1", "pipeline_model_parallel_layout": "Et*7|t*10|t*7L"}, [7, 10, 7]),
        ({"pp": "3", "vpp": "2", "pipeline_layout": "Et*2|(t*4|)*4 t*6 L"}, [6, 8, 10]),
    ],
)
def test_layers_of_the_stages(row: dict[str, str], layers: list[int]) -> None:
    points = read(**FULL | {"n_gpus": "48"} | row).points
    stages = (points.first_layers, points.middle_layers, points.last_layers)
    assert [stage[0] for stage in stages] == layers
    assert points.most_layers[0] == max(layers)


@pytest.mark.parametrize(
    ("blank", "note"),
    [
        ("hardware", "hardware h100"),
        ("n_gpus", "n_gpus 8"),
        ("layers", "layers 16"),  # hidden / 128
        ("hidden", "hidden 3072"),  # 128 x layers
        ("ffn", "ffn 8192"),
        ("heads", "heads 16"),
        ("vocab", "vocab 51200"),
        ("seq_len", "seq_len 2048"),
        ("global_batch", "global_batch 32"),  # 4 x pp micro batches of 2 on each of dp 2
        ("micro_batch", "micro_batch 1"),
        ("tp", "tp 1"),
        ("vpp", "vpp 1"),
        ("zero_stage_or_strategy", "zero 1"),
        ("recompute", "recompute none"),
        ("seq_parallel", "seq_parallel 1"),
        ("precision", "precision bf16"),
        ("flash_attn", "flash_attn 1"),
        ("gpus_per_node", "gpus_per_node 8"),
        ("kv_heads", "kv_heads 16"),
        ("top_k", "top_k 2"),
        ("experts", "experts 0"),  # though ep is 2
        ("gated", "gated 1"),  # 5632 is 2.75 x 2048: three matrices
        ("tied", "tied 0"),
        ("backend", "engine deepspeed"),
    ],
)
def test_what_is_blank_is_assumed_and_named(blank: str, note: str) -> None:
    assert read(**{**FULL, blank: ""}).notes == [note]
    without = {name: text for name, text in FULL.items() if name != blank}
    sheet = read(**without)
    assert sheet.notes == [note]
    assert sheet.assumed == [{note.split(" ")[0]}]


@pytest.mark.parametrize("text", ["n/a", "-", "?", "nan", "inf", "two"])
def test_what_is_no_number_is_blank(text: str) -> None:
    assert read(**{**FULL, "micro_batch": text}).notes == [
        "micro_batch 1" + f" (not {text!r})" * (text in ("inf", "two"))
    ]


def test_an_empty_row_is_on_a_node_of_h100_and_of_no_model() -> None:
    sheet = read()
    names = {note.split(" ")[0] for note in sheet.notes[0].split(", ")}
    assert {"hardware", "n_gpus", "seq_len", "micro_batch", "zero"} <= names
    assert not {"params_b", "layers", "hidden"} & names
    assert sheet.refusals == ["no model is named, and no size of it is stated"]
    assert sheet.points.gpus[0] == 8


@pytest.mark.parametrize(
    ("text", "peak", "memory", "noted"),
    [
        ("h100", 989, 78.6, False),
        ("NVIDIA H100 80GB HBM3", 989, 78.6, False),
        ("A100-40GB", 312, 39.3, False),  # 40 / 80 of 78.6
        ("A100 SXM4 80 GB", 312, 78.6, False),
        ("8x A100", 312, 78.6, False),
        ("MI250 64GB", 989, 62.88, True),  # 64 / 80 of 78.6
        ("TPU v4", 989, 78.6, True),
        ("", 989, 78.6, True),
    ],
)
def test_hardware(text: str, peak: float, memory: float, noted: bool) -> None:
    sheet = read(**{**FULL, "hardware": text})
    assert sheet.points.peak[0] == peak * 1e12
    assert sheet.points.memory[0] / GIB == pytest.approx(memory)
    assert sheet.notes == ["hardware h100" + f" (not {text!r})" * bool(text) if noted else ""]
    assert (
        read(hardware=text, **{k: v for k, v in FULL.items() if k != "hardware"}).points.gpus == 16
    )


def test_a_cluster_of_smaller_cards_is_preferred_where_there_is_one() -> None:
    clusters = {**CLUSTERS, "a100_40gb": cluster("a100_40gb", 311.0)}
    sheet = read_rows([{**FULL, "hardware": "A100-40GB"}], clusters, MODELS)
    assert sheet.points.peak[0] == 311e12


@pytest.mark.parametrize(
    ("text", "zero", "engine", "shards", "gradient"),
    [
        ("fsdp_full_shard(zero3)", 3, "fsdp", 8, 4),
        ("FSDP", 3, "fsdp", 8, 4),
        ("mcore_distopt(zero1)", 1, "megatron", 8, 4),
        ("megatron none", 0, "megatron", 8, 4),
        ("zero1(group 4)", 1, "deepspeed", 4, 2),
        ("ZeRO-2", 2, "deepspeed", 8, 2),
        ("zero_3", 3, "deepspeed", 8, 2),
        ("2", 2, "deepspeed", 8, 2),
        ("0.0", 0, "deepspeed", 8, 2),
        ("ddp", 0, "deepspeed", 8, 2),
        ("", 1, "deepspeed", 8, 2),
    ],
)
def test_strategies(text: str, zero: int, engine: str, shards: int, gradient: float) -> None:
    row = {**FULL, "zero_stage_or_strategy": text, "backend": "", "pp": "1"}
    sheet = read(**row)
    p = sheet.points
    assert (p.zero[0], ENGINES[int(p.engine[0])]) == (zero, engine)
    assert (p.shards[0], p.gradient_bytes[0]) == (shards, gradient)
    assumed = ["engine deepspeed"] * (engine == "deepspeed") + ["zero 1"] * (not text)
    assert sheet.notes == [", ".join(assumed)]
    if text:
        in_column_zero = {**row, "zero_stage_or_strategy": "", "zero": text}
        assert read(**in_column_zero).points.zero[0] == zero


@pytest.mark.parametrize(
    ("text", "number", "peak", "noted"),
    [
        ("bf16", "bf16", 989, False),
        ("BF16 mixed", "bf16", 989, False),
        ("fp16", "fp16", 989, False),
        ("fp32", "fp32", 20, False),
        ("fp8 (bf16 weights)", "fp8", 1978, False),
        ("mixed", "bf16", 989, True),
    ],
)
def test_precision(text: str, number: str, peak: float, noted: bool) -> None:
    sheet = read(**{**FULL, "precision": text})
    assert NUMBER_FORMATS[int(sheet.points.number_format[0])] == number
    assert sheet.points.peak[0] == peak * 1e12
    assert sheet.notes == [f"precision bf16 (not {text!r})" if noted else ""]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("llama_7b", (32, 4096, 11008, 32, 32, 1)),
        ("LLaMA-7B", (32, 4096, 11008, 32, 32, 1)),
        ("llama2-7b", (32, 4096, 11008, 32, 32, 1)),
        ("LLAMA3.1_70B", (80, 8192, 28672, 64, 8, 1)),
        ("llama3-70b (pretraining) [ours]", (80, 8192, 28672, 64, 8, 1)),
        ("GPT3-175B", (96, 12288, 49152, 96, 96, 0)),
        ("somebody's 13B", (40, 5120, 20480, 40, 40, 0)),  # 12 x 40 x 5120^2 = 12.6e9
    ],
)
def test_models_are_known_by_name(text: str, sizes: tuple[float, ...]) -> None:
    p = read(model=text).points
    names = ("layers", "hidden", "ffn", "heads", "kv_heads", "gated")
    assert tuple(getattr(p, name)[0] for name in names) == sizes


def test_a_known_model_is_not_assumed_but_its_sequence_is() -> None:
    (note,) = read(model="llama_7b").notes
    assert "seq_len 4096" in note
    assert not {"layers", "hidden", "ffn", "heads", "vocab"} & set(note.replace(",", "").split())
    assert value("vocab", model="qwen3_30b_a3b") == 1187 * 128
    assert value("tied", model="gpt3_175b") == 1
    assert [value(n, model="qwen3_30b_a3b") for n in ("experts", "top_k")] == [128, 8]


def test_heads_may_be_wider_than_hidden_by_heads() -> None:
    assert value("head_dim", model="qwen3_30b_a3b") == 128


def test_what_a_row_says_beats_what_its_model_is() -> None:
    row = {"model": "llama_7b", "layers": "4", "hidden": "4096", "vocab": "100", "seq_len": "128"}
    p = read(**row).points
    assert (p.layers[0], p.ffn[0], p.vocab[0], p.sequence[0]) == (4, 11008, 100, 128)


@pytest.mark.parametrize(
    ("row", "gpus", "dp"),
    [
        ({"n_gpus": "64", "tp": "4", "pp": "2"}, 64, 8),
        ({"nodes": "4"}, 32, 32),
        ({"nodes": "4", "gpus_per_node": "4"}, 16, 16),
        ({"dp": "4", "tp": "2", "pp": "2"}, 16, 4),
        ({"n_gpus": "64", "dp": "3"}, 64, 64),
        ({"tp": "8", "pp": "2"}, 16, 1),  # as many as one copy needs, and 8 at least
        ({}, 8, 8),
    ],
)
def test_how_many_cards(row: dict[str, str], gpus: float, dp: float) -> None:
    p = read(**row).points
    assert (p.gpus[0], p.dp[0]) == (gpus, dp)


@pytest.mark.parametrize(
    ("row", "sp"),
    [
        ({"tp": "2", "seq_parallel": "yes"}, 1),
        ({"tp": "2", "seq_parallel": "False"}, 0),
        ({"tp": "1", "seq_parallel": "1"}, 0),
        ({"tp": "2", "backend": "megatron"}, 1),
        ({"tp": "2", "backend": "deepspeed"}, 0),
    ],
)
def test_sequence_parallelism(row: dict[str, str], sp: float) -> None:
    assert value("sp", **row) == sp


def test_notes_may_tell_the_vocabulary() -> None:
    assert value("vocab", notes="vocab ~64k, 40 GB used") == 64000
    assert value("vocab", notes="vocab ~64k", vocab="32000") == 32000


@pytest.mark.parametrize(
    ("row", "notes"),
    [
        ({"model": "llama2-7b"}, {"model llama_7b"}),
        ({"model": "LLaMA-7B"}, set()),
        ({"model": "llama_7b", "layers": "4", "ffn": "11008"}, {"unlike llama_7b: layers"}),
        ({"model": "llama_7b", "hidden": "2048"},
         {"unlike llama_7b: hidden", "ffn 5504", "heads 16", "kv_heads 16"}),
        ({"model": "llama_7b", "params_b": "13"}, {"6.7 B parameters (not 13)"}),
        ({"model": "llama_7b", "vocab": "32000"}, set()),
        ({"model": "our 8x7B", "layers": "32", "hidden": "4096"},
         {"experts 0", "ffn 16384", "heads 32", "kv_heads 32", "gated 0", "tied 1", "vocab 51200"}),
        ({"model": "llama_7b", "notes": "vocab ~64k"}, set()),
        ({"model": "ours", "layers": "2", "hidden": "256", "notes": "vocab ~64k"},
         {"vocab 64000 of the notes", "ffn 1024", "heads 2", "kv_heads 2", "gated 0", "tied 1"}),
        ({"model": "llama_7b", "dp": "8"}, {"dp 4 (not 8: 8 gpus / 2)"}),
        ({"model": "llama_7b", "dp": "4"}, set()),
        ({"model": "llama_7b", "nodes": "2"}, {"8 gpus (not 2 nodes of 8)"}),
        ({"model": "llama_7b", "precision": "tf32"}, {"precision fp32 without TF32"}),
        ({"model": "llama_7b", "precision": "fp4"}, {"precision bf16 (not 'fp4')"}),
        ({"model": "llama_7b", "global_batch": "4M tokens"}, {"a batch of 1024 for 4M tokens"}),
        ({"model": "llama_7b", "global_batch": "4194304"}, {"a batch of 1024 for 4194304 tokens"}),
        ({"model": "llama_7b", "global_batch": "2k"}, set()),
    ],
)  # fmt: skip
def test_what_is_believed_is_noted(row: dict[str, str], notes: set[str]) -> None:
    defaults = {"hardware": "h100", "n_gpus": "8", "gpus_per_node": "8", "tp": "2", "pp": "1",
              "vpp": "1", "cp": "1", "ep": "1", "seq_len": "4k", "global_batch": "64",
              "micro_batch": "1", "zero": "megatron zero1", "recompute": "none",
              "precision": "bf16", "flash_attn": "1", "seq_parallel": "1"}  # fmt: skip
    (note,) = read(**{**defaults, **row}).notes
    assert set(note.split(", ")) - {""} == notes


def test_a_batch_of_tokens_is_known_where_a_step_is_measured() -> None:
    row = {**FULL, "global_batch": "", "batch_tokens": "64k", "tokens_per_s_per_gpu": "1000"}
    assert read(**row).points.global_batch.tolist() == [64]
    assert read(**row).step_seconds.tolist() == pytest.approx([4.096])


def test_micro_batches_of_a_step_make_its_batch() -> None:
    sheet = read(**{**FULL, "global_batch": "", "grad_accum": "16"})  # x 2 x dp 2
    assert (sheet.points.global_batch.tolist(), sheet.notes) == ([64], [""])


@pytest.mark.parametrize(
    ("notes", "name", "expected"),
    [
        ("num-layers-per-virtual-pipeline-stage=2", "vpp", 3.0),  # 12 layers on each of 2 stages
        ("untie-embeddings-and-output-weights=True; x", "tied", 0.0),
        ("num-experts=8; moe-router-topk=1", "experts", 8.0),
        ("num-experts=8; moe-router-topk=1", "top_k", 1.0),
        ("swiglu=True", "gated", 1.0),
        ("attention-backend=unfused;", "flash", 0.0),
        ("tp=4", "tp", 2.0),  # a column has the last word
    ],
)
def test_arguments_in_the_notes(notes: str, name: str, expected: float) -> None:
    row = {"layers": "12", "hidden": "1024", "ffn": "4096", "pp": "2", "tp": "2", "n_gpus": "8"}
    assert value(name, backend="megatron", notes=notes, **row) == expected


def test_an_axis_of_kernels_tells_whether_attention_is_flash() -> None:
    assert [value("flash", kernel=kernel) for kernel in ("torch", "megatron", "flash2")] == [
        0,
        0,
        1,
    ]
    assert value("flash", kernel="flash2", flash_attn="0") == 0  # its own column has the last word


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"zero_stage_or_strategy": "ZeRO 7"}, "zero 1 (not 'ZeRO 7')"),
        ({"tp": "-8"}, "tp 1 (not '-8')"),
        ({"n_gpus": "0"}, "n_gpus 8 (not '0')"),
        ({"recompute": "maybe"}, "recompute none (not 'maybe')"),
        ({"hardware": "V100"}, "hardware h100 (not 'V100')"),
        ({"model": "gpt5"}, "no model 'gpt5' is known"),
    ],
)
def test_what_cannot_be_used_is_named(row: dict[str, str], note: str) -> None:
    assert note in read(**row).notes[0].split(", ")
