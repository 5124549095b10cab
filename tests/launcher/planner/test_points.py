"""Points as columns: from specs and from rows, and what follows from their fields."""

import itertools
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from launcher.backends import engine_traits
from launcher.planner.engines import ENGINES, Engine, EngineTraits
from launcher.planner.memory import fullest_rank
from launcher.planner.points import CARD, CPU, Points, device_fields
from launcher.planner.steptime import step_time
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from tests.conftest import spec
from tests.launcher.planner.made import FIXED, point, points

MODEL = ModelShape(
    name="moe", layers=4, hidden=64, ffn=128, heads=4, kv_heads=2, vocab=300, sequence=32,
    head_width=32, experts=8, top_k=3, gated=False, tied=True,
)  # fmt: skip

H100 = Accelerator(name="h100", memory_gib=78.6, bf16_tflops=989.0, fp32_tflops=67.0,
                   memory_gb_s=3350.0, link_gb_s=450.0)  # fmt: skip


def one(layout: ParallelLayout, backend: str = "deepspeed", precision: str = "bf16") -> RunSpec:
    where = Cluster(name="c", nodes=2, gpus_per_node=8, accelerator=H100, network_gb_s=50.0)
    base = spec(layout, backend=backend, global_batch=64, precision=precision)
    return replace(base, model=MODEL, cluster=where)


def test_a_spec_and_the_row_of_its_values_are_the_same_point() -> None:
    layout = ParallelLayout(tp=2, pp=2, vpp=2, cp=2, ep=4, zero=2, micro_batch=4, offload=True,
                            recompute="full")  # fmt: skip
    row = point(
        layers=4, hidden=64, ffn=128, heads=4, kv_heads=2, head_dim=32, vocab=384, sequence=32,
        experts=8, top_k=3, gated=0, tied=1, tp=2, pp=2, vpp=2, cp=2, ep=4, sp=1, zero=2,
        shards=4,  # 16 cards / (tp 2 x pp 2): the ranks of cp have the same weights
        micro_batch=4, recompute="full", offload=1, flash=1, fused=0, engine="deepspeed",
        number_format="bf16", gradient_bytes=4, gpus=16, gpus_per_node=8, global_batch=64, cpu=0,
        peak=989e12, peak_half=989e12, memory=78.6 * 2**30, memory_rate=3350e9, link_rate=450e9,
        network_rate=50e9,
    )  # fmt: skip
    found = Points.from_specs([one(layout)], engine_traits)
    expected = Points.from_rows([row])
    for field in fields(Points):
        name = field.name
        assert getattr(found, name).tolist() == pytest.approx(getattr(expected, name).tolist()), (
            name
        )


@pytest.mark.parametrize(
    ("backend", "precision", "zero", "gradient"),
    [
        ("megatron", "bf16", 1, 4),
        ("megatron", "fp32", 0, 4),
        ("deepspeed", "fp32", 1, 4),
        ("deepspeed", "bf16", 0, 6),  # bf16 ones beside those that are accumulated
        ("deepspeed", "bf16", 1, 6),
        ("deepspeed", "bf16", 2, 4),
        ("deepspeed", "bf16", 3, 4),
    ],
)
def test_bytes_of_gradient(backend: str, precision: str, zero: Any, gradient: float) -> None:
    found = Points.from_specs([one(ParallelLayout(zero=zero), backend, precision)], engine_traits)
    assert found.gradient_bytes.tolist() == [gradient]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_of_ones_own_is_predicted_like_the_one_it_names(engine: Engine) -> None:
    """Of an engine the planner never heard of it asks whose formulas fit, and the gradient."""
    layout = ParallelLayout(tp=2, pp=2, zero=1, micro_batch=2, sequence_parallel=True)
    traits = EngineTraits(engine=engine, gradient_bytes=2.0)
    own = Points.from_specs([one(layout, backend="in_house")], lambda _: traits)
    named = replace(
        Points.from_specs([one(layout, backend="megatron")], engine_traits),
        engine=np.array([float(ENGINES.index(engine))]),
        gradient_bytes=np.array([2.0]),
    )
    assert fullest_rank(own, FIXED.memory).allocated == fullest_rank(named, FIXED.memory).allocated
    assert step_time(own, FIXED.time).total == step_time(named, FIXED.time).total


