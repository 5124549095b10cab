"""Rows that cannot have run as stated."""

from pathlib import Path

import pytest

from launcher.sheets import predictions, rules
from tests.conftest import ROOT
from tests.launcher.planner.made import FIXED
from tests.launcher.sheets.made import read, write


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
        ({"pp": "2", "pipeline_layout": "Et*20|t*12L", "global_batch": "64"}, None),
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
