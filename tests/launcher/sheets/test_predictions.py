"""Rows of sheets other people made: what each word means, and what is assumed without it."""

from pathlib import Path

import numpy as np
import pytest

from launcher.cli import main
from launcher.errors import ConfigError
from launcher.planner.engines import ENGINES
from launcher.planner.points import GIB, NUMBER_FORMATS, RECOMPUTE
from launcher.sheets import predictions, rules
from launcher.sheets.sheet import Sheet
from launcher.sheets.sheet import read as read_rows
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.shape import ModelShape
from tests.conftest import ROOT
from tests.launcher.planner.made import FIXED


def cluster(name: str, peak: float) -> Cluster:
    card = Accelerator(name=name.upper(), memory_gib=78.6, bf16_tflops=peak, fp32_tflops=20.0,
                       fp8_tflops=2 * peak, memory_gb_s=3000.0, link_gb_s=300.0)  # fmt: skip
    return Cluster(name=name, nodes=2, gpus_per_node=8, accelerator=card, network_gb_s=50.0)


CLUSTERS = {"a100": cluster("a100", 312.0), "h100": cluster("h100", 989.0)}

MODELS = {
    "llama_7b": ModelShape(name="llama_7b", layers=32, hidden=4096, ffn=11008, heads=32, kv_heads=32,
                           vocab=32000, sequence=4096),
    "llama3_70b": ModelShape(name="llama3_70b", layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8,
                             vocab=128256, sequence=8192),
    "gpt3_175b": ModelShape(name="gpt3_175b", layers=96, hidden=12288, ffn=49152, heads=96, kv_heads=96,
                            vocab=51200, sequence=2048, gated=False, tied=True),
    "qwen3_30b_a3b": ModelShape(name="qwen3_30b_a3b", layers=48, hidden=2048, ffn=768, heads=32, kv_heads=4,
                                vocab=151936, sequence=4096, head_width=128, experts=128, top_k=8),
}  # fmt: skip


def read(**row: str) -> Sheet:
    return read_rows([row], CLUSTERS, MODELS)


def value(name: str, **row: str) -> float:
    return float(getattr(read(**row).points, name)[0])


FULL = {
    "hardware": "H100", "n_gpus": "16", "gpus_per_node": "4", "layers": "24", "hidden": "2048",
    "ffn": "5632", "heads": "16", "kv_heads": "4", "experts": "8", "top_k": "3", "vocab": "32000",
    "seq_len": "1024", "global_batch": "64", "micro_batch": "2", "tp": "2", "pp": "2", "vpp": "2",
    "cp": "2", "ep": "2", "zero_stage_or_strategy": "1", "backend": "megatron",
    "recompute": "selective", "seq_parallel": "1", "precision": "bf16", "flash_attn": "0",
    "gated": "1", "tied": "0",
}  # fmt: skip


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
        "offload": 0, "gated": 1, "tied": 0,
    }  # fmt: skip
    assert {name: getattr(sheet.points, name)[0] for name in expected} == expected


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


def test_an_empty_row_is_a_7b_model_on_a_node_of_h100() -> None:
    sheet = read()
    names = [note.split(" ")[0] for note in sheet.notes[0].split(", ")]
    assert {"hardware", "n_gpus", "params_b", "seq_len", "micro_batch", "zero"} <= set(names)
    params = 12 * sheet.points.layers[0] * sheet.points.hidden[0] ** 2
    assert params == pytest.approx(7e9, rel=0.02)
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
    ("row", "kind"),
    [
        ({}, "reserved"),
        ({"notes": "memory from nvidia-smi"}, "device"),
        ({"notes": "max_memory_allocated of rank 0"}, "allocated first"),
        ({"notes": "Allocated, last rank"}, "allocated last"),
        ({"mem_kind": "device", "notes": "allocated"}, "device"),
        ({"mem_kind": "reserved", "notes": "nvidia-smi"}, "reserved"),
    ],
)
def test_what_a_memory_figure_means(row: dict[str, str], kind: str) -> None:
    assert read(**row).memory_kinds == [kind]


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        # 64 x 1024 tokens, at 16 x 1000 tokens a second
        ({"tokens_per_s_per_gpu": "1000"}, 4.096),
        ({"tokens_per_s_per_gpu": "1000", "step_s": "3"}, 3.0),
        ({"step_s": "3"}, 3.0),
        ({"tokens_per_s_per_gpu": "1000", "global_batch": ""}, np.nan),  # of how many tokens?
        ({}, np.nan),
    ],
)
def test_seconds_of_a_step(row: dict[str, str], seconds: float) -> None:
    assert read(**{**FULL, **row}).step_seconds.tolist() == pytest.approx([seconds], nan_ok=True)


