"""Forward passes of a step: what a layout recomputes runs twice, all else once.

Modules: launcher.workers.engines.deepspeed_pipeline, launcher.workers.model.gpt.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.workers import ranks
from tests.launcher.workers.engines.test_parity import DS, block, modules, pipeline, uniform

COUNTING = """
    from launcher.workers.model.attention import CausalAttention, RMSNorm
    from megatron.core.transformer.mlp import MLP
    from megatron.core.transformer.moe.router import TopKRouter
    from megatron.core.transformer.transformer_layer import TransformerLayer
    def count(kind):
        forward = kind.forward
        def counted(self, *args, **kwargs):
            print("forward of", kind.__name__, flush=True)
            return forward(self, *args, **kwargs)
        kind.forward = counted
    for kind in (CausalAttention, RMSNorm, MLP, TopKRouter, TransformerLayer):
        count(kind)
"""

LAYERS = 4 * ranks.TINY.layers
"""Layers of the 4 micro batches of a step."""

ONCE = {"TransformerLayer": LAYERS, "CausalAttention": LAYERS, "MLP": LAYERS, "RMSNorm": 2 * LAYERS}
"""Forward passes on one rank without recomputation, the final norm aside."""

EXPERTS = {"model__experts": 4}

PASSES: list[tuple[int, dict[str, Any], dict[str, int]]] = [
    (1, {}, {}),
    (1, {"layout__recompute": "selective"}, {"CausalAttention": 2 * LAYERS}),
    (1, modules("layernorm"), {"RMSNorm": 4 * LAYERS}),
    (1, modules("mlp", "core_attn"), {"MLP": 2 * LAYERS, "CausalAttention": 2 * LAYERS}),
    (1, block(3), {name: count * 7 // 4 for name, count in ONCE.items()}),
    (1, uniform(2), {name: count * 2 for name, count in ONCE.items()}),
    (1, {**DS, "layout__zero": 3, **modules("layernorm")}, {"RMSNorm": 4 * LAYERS}),
    # the first of two stages has half of the layers, and no final norm
    (2, {**DS, "layout__pp": 2}, {name: count // 2 for name, count in ONCE.items()}),
    (
        2,
        {**DS, **pipeline("Et*3|tL"), **block(2)},  # 2 of its 3 layers
        {name: count * 3 // 4 + count * 2 // 4 for name, count in ONCE.items()},
    ),
]
"""Ranks, layout, and the forward passes of rank 0 where they are others than `ONCE`."""


@pytest.mark.parametrize(("count", "changes", "passes"), PASSES)
def test_what_is_recomputed_runs_twice(
    count: int, changes: dict[str, Any], passes: dict[str, int], tmp_path: Path, cache: Path
) -> None:
    counts = _forward_passes(count, changes, tmp_path, cache)
    if count == 1:
        counts["RMSNorm"] -= 4  # the final one, of each micro batch
    assert dict(counts) == ONCE | passes


def test_a_router_runs_again_with_its_experts(tmp_path: Path, cache: Path) -> None:
    counts = _forward_passes(1, {**EXPERTS, **modules("moe")}, tmp_path, cache)
    assert counts["TopKRouter"] == 2 * LAYERS
    assert counts["CausalAttention"] == LAYERS


def test_only_the_activation_of_experts_runs_again(tmp_path: Path, cache: Path) -> None:
    patch = """
    from launcher.workers.model.experts import StackedExperts
    activate, multiply = StackedExperts._activate, StackedExperts._multiply
    def activated(self, *args):
        print("forward of activation", flush=True)
        return activate(self, *args)
    def multiplied(self, *args):
        print("forward of product", flush=True)
        return multiply(self, *args)
    StackedExperts._activate, StackedExperts._multiply = activated, multiplied
    """
    counts = _forward_passes(1, {**EXPERTS, **modules("moe_act")}, tmp_path, cache, patch)
    assert (counts["activation"], counts["product"]) == (2 * LAYERS, 2 * LAYERS)
    assert counts["TopKRouter"] == LAYERS


def _forward_passes(
    count: int, changes: dict[str, Any], folder: Path, cache: Path, patch: str = ""
) -> Counter[str]:
    """Forward passes of each kind of module in the one step of rank 0."""
    spec = ranks.spec(count, train__steps=1, **changes)
    run = ranks.train(spec, folder, cache, patch=COUNTING + patch)
    assert run.codes == [0] * count, run.log()
    lines = run.log().splitlines()
    return Counter(line.split()[-1] for line in lines if line.startswith("forward of "))
