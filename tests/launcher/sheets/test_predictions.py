"""Predictions beside the columns of a sheet, and the table that a person reads."""

from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.sheets import predictions
from tests.launcher.planner.made import FIXED
from tests.launcher.sheets.made import write


def test_columns_are_passed_through_as_they_are(tmp_path: Path) -> None:
    text = "GPUs, model ,my own,zero\n 8 , llama_7b ,  x ,ZeRO-3\n8,llama_7b\n"
    first, second = predictions.predicted(predictions.read(write(tmp_path / "r.csv", text)), FIXED)
    cells = {"GPUs": " 8 ", " model ": " llama_7b ", "my own": "  x ", "zero": "ZeRO-3"}
    added = ["pred_mem_gib", "pred_oom_prob", "pred_step_ms", "pred_tokens_per_s_per_gpu",
                   "plan_outcome", "plan_reason", "plan_note"]  # fmt: skip
    assert list(first) == [*cells, *added]
    assert {name: first[name] for name in cells} == cells
    assert [second[name] for name in cells] == ["8", "llama_7b", "", ""]


def test_predictions_are_beside_the_columns_of_the_sheet(tmp_path: Path) -> None:
    text = (
        "model,hardware,n_gpus,global_batch,micro_batch,remark\n"
        "llama_7b,h100,8,64,1,mine\nllama3_70b,h100,8,64,1,too large\n"
    )
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


def test_columns_called_much_like_others_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.csv", "Modell,GPUs,tp,url,remark\nllama_7b,8,1,x,y\n")
    assert main(["plan", "--runs", str(path)]) == 0
    output = capsys.readouterr()
    assert output.err == "launch: column 'Modell' is not read; did you mean 'model'?\n"