@pytest.mark.parametrize(
    ("row", "oom"),
    [
        ({"oom": "1"}, 1.0),
        ({"oom": "0"}, 0.0),
        ({"outcome": "OOM"}, 1.0),
        ({"outcome": "ok"}, 0.0),
        ({"outcome": "nccl"}, np.nan),
        ({"oom": "0", "outcome": "oom"}, 0.0),
        ({"oom": "True"}, 1.0),  # as pandas writes it
        ({"oom": "no", "outcome": "failed"}, 0.0),
    ],
)
def test_what_did_not_fit(row: dict[str, str], oom: float) -> None:
    assert read(**row).oom.tolist() == pytest.approx([oom], nan_ok=True)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


TABLE = """\
# Source: somebody's runs, transcribed
# of last year
model,n_gpus,tp,tokens_per_s_per_gpu,comment
llama_7b,8,2,1000,"fine, though # is no remark here"
# the second node was slow
llama_7b,16,4,2000,#
"""


def test_lines_that_begin_with_a_hash_are_remarks(tmp_path: Path) -> None:
    sheet = predictions.read(write(tmp_path / "runs.csv", TABLE))
    assert sheet.speed.tolist() == [1000, 2000]
    assert sheet.points.tp.tolist() == [2, 4]
    assert [row["comment"] for row in sheet.rows] == ["fine, though # is no remark here", "#"]
    assert sheet.points.layers.tolist() == [32, 32]  # of conf/model/llama_7b.yaml


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "model,n_gpus\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no\.csv: no rows below its first line$"):
        predictions.read(write(tmp_path / "no.csv", text))


MESS = [
    ("\ufeffModel , # GPUs,TP size,Micro Batch Size\r\nllama_7b, 16 ,2,1\r\n,,,\r\n", 16, 2, 1),
    ("model;gpus;tensor_parallel;mbs\nllama_7b;16;2;1\n", 16, 2, 1),
    ("model\tnum_gpus\ttp\tmicro_batch_size\nllama_7b\t1,024\t2\t1\n", 1024, 2, 1),
    ('# gpus,model,tp,mbs,what\n16,llama_7b,2,1,"two\nlines"\n', 16, 2, 1),
    ("model,n_gpus,tp,micro_batch\nllama_7b,16,2,1,and,more\n", 16, 2, 1),
    ("model,n_gpus,gpus,tp,micro_batch\nllama_7b,,16,2,1\n", 16, 2, 1),
    ("mbs,model,GPUs,Tensor-Parallelism,n_gpus\n1,llama_7b,9,2,16\n", 16, 2, 1),
]


@pytest.mark.parametrize(("text", "gpus", "tp", "micro"), MESS)
def test_a_file_as_people_write_it(
    tmp_path: Path, text: str, gpus: float, tp: float, micro: float
) -> None:
    sheet = predictions.read(write(tmp_path / "runs.csv", text))
    p = sheet.points
    assert [len(p), p.gpus[0], p.tp[0], p.micro_batch[0], p.layers[0]] == [1, gpus, tp, micro, 32]
    title = text.lstrip("\ufeff").splitlines()[0]
    assert next(iter(sheet.written[0])) == title.replace(";", ",").replace("\t", ",").split(",")[0]


