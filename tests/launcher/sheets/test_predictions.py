"""Predictions beside the columns of a sheet, and the table that a person reads."""

from pathlib import Path

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
