"""Points as columns: from specs and from rows, and what follows from their fields.

Modules: launcher.planner.points, launcher.planner.engines.
"""

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
    name="moe",
    layers=4,
    hidden=64,
    ffn=128,
    heads=4,
    kv_heads=2,
    vocab=300,
    sequence=32,
    head_width=32,
    experts=8,
    top_k=3,
    gated=False,
    tied=True,
)

H100 = Accelerator(
    name="h100",
    memory_gib=78.6,
    bf16_tflops=989.0,
    fp32_tflops=67.0,
    memory_gb_s=3350.0,
    link_gb_s=450.0,
)


def moe_spec(
    layout: ParallelLayout, backend: str = "deepspeed", precision: str = "bf16"
) -> RunSpec:
    where = Cluster(name="c", nodes=2, gpus_per_node=8, accelerator=H100, network_gb_s=50.0)
    base = spec(layout, backend=backend, global_batch=64, precision=precision)
    return replace(base, model=MODEL, cluster=where)


def test_a_spec_and_the_row_of_its_values_are_the_same_point() -> None:
    layout = ParallelLayout(
        tp=2,
        pp=2,
        vpp=2,
        cp=2,
        ep=4,
        zero=2,
        micro_batch=4,
        offload=True,
        recompute="full",
        recompute_layers=2,
        recompute_method="block",
        dispatcher="allgather",
        pipeline="E|tt|t|tL",
    )
    row = point(
        layers=4,
        stages=[1, 3],  # with vpp 2 the first has chunks 0 and 2
        hidden=64,
        ffn=128,
        heads=4,
        kv_heads=2,
        head_dim=32,
        vocab=384,
        sequence=32,
        experts=8,
        top_k=3,
        gated=0,
        tied=1,
        tp=2,
        pp=2,
        vpp=2,
        cp=2,
        ep=4,
        sp=1,
        zero=2,
        shards=4,  # 16 cards / (tp 2 x pp 2): the ranks of cp have the same weights
        micro_batch=4,
        recompute="full",
        recompute_layers=2,
        offload=1,
        dispatcher=1,
        flash=1,
        fused=0,
        engine="deepspeed",
        number_format="bf16",
        gradient_bytes=4,
        reduced_bytes=4,
        sums_late=1,
        gpus=16,
        gpus_per_node=8,
        global_batch=64,
        cpu=0,
        peak=989e12,
        peak_half=989e12,
        memory=78.6 * 2**30,
        memory_rate=3350e9,
        link_rate=450e9,
        network_rate=50e9,
    )
    columns = Points.from_specs([moe_spec(layout)], engine_traits)
    expected = Points.from_rows([row])
    for field in fields(Points):
        name = field.name
        assert getattr(columns, name).tolist() == pytest.approx(getattr(expected, name).tolist()), (
            name
        )


@pytest.mark.parametrize(
    ("backend", "precision", "zero", "gradient", "in_bf16"),
    [
        ("megatron", "bf16", 1, 4, 2),  # it accumulates in what it reduces in
        ("megatron", "fp32", 0, 4, None),
        ("deepspeed", "fp32", 1, 4, None),
        ("deepspeed", "bf16", 0, 6, 6),  # bf16 ones beside those that are accumulated
        ("deepspeed", "bf16", 1, 4.25, 4.25),  # and what this one of 16 ranks has reduced
        ("deepspeed", "bf16", 2, 4, 4),
        ("deepspeed", "bf16", 3, 4, 4),
    ],
)
def test_bytes_of_gradient(
    backend: str, precision: str, zero: Any, gradient: float, in_bf16: float | None
) -> None:
    base = moe_spec(ParallelLayout(zero=zero), backend, precision)
    columns = Points.from_specs([base], engine_traits)
    assert columns.gradient_bytes.tolist() == [gradient]
    assert columns.reduced_bytes.tolist() == [4]
    if in_bf16 is not None:
        reduced = replace(base, train=replace(base.train, reduce_precision="bf16"))
        columns = Points.from_specs([reduced], engine_traits)
        assert columns.gradient_bytes.tolist() == [in_bf16]
        assert columns.reduced_bytes.tolist() == [2]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_of_ones_own_is_predicted_like_the_one_it_names(engine: Engine) -> None:
    """Only its traits count, the planner has never heard of its name."""
    layout = ParallelLayout(tp=2, pp=2, zero=1, micro_batch=2, sequence_parallel=True)
    traits = EngineTraits(engine=engine, gradient_bytes=2.0)
    unheard_of = Points.from_specs([moe_spec(layout, backend="in_house")], lambda _: traits)
    known_engine = replace(
        Points.from_specs([moe_spec(layout, backend="megatron")], engine_traits),
        engine=np.array([float(ENGINES.index(engine))]),
        gradient_bytes=np.array([2.0]),
        sums_late=np.array([float(engine == "deepspeed")]),  # in a pipeline
    )
    assert (
        fullest_rank(unheard_of, FIXED.memory).allocated
        == fullest_rank(known_engine, FIXED.memory).allocated
    )
    assert step_time(unheard_of, FIXED.time).total == step_time(known_engine, FIXED.time).total