def test_columns_are_passed_through_as_they_are(tmp_path: Path) -> None:
    text = "GPUs, model ,my own,zero\n 8 , llama_7b ,  x ,ZeRO-3\n8,llama_7b\n"
    first, second = predictions.predicted(predictions.read(write(tmp_path / "r.csv", text)), FIXED)
    cells = {"GPUs": " 8 ", " model ": " llama_7b ", "my own": "  x ", "zero": "ZeRO-3"}
    added = ["pred_mem_gib", "pred_oom_prob", "pred_step_ms", "pred_tokens_per_s_per_gpu",
                   "plan_outcome", "plan_reason", "plan_note"]  # fmt: skip
    assert list(first) == [*cells, *added]
    assert {name: first[name] for name in cells} == cells
    assert [second[name] for name in cells] == ["8", "llama_7b", "", ""]


def test_a_sheet_none_of_whose_columns_is_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of its columns is known: name, value$"):
        predictions.read(write(tmp_path / "r.csv", "name,value\na,1\n"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: No such file or directory$"):
        predictions.read(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"model\n\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.csv: .*can't decode"):
        predictions.read(tmp_path / "latin.csv")


def test_a_row_may_be_short(tmp_path: Path) -> None:
    sheet = predictions.read(
        write(tmp_path / "runs.csv", "model,n_gpus,tp,recompute\nllama_7b,8\n")
    )
    assert sheet.points.tp.tolist() == [1]


def test_predictions_are_beside_the_columns_of_the_sheet(tmp_path: Path) -> None:
    text = "model,hardware,n_gpus,global_batch,micro_batch,remark\n" \
           "llama_7b,h100,8,64,1,mine\nllama3_70b,h100,8,64,1,too large\n"  # fmt: skip
    small, large = predictions.predicted(
        predictions.read(write(tmp_path / "runs.csv", text)), FIXED
    )
    assert (small["remark"], small["plan_outcome"], small["plan_reason"]) == ("mine", "ok", None)
    assert small["pred_oom_prob"] < 0.01 < 0.99 < large["pred_oom_prob"]
    assert large["plan_outcome"] == "oom"
    assert large["plan_reason"].endswith("GiB, the device has 78.6")
    # 64 x 4096 tokens of 8 cards; the milliseconds are rounded
    speed = 64 * 4096 / 8 / small["pred_step_ms"] * 1e3
    assert small["pred_tokens_per_s_per_gpu"] == pytest.approx(speed, rel=1e-4)
    assert "seq_len 4096" in small["plan_note"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, None),
        ({"tp": "3"}, "tp 3 does not divide 8 gpus"),
        ({"tp": "", "global_batch": "3"}, None),  # tp may have been 8
        ({"global_batch": "3"}, "micro_batch 1 x dp 8 (8) does not divide global_batch 3"),
        ({"global_batch": "64", "micro_batch": "3", "n_gpus": ""},
         "micro_batch 3 does not divide global_batch 64"),
        ({"global_batch": "4", "micro_batch": ""},
         "micro_batch 1 x dp 8 (8) does not divide global_batch 4"),
        ({"global_batch": "", "micro_batch": "3"}, None),
        ({"n_gpus": "", "tp": "3"}, "tp 3 does not divide heads 32"),
        ({"n_gpus": "", "nodes": "2", "pp": "6"}, "pp 6 does not divide 16 gpus"),
        ({"n_gpus": "12", "tp": "3", "model": "ours"}, None),  # heads are a guess
        ({"n_gpus": "12", "tp": "3", "model": "ours", "heads": "32"}, "tp 3 does not divide heads 32"),
        ({"n_gpus": "12", "tp": "3", "heads": "33", "hidden": "4224", "ffn": "11000"},
         "tp 3 does not divide ffn 11000"),
        ({"n_gpus": "12", "tp": "3", "heads": "33", "hidden": "4224", "kv_heads": "33"}, None),
        ({"model": "ours", "hidden": "4096", "heads": "31"}, "heads 31 does not divide hidden 4096"),
        ({"model": "ours", "heads": "31"}, None),  # hidden is a guess
        ({"pp": "8", "vpp": "8", "global_batch": "64"}, "pp 8 x vpp 8 (64) is more than layers 32"),
        ({"model": "ours", "pp": "8", "vpp": "8", "global_batch": "64"}, None),
        ({"n_gpus": "48", "cp": "6", "seq_len": "4096"}, "2 x cp (12) does not divide sequence 4096"),
        ({"n_gpus": "48", "cp": "6"}, None),  # seq_len is a guess
        ({"tp": "2.5"}, "tp 2.5 is no whole number"),
        ({"ep": "8"}, "ep 8 needs a model with experts, llama_7b is dense"),
        ({"ep": "8", "model": "ours"}, None),  # nothing is text of its experts
        ({"ep": "8", "model": "ours", "experts": "12"}, "ep 8 does not divide experts 12"),
        ({"model": "mixtral_8x7b", "n_gpus": "64", "ep": "8"}, None),
        ({"model": "mixtral_8x7b", "n_gpus": "64", "ep": "16"}, "ep 16 does not divide experts 8"),
        ({"model": "mixtral_8x7b", "n_gpus": "64", "ep": "3"}, "ep 3 does not divide experts 8"),
        ({"model": "mixtral_8x7b", "n_gpus": "64", "tp": "3", "ep": "8"},
         "tp 3 does not divide 64 gpus"),
    ],
)  # fmt: skip
def test_what_stated_numbers_rule_out_is_rejected(
    tmp_path: Path, row: dict[str, str], reason: str | None
) -> None:
    cells = {"model": "llama_7b", "n_gpus": "8", "tp": "1", "pp": "1", "micro_batch": "1",
             "global_batch": "192", **row}  # fmt: skip
    text = f"{','.join(cells)}\n{','.join(cells.values())}\n"
    (prediction,) = predictions.predicted(predictions.read(write(tmp_path / "r.csv", text)), FIXED)
    assert (prediction["plan_outcome"] == "rejected") == (reason is not None)
    if reason:
        assert prediction["plan_reason"] == reason


