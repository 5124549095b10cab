"""Activation checkpointing as several columns of a sheet state it together."""

import math
from typing import Any

import pytest

from launcher.planner.points import RECOMPUTE
from launcher.sheets import predictions, recomputation
from launcher.sheets.recomputation import Recomputation
from tests.launcher.planner.made import FIXED
from tests.launcher.sheets.made import read_conf

STATED: list[tuple[dict[str, str], Recomputation]] = [
    ({}, Recomputation()),
    ({"recompute": "none", "recompute_modules": "core_attn"}, Recomputation(kind="none")),
    ({"recompute": "full", "recompute_modules": "core_attn"}, Recomputation(kind="full")),
    ({"recompute": "selective"}, Recomputation(kind="selective", modules=("core_attn",))),
    ({"recompute": "selective", "recompute_modules": "None"}, Recomputation(kind="selective", modules=("core_attn",))),
    ({"recompute_modules": "None"}, Recomputation(kind="none")),
    ({"recompute_modules": "mlp layernorm"}, Recomputation(kind="selective", modules=("layernorm", "mlp"))),
    ({"recompute": "-", "recompute_modules": "['core_attn', 'moe']"},
     Recomputation(kind="selective", modules=("core_attn", "moe"))),
    ({"recompute": "selective", "recompute_modules": "mla_up_proj"}, Recomputation(kind="selective", modules=None)),
    ({"recompute_modules": "moe_act, layernorm"}, Recomputation(kind="selective", modules=("layernorm", "moe_act"))),
    ({"recompute": "partial", "recompute_modules": "mlp"}, Recomputation()),
    ({"recompute": "full", "recompute_layers": "4", "recompute_method": "Block"},
     Recomputation(kind="full", layers=4, method="block")),
    ({"recompute": "full", "recompute_layers": "2", "recompute_method": "uniform"},
     Recomputation(kind="full", layers=2, method="uniform")),
    ({"recompute": "full", "recompute_layers": "1", "recompute_method": "uniform"}, Recomputation(kind="full")),
    ({"recompute": "full", "recompute_layers": "4"}, Recomputation(kind="full", layers=4)),
    ({"recompute": "selective", "recompute_layers": "4"}, Recomputation(kind="selective", modules=("core_attn",))),
]  # fmt: skip


@pytest.mark.parametrize(("row", "stated"), STATED)
def test_what_is_stated(row: dict[str, str], stated: Recomputation) -> None:
    assert recomputation.read(row) == stated


MEGATRON = {"recompute_granularity": "full", "recompute_num_layers": "4"}

POINTS: list[tuple[dict[str, str], dict[str, float], str]] = [
    ({"recompute_granularity": "selective", "recompute_modules": "[mlp, layernorm]"},
     {"repeats_layernorm": 1, "repeats_feed_forward": 1, "repeats_core_attn": 0},
     "selective layernorm feed_forward"),
    ({"recompute_modules": "[moe_act]"}, {"repeats_moe_act": 1, "repeats_feed_forward": 0}, "selective moe_act"),
    ({"recompute": "selective"}, {"repeats_core_attn": 1, "repeats_feed_forward": 0}, "selective"),
    (MEGATRON | {"recompute_method": "block"}, {"recompute_layers": 4, "recompute_unit": 1}, "full block 4"),
    (MEGATRON, {"recompute_layers": 4, "recompute_unit": 1}, "full block 4"),
    (MEGATRON | {"recompute_method": "uniform"}, {"recompute_layers": math.inf, "recompute_unit": 4}, "full uniform 4"),
    ({"recompute": "full"}, {"recompute_layers": math.inf, "recompute_unit": 1}, "full"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "fields", "label"), POINTS)
def test_the_point_of_a_row(row: dict[str, str], fields: dict[str, Any], label: str) -> None:
    sheet = read_conf(model="llama_7b", n_gpus="8", **row)
    stated = {name: getattr(sheet.points, name)[0] for name in fields}
    assert stated == fields
    assert RECOMPUTE[int(sheet.points.recompute[0])] == label.split()[0]
    (line,) = predictions.brief(sheet, predictions.predicted(sheet, FIXED))
    assert f" {label} mbs1" in line["layout"]
    assumed = "recompute_method" in sheet.assumed[0]
    assert assumed == (row == MEGATRON)