def test_a_thousand_specs_are_columns_of_a_thousand() -> None:
    sizes = itertools.product((1, 2, 4, 8), (1, 2, 4), range(1, 22), (0, 1, 2, 3))
    layouts = [
        ParallelLayout(tp=tp, pp=pp, micro_batch=micro, zero=zero)  # type: ignore[arg-type]
        for tp, pp, micro, zero in sizes
    ][:1000]
    columns = Points.from_specs([moe_spec(layout) for layout in layouts], engine_traits)
    assert len(columns) == 1000
    for name in ("tp", "pp", "micro_batch", "zero", "sp"):
        assert getattr(columns, name).tolist() == [getattr(layout, name) for layout in layouts]
    assert columns.dp.tolist() == [layout.dp(16) or 1 for layout in layouts]
    assert set(columns.hidden.tolist()) == {64.0}
    assert columns[np.array([999, 0])].micro_batch.tolist() == [layouts[999].micro_batch, 1]


def test_no_point_at_all() -> None:
    assert len(Points.from_rows([])) == len(Points.from_specs([], engine_traits)) == 0


def test_what_follows_from_the_fields() -> None:
    columns = points(
        {"gpus": 16, "tp": 2, "pp": 2, "cp": 2, "micro_batch": 2, "global_batch": 32},
        {"kv_heads": 2, "gated": 1},
        {"experts": 8, "top_k": 3, "recompute": "selective"},
        {"gpus": 64, "global_batch": 8, "recompute": "full"},
    )
    # 16 / (2 x 2 x 2); 32 / (2 x 2) sequences; 2 x 512 / 2 tokens
    assert (columns.dp[0], columns.accumulation[0], columns.micro_batch_tokens[0]) == (2, 8, 512)
    assert columns.accumulation[3] == 1  # fewer sequences than ranks: never less than one
    assert columns.query_width.tolist() == [1024] * 4
    assert columns.key_width.tolist() == [1024, 256, 1024, 1024]
    assert columns.attention_params.tolist()[:2] == [4 * 1024**2, 2.5 * 1024**2]
    assert columns.ffn_params.tolist()[:2] == [2 * 1024 * 4096, 3 * 1024 * 4096]
    assert columns.active_ffns.tolist() == [1, 1, 3, 1]
    assert columns.repeated.shares.tolist() == [[0] * 5, [0] * 5, [1, 0, 0, 0, 0], [1] * 5]


@pytest.mark.parametrize(
    ("number", "peak", "half"),
    [("bf16", 989, 989), ("fp16", 989, 989), ("fp32", 67, 67), ("fp8", 1979, 989)],
)
def test_the_peak_follows_the_numbers(number: Any, peak: float, half: float) -> None:
    values = device_fields(replace(H100, fp8_tflops=1979.0), number, 50.0)
    assert (values["peak"], values["peak_half"]) == (peak * 1e12, half * 1e12)


def test_a_card_without_fp8_computes_in_bf16() -> None:
    assert device_fields(H100, "fp8", None)["peak"] == 989e12


@pytest.mark.parametrize(("name", "stand_in"), [("B9000", CARD), ("cpu", CPU)])
def test_what_is_not_stated_of_a_device_is_a_guess(name: str, stand_in: Accelerator) -> None:
    values = device_fields(Accelerator(name=name), "bf16", None)
    assert values["peak"] == (stand_in.bf16_tflops or 0) * 1e12
    assert values["memory_rate"] == (stand_in.memory_gb_s or 0) * 1e9
    assert values["link_rate"] == (stand_in.link_gb_s or 0) * 1e9
    assert values["network_rate"] == values["link_rate"] / 8
    assert values["memory"] == math.inf
    assert values["cpu"] == (name == "cpu")