def test_the_sheet_kept_by_hand_is_rejected_where_its_numbers_do_not_divide() -> None:
    rows = predictions.predicted(
        predictions.read(ROOT / "tests/data/tanuki_phase1_grid.csv"), FIXED
    )
    assert {
        row["row"]: row["plan_reason"] for row in rows if row["plan_outcome"] == "rejected"
    } == {
        "10": "tp 6 x pp 6 (36) does not divide 16 gpus",
        "52": "micro_batch 3 x dp 8 (24) does not divide global_batch 512",
        "66": "pp 6 does not divide 16 gpus",
        "75": "micro_batch 3 x dp 24 (72) does not divide global_batch 1536",
    }


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


def test_the_table_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "run,model,n_gpus,tp,zero,recompute,remark,global_batch,micro_batch\n"
    text += f"a,llama_7b,8,2,ZeRO-3,full,{'long ' * 40},64,1\n"
    text += "b,llama_65b,8,1,zero1+offload,,,64,2\nc,a model with quite a long name,8,3,,,,64,1\n"
    path = write(tmp_path / "runs.csv", text)
    assert main(["plan", "--runs", str(path), "--sort=-pred_step_ms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0].split() == ["row", "id", "model", "layout", "gpus", "mem_gib", "oom_prob",
                                "step_ms", "tok_s_gpu", "plan"]  # fmt: skip
    second, first, third = [line for line in lines if line[:5].strip().isdigit()]
    assert second.split()[:3] == ["2", "b", "llama_65b"]
    assert " z1+offload mbs2 " in second
    assert "oom: needs " in second
    assert " tp2 z3 full mbs1 " in first
    assert "a model with quite.. " in third
    assert "rejected: tp 3 does not" in third
    output = " ".join(lines)
    assert "assumed in all rows: pp 1, cp 1, ep 1, hardware h100," in output
    assert "in row 1: seq_len 4096" in output
    assert "in rows 2-3" not in output  # their notes differ

    assert main(["plan", "--runs", str(path), "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("run,model,n_gpus,tp,zero,recompute,remark,global")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # Megatron-DeepSpeed adds bf16 gradients up in fp32 beside them, and has no flash attention
        ({"backend": "Megatron-DeepSpeed"},
         {"engine": ENGINES.index("deepspeed"), "gradient_bytes": 6, "flash": 0}),
        ({"backend": "deepspeed"},
         {"engine": ENGINES.index("deepspeed"), "gradient_bytes": 6, "flash": 1}),
        # of which nothing is text: as the paper of ZeRO counts it
        ({}, {"engine": ENGINES.index("deepspeed"), "gradient_bytes": 2, "flash": 1, "dropout": 0}),
        ({"backend": "megatron", "ffn": "8192"}, {"gradient_bytes": 4, "dropout": 1, "tied": 1}),
        ({"backend": "megatron", "ffn": "5632"}, {"gradient_bytes": 4, "dropout": 0, "tied": 0}),
        ({"backend": "nemo", "precision": "fp8", "zero": "ddp"}, {"gradient_bytes": 2, "zero": 1}),
        ({"backend": "megatron", "precision": "fp8", "zero": "ddp"}, {"gradient_bytes": 4, "zero": 0}),
        ({"source": "llm-foundry", "zero": "fsdp"},
         {"engine": ENGINES.index("fsdp"), "fused_loss": 1, "gradient_bytes": 4}),
        ({"source": "torchtitan", "zero": "fsdp"}, {"fused_loss": 0}),
    ],
)  # fmt: skip
def test_what_a_framework_does_unasked(row: dict[str, str], expected: dict[str, float]) -> None:
    sizes = {"hidden": "2048", "layers": "24", "precision": "bf16"}
    points = read(**{**sizes, **row}).points
    assert {name: float(getattr(points, name)[0]) for name in expected} == expected


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


def test_what_notes_tell_of_virtual_stages_rejects_nothing() -> None:
    row = {
        "layers": "12",
        "hidden": "1024",
        "pp": "4",
        "tp": "1",
        "n_gpus": "8",
        "micro_batch": "4",
    }
    several = {**row, "global_batch": "40", "backend": "megatron"}  # 5 micro batches
    noted = read(**several, notes="num-layers-per-virtual-pipeline-stage=1")
    assert rules.broken(noted, 0) is None
    assert "does not divide the 5 micro batches" in (
        rules.broken(read(**several, vpp="3"), 0) or ""
    )


def test_an_axis_of_kernels_tells_whether_attention_is_flash() -> None:
    assert [value("flash", kernel=kernel) for kernel in ("torch", "megatron", "flash2")] == [
        0,
        0,
        1,
    ]
    assert value("flash", kernel="flash2", flash_attn="0") == 0  # its own column has the last word


def test_columns_called_much_like_others_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.csv", "Modell,GPUs,tp,url,remark\nllama_7b,8,1,x,y\n")
    assert main(["plan", "--runs", str(path)]) == 0
    output = capsys.readouterr()
    assert output.err == "launch: column 'Modell' is not read; did you mean 'model'?\n"


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"zero_stage_or_strategy": "ZeRO 7"}, "zero 1 (not 'ZeRO 7')"),
        ({"tp": "-8"}, "tp 1 (not '-8')"),
        ({"n_gpus": "0"}, "n_gpus 8 (not '0')"),
        ({"recompute": "maybe"}, "recompute none (not 'maybe')"),
        ({"hardware": "V100"}, "hardware h100 (not 'V100')"),
        ({"model": "gpt5"}, "no model 'gpt5' is known"),
        ({"model": "tbd"}, "params_b 7"),
    ],
)
def test_what_cannot_be_used_is_named(row: dict[str, str], note: str) -> None:
    assert note in read(**row).notes[0].split(", ")
