"""A deterministic run: the settings that cards need, on both engines, and the losses of one without.

Modules: launcher.workers.model.gpt. That two runs on cards are equal bit by bit, only cards show.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.workers import ranks

DS = {"backend": "deepspeed"}

SHOW = """
import torch
from launcher.workers.model import gpt
make = gpt.TransformerConfig
def shown(**options):
    config = make(**options)
    print("configured", config.deterministic_mode, config.cross_entropy_loss_fusion,
          torch.are_deterministic_algorithms_enabled())
    return config
gpt.TransformerConfig = shown
"""
"""Patch of a rank that prints what a deterministic run is to have."""


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (2, {"layout__tp": 2}),
        (2, {"layout__pp": 2, "layout__vpp": 2}),
        (2, {"model__experts": 4, "layout__ep": 2, "train__moe_aux_loss": 0.05}),
        (2, {"layout__recompute": "full"}),
        (2, {**DS, "layout__zero": 2}),
        (2, {**DS, "layout__zero": 3}),
        (2, {**DS, "layout__zero": 1, "layout__pp": 2}),
    ],
    ids=["tp", "pipeline", "moe", "recompute", "zero 2", "zero 3", "deepspeed pipeline"],
)
def test_determinism_changes_no_loss(
    tmp_path: Path, cache: Path, count: int, changes: dict[str, Any]
) -> None:
    losses = []
    for wanted in (False, True):
        spec = ranks.spec(count, train__steps=4, train__deterministic=wanted, **changes)
        ended = ranks.train(spec, tmp_path / str(wanted), cache, patch=SHOW)
        assert ended.codes == [0] * count, ended.log()
        assert f"configured {wanted} False {wanted}\n" in ended.log()
        losses.append(ended.losses)
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize(("deterministic", "fused"), [(False, True), (True, False)])
def test_the_fused_loss_of_cards_sums_in_no_order(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool, fused: bool
) -> None:
    from launcher.workers import libraries

    libraries.load("cpu")
    import torch

    from launcher.workers.model.gpt import transformer_config

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    precision = {"train__precision": "bf16", "train__deterministic": deterministic}
    assert transformer_config(ranks.spec(**precision)).cross_entropy_loss_fusion is fused