def test_a_thousand_specs_are_columns_of_a_thousand() -> None:
    sizes = itertools.product((1, 2, 4, 8), (1, 2, 4), range(1, 22), (0, 1, 2, 3))
    layouts = [ParallelLayout(tp=tp, pp=pp, micro_batch=micro, zero=zero)  # type: ignore[arg-type]
               for tp, pp, micro, zero in sizes][:1000]  # fmt: skip
    found = Points.from_specs([one(layout) for layout in layouts], engine_traits)
    assert len(found) == 1000
    for name in ("tp", "pp", "micro_batch", "zero", "sp"):
        assert getattr(found, name).tolist() == [getattr(layout, name) for layout in layouts]
    assert found.dp.tolist() == [layout.dp(16) or 1 for layout in layouts]
    assert set(found.hidden.tolist()) == {64.0}
    assert found[np.array([999, 0])].micro_batch.tolist() == [layouts[999].micro_batch, 1]


def test_no_point_at_all() -> None:
    assert len(Points.from_rows([])) == len(Points.from_specs([], engine_traits)) == 0


def test_what_follows_from_the_fields() -> None:
    some = points(
        {"gpus": 16, "tp": 2, "pp": 2, "cp": 2, "micro_batch": 2, "global_batch": 32},
        {"kv_heads": 2, "gated": 1},
        {"experts": 8, "top_k": 3, "recompute": "selective"},
        {"gpus": 64, "global_batch": 8, "recompute": "full"},
    )
    # 16 / (2 x 2 x 2); 32 / (2 x 2) sequences; 2 x 512 / 2 tokens
    assert (some.dp[0], some.accumulation[0], some.micro_batch_tokens[0]) == (2, 8, 512)
    assert some.accumulation[3] == 1  # fewer sequences than ranks: never less than one
    assert some.query_width.tolist() == [1024] * 4
    assert some.key_width.tolist() == [1024, 256, 1024, 1024]
    assert some.attention_params.tolist()[:2] == [4 * 1024**2, 2.5 * 1024**2]
    assert some.ffn_params.tolist()[:2] == [2 * 1024 * 4096, 3 * 1024 * 4096]
    assert some.active_ffns.tolist() == [1, 1, 3, 1]
    assert some.selective_recompute.tolist() == [False, False, True, False]
    assert some.full_recompute.tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("number", "peak", "half"),
    [("bf16", 989, 989), ("fp16", 989, 989), ("fp32", 67, 67), ("fp8", 1979, 989)],
)
def test_the_peak_follows_the_numbers(number: Any, peak: float, half: float) -> None:
    found = device_fields(replace(H100, fp8_tflops=1979.0), number, 50.0)
    assert (found["peak"], found["peak_half"]) == (peak * 1e12, half * 1e12)


def test_a_card_without_fp8_computes_in_bf16() -> None:
    assert device_fields(H100, "fp8", None)["peak"] == 989e12


@pytest.mark.parametrize(("name", "like"), [("B9000", CARD), ("cpu", CPU)])
def test_what_is_not_stated_of_a_device_is_a_guess(name: str, like: Accelerator) -> None:
    found = device_fields(Accelerator(name=name), "bf16", None)
    assert found["peak"] == (like.bf16_tflops or 0) * 1e12
    assert found["memory_rate"] == (like.memory_gb_s or 0) * 1e9
    assert found["link_rate"] == (like.link_gb_s or 0) * 1e9
    assert found["network_rate"] == found["link_rate"] / 8
    assert found["memory"] == math.inf
    assert found["cpu"] == (name == "cpu")