def planned(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    return predictions.predicted(predictions.read(write(tmp_path / "r.csv", text)), FIXED)


REFUSED = [
    ({"model": ""}, "no model is named, and no size of it is stated"),
    ({"model": "our model"}, "no model 'our model' is known, and no size of it is stated"),
    ({"model": "gpt5"}, "no model 'gpt5' is known, and no size of it is stated"),
    ({"model": "GPT-OSS 20B"}, "'GPT-OSS 20B' has experts, and how many is not stated"),
    ({"model": "our MoE 30B"}, "'our MoE 30B' has experts, and how many is not stated"),
    ({"model": "llama 7b moe"}, "'llama 7b moe' has experts, and how many is not stated"),
    ({"model": "ours 13B", "ep": "4"}, "ep 4 is of experts, and how many is not stated"),
    ({"model": "our MoE 30B", "experts": "8"},
     "layers and hidden of a model with experts are not stated"),
    ({"task": "LoRA"}, "adapters are trained, and no formula is of them"),
    ({"model": "llama2_70b_lora"}, "adapters are trained, and no formula is of them"),
    ({"model": "Mamba 2.8B"}, "'Mamba 2.8B' is no model of a decoder's layers alone"),
    *(({"precision": text}, f"no prediction is made for precision {text!r}")
      for text in ("NVFP4", "mxfp4", "int8", "FP8/NVFP4", "posit16")),
    *(({"recompute": text}, f"no prediction is made for recompute {text!r}")
      for text in ("partial", "every 2 layers", "1/2", "50%", "selective layer", "maybe", "mla_up_proj, layernorm")),
]  # fmt: skip


REFUSED += [
    ({"recompute": "selective", "recompute_modules": "mla_up_proj mlp"},
     "no prediction is made for recompute_modules 'mla_up_proj mlp'"),
    ({"pp": "2", "pipeline_layout": "Et*16|t*16mL"},
     "pipeline 'Et*16|t*16mL': 'm' is none of E, t, L, |, *n and ()*n"),
    ({"pp": "2", "pipeline_layout": "16 + 16"},
     "no prediction is made for pipeline_layout '16 + 16'"),
    ({"recompute_modules": "mla_up_proj"},
     "no prediction is made for recompute_modules 'mla_up_proj'"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), REFUSED)
def test_no_prediction_is_one_of_something_else(
    tmp_path: Path, row: dict[str, str], reason: str
) -> None:
    cells = {"model": "llama_7b", "n_gpus": "8", "global_batch": "64", **row}
    (prediction,) = planned(
        tmp_path, f"{','.join(cells)}\n" + ",".join(f'"{c}"' for c in cells.values())
    )
    assert (prediction["plan_outcome"], prediction["plan_reason"]) == ("unknown", reason)
    assert [prediction[name] for name in (*predictions.PREDICTED, "plan_note")] == [None] * 5


@pytest.mark.parametrize(
    "row",
    [
        {"model": "our 13B"}, {"model": "ours", "layers": "24", "hidden": "2048"}, {"model": "", "params_b": "7"},
        {"model": "Qwen3 MoE 30B"}, {"model": "GPT OSS 120B"}, {"model": "Nemotron-340B"}, {"model": "OpenLLaMA3B"},
        {"model": "our MoE", "layers": "24", "hidden": "2048", "experts": "8", "top_k": "2"},
        {"precision": "bf16 (not NVFP4)"}, {"precision": "amp_bf16"}, {"precision": "MXFP8"}, {"precision": "mixed"},
        {"precision": "FP8-CS (FP8-MX)"}, {"recompute": "core_attn"}, {"recompute": "Full (12 layers)"},
        {"task": "SFT"}, {"precision": "True"}, {"recompute": "full AC"}, {"recompute": "SAC"},
        {"recompute": "selective", "recompute_modules": "['mlp']"}, {"recompute": "full", "recompute_num_layers": "4"},
        {"strategy": "HSDP"}, {"FSDP": "8"},
    ],
)  # fmt: skip
def test_what_can_be_predicted_is(tmp_path: Path, row: dict[str, str]) -> None:
    cells = {"model": "llama_7b", "n_gpus": "8", "global_batch": "64", **row}
    (prediction,) = planned(tmp_path, f"{','.join(cells)}\n{','.join(cells.values())}\n")
    assert prediction["plan_outcome"] in ("ok", "oom")
    assert prediction["pred_step_ms"] > 0


def test_a_model_of_a_size_alone_is_said_to_be_a_guess(tmp_path: Path) -> None:
    (prediction,) = planned(tmp_path, "model,n_gpus\nour 13B,8\n")
    assert "no model 'our 13B' is known, layers 40, hidden 5120" in prediction["plan_note"]


def test_a_mixture_is_taken_for_itself(tmp_path: Path) -> None:
    (prediction,) = planned(tmp_path, "model,n_gpus,ep\nQwen3 MoE 30B,8,8\n")
    assert "model qwen3_30b_a3b" in prediction["plan_note"]
    assert "experts 0" not in prediction["plan_note"]


@pytest.mark.parametrize(
    ("text", "gpus", "note"),
    [
        ("model,parallel\nllama_7b,PP2DP2TP8\n", 32, None),
        ("model,dp,tp,cp\nllama_7b,4,2,2\n", 16, None),
        ('model,Parallelism\nllama_7b,"FSDP 8, TP 2, CP 4"\n', 64, None),
        ("model,\u914d\u7f6e\nllama_7b,H100 4\u673a32\u5361\uff084x8\uff09\n", 32, None),
        ("model,n_gpus,parallel\nllama_7b,64,PP2DP2TP8\n", 64, "dp 4 (not 2: 64 gpus / 16)"),
        ("model,n_gpus,FSDP,CP\nllama_7b,64,32,2\n", 64, None),
    ],
)
def test_cards_follow_from_the_degrees(
    tmp_path: Path, text: str, gpus: float, note: str | None
) -> None:
    sheet = predictions.read(write(tmp_path / "r.csv", text))
    assert sheet.points.gpus.tolist() == [gpus]
    notes = sheet.notes[0].split(", ")
    assert note in notes if note else not [part for part in notes if part.startswith("dp ")]
    assert not {"n_gpus"} & sheet.assumed[0]


def test_a_sequence_in_tokens_is_planned_as_it_is(tmp_path: Path) -> None:
    (prediction,) = planned(tmp_path, "Model,SeqLen (T),# GPUs,GPU\n7b,65536,8,h100_80gb\n")
    sheet = predictions.read(write(tmp_path / "r.csv", "Model,SeqLen (T),# GPUs\n7b,65536,8\n"))
    assert sheet.points.sequence.tolist() == [65536]
    assert "seq_len" not in prediction["plan_note"]


UNREAD = (
    "model,n_gpus,who,Activation CPUOffload,empty,tgs,MFU,loss,status,setup,layout\n"
    "llama_7b,8,me,no,-,1,2,3,ok,ours,tp2\n"
)


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_columns_that_are_not_read_are_told(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.csv", UNREAD)
    assert main(["plan", "--runs", str(path), "--format", form]) == 0
    output = capsys.readouterr()
    line = "not read: who, Activation CPUOffload, setup\n"
    assert (output.out if form == "table" else output.err).endswith(line)


def test_no_terms_of_a_row_without_a_prediction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.csv", "model,n_gpus\nour model,8\n")
    assert main(["plan", "--runs", str(path), "--explain", "1"]) == 2
    assert capsys.readouterr().err == (
        "launch: --explain 1: it has no prediction: no model 'our model' is known, and no size of it"
        " is stated\n"
    )
