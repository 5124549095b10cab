"""Seconds of a step, against sums worked out by hand, and against what cannot be."""

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from launcher.backends import engine_traits
from launcher.errors import LayoutError
from launcher.planner.constants import constants_of
from launcher.planner.points import Points
from launcher.planner.steptime import StepTime, TimeConstants, step_time
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.shape import ModelShape
from tests.conftest import spec
from tests.launcher.planner.made import FIXED, only, points

N, H, V, L, M = 512, 1024, 1024, 4, 8
"""Tokens of a micro batch, sizes of the model, micro batches of a step on one card."""

LAYER_FLOPS, HEAD_FLOPS = 2 * N * 12 * H * H, 2 * N * H * V
"""Forward, of the matrix products: 2 per parameter and token; a layer has 12 h^2 of them."""

SCORE_FLOPS = 2 * N * 512 * H
"""Forward: 4 n s q, half of it as attention is causal."""

WORK = replace(only(FIXED.time), flash=0.5)
"""Nothing but FLOPs and bytes."""

SHARE = 312e12 * 0.8

FAST_MEMORY: dict[str, Any] = {"memory_rate": 1e30}


def seconds(constants: TimeConstants = WORK, **changes: Any) -> StepTime:
    return step_time(points(**changes), constants)


@pytest.mark.parametrize(
    ("changes", "forward"),
    [
        ({}, LAYER_FLOPS),
        ({"gated": 1}, LAYER_FLOPS + 2 * N * H * 4096),
        ({"kv_heads": 2}, LAYER_FLOPS - 2 * N * H * 2 * 768),
        ({"experts": 4}, LAYER_FLOPS + 2 * N * 8 * H * H),  # every token visits two
        ({"tp": 2, "gpus": 2}, LAYER_FLOPS / 2),
    ],
)
def test_matrix_products_take_their_flops_at_the_share_of_the_peak(
    changes: dict[str, Any], forward: float
) -> None:
    t = changes.get("tp", 1)
    # Backward is twice forward, and 2.5 times for flash attention, which has no scores stored.
    layers = L * (3 * forward + 3.5 * SCORE_FLOPS / t / 0.5)
    head = 3 * HEAD_FLOPS / t
    step = seconds(**FAST_MEMORY, **changes)
    assert step.compute[0] == pytest.approx(M * (layers + head) / SHARE, rel=1e-6)


def test_a_large_model_takes_its_model_flops() -> None:
    model = ModelShape(
        name="7b",
        layers=32,
        hidden=4096,
        ffn=11008,
        heads=32,
        kv_heads=32,
        vocab=32000,
        sequence=2048,
    )
    run = replace(
        spec(global_batch=8, precision="bf16"), model=model, cluster=cluster("a100", 1, 1)
    )
    total = step_time(Points.from_specs([run], engine_traits), replace(WORK, flash=1.0)).total[0]
    ideal = run.tokens_per_step * model.flops_per_token / SHARE
    assert 1.0 < total / ideal < 1.25  # norms, the optimizer, and attention's fifth product


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"peak": 990e12, "peak_half": 990e12}, 990e12 * 0.8 * 0.9),
        ({"peak": 1980e12, "peak_half": 990e12, "number_format": "fp8"}, 1980e12 * 0.8 * 0.9 * 0.7),
        ({"peak": 19.5e12, "peak_half": 19.5e12, "number_format": "fp32"}, 19.5e12 * 0.8),
        ({"peak": 1e12, "peak_half": 1e12, "cpu": 1}, 1e12),
    ],
)
def test_share_of_the_peak(changes: dict[str, Any], share: float) -> None:
    # all products and no attention: flash infinitely fast
    c = replace(WORK, matmul_h100=0.9, matmul_fp8=0.7, flash=1e30, cpu_launch=0.0)
    step = seconds(c, **FAST_MEMORY, **changes, sequence=1, micro_batch=512, global_batch=4096)
    assert step.compute[0] == pytest.approx(
        M * 3 * (L * LAYER_FLOPS + HEAD_FLOPS) / share, rel=2e-3
    )


def test_small_products_are_slower() -> None:
    c = replace(WORK, half_rows=512.0, flash=1e30)
    # 512 rows: half the speed
    half_speed, full_speed = (
        seconds(work, **FAST_MEMORY).compute[0] for work in (c, replace(c, half_rows=0.0))
    )
    assert half_speed / full_speed == pytest.approx(2.0)


def test_norms_and_activation_functions_take_their_bytes() -> None:
    c = replace(WORK, flash=1e30, matmul=1.0)
    slow = {"memory_rate": 1e6, "peak": 1e30, "peak_half": 1e30}
    # Forward per token and layer, in bytes: (26 h + 8 x 4 h), and of products inputs, weights and
    # outputs. Three times that, and 12 per logit and its product; at 0.8 of 1 MB/s.
    c = replace(c, matmul_h100=1.0)
    elementwise = 26 * H + 8 * 4096
    products = [(H, 3 * H), (H, H), (H, 4096), (4096, H)]
    moved = sum(2 * (N * a + a * b + N * b) for a, b in products)
    head = 2 * (N * H + H * V + N * V) + 12 * N * V
    bytes_moved = M * 3 * (L * (N * elementwise + moved) + head)
    assert seconds(c, **slow).compute[0] == pytest.approx(bytes_moved / 0.8e6, rel=1e-6)


def test_a_step_is_no_faster_than_its_kernels_are_launched() -> None:
    c = replace(WORK, launch=1.0)
    # 14 kernels forward and twice as many backward
    step = seconds(c)
    assert step.compute[0] + step.host[0] == pytest.approx(M * L * 3 * 14, rel=1e-3)
    assert step.host[0] > 0.99 * step.total[0]


def test_full_recomputation_adds_a_forward_pass() -> None:
    c = replace(WORK, flash=1e30)
    step = seconds(c, **FAST_MEMORY, recompute="full")
    assert step.recompute[0] == pytest.approx(M * L * LAYER_FLOPS / SHARE, rel=1e-6)
    assert seconds(c, **FAST_MEMORY).recompute[0] == 0
    full, none = (seconds(c, tp=2, gpus=2, recompute=r).tensor[0] for r in ("full", "none"))
    assert full / none == pytest.approx(6 / 4)  # collectives of the forward pass, again


def test_selective_recomputation_adds_attention() -> None:
    step = seconds(**FAST_MEMORY, recompute="selective")
    assert step.recompute[0] == pytest.approx(M * L * SCORE_FLOPS / (SHARE * 0.5))


def test_modules_that_are_recomputed_add_their_part_of_a_forward_pass() -> None:
    c = replace(WORK, flash=1e30)
    mlp = {"recompute": "selective", "recompute_modules": ("mlp",)}
    step = seconds(c, **FAST_MEMORY, **mlp)
    feed_forward = 2 * N * 2 * H * 4096
    assert step.recompute[0] == pytest.approx(M * L * feed_forward / SHARE, rel=1e-6)
    tensor = [
        seconds(c, tp=2, gpus=2, **choice).tensor[0]
        for choice in ({}, mlp, {"recompute": "selective", "recompute_modules": ("layernorm",)})
    ]
    assert np.divide(tensor, tensor[0]) == pytest.approx([1, 5 / 4, 1])
    experts = [
        seconds(c, experts=4, ep=4, gpus=4, global_batch=4 * M, **choice).experts[0]
        for choice in ({}, {"recompute": "selective", "recompute_modules": ("moe",)}, {"recompute": "full"})
    ]  # fmt: skip
    assert np.divide(experts, experts[0]) == pytest.approx([1, 6 / 4, 6 / 4])


def test_the_activation_function_of_experts_alone_repeats_no_product() -> None:
    constants = replace(WORK, flash=1e30, ffn_bytes=6.0, launch=1e-6)

    def step(*modules: str) -> StepTime:
        choice = {"recompute": "selective", "recompute_modules": modules} if modules else {}
        return seconds(constants, experts=4, ep=4, gpus=4, global_batch=4 * M, **choice)

    none, activation, block = step(), step("moe_act"), step("moe")
    assert activation.experts == none.experts < block.experts
    moved = 6 * 4096 * 2 * N  # of two experts
    rate = points().memory_rate[0] * constants.memory
    assert activation.recompute[0] == pytest.approx(M * L * moved / rate)
    assert activation.recompute < block.recompute


def test_a_block_of_layers_adds_so_many_forward_passes() -> None:
    c = replace(WORK, flash=1e30)
    block: dict[str, Any] = {"recompute": "full", "recompute_layers": 1}
    whole, part, pairs = (
        seconds(c, **FAST_MEMORY, **choice).recompute[0]
        for choice in ({"recompute": "full"}, block, {"recompute": "full", "recompute_layers": 2, "recompute_method": "uniform"})
    )  # fmt: skip
    assert part / whole == pytest.approx(1 / L)
    assert pairs == whole


@pytest.mark.parametrize(
    "shape",
    [{}, {"tp": 2, "gpus": 2, "sp": 1}, {"pp": 2, "gpus": 2}, {"cpu": 1}],
    ids=["one", "tensor", "pipeline", "cpu"],
)
def test_the_more_is_recomputed_the_longer_a_step_takes(shape: dict[str, Any]) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"recompute": "selective", "recompute_modules": ("layernorm",)},
        {"recompute": "selective", "recompute_modules": ("layernorm", "mlp")},
        {"recompute": "full", "recompute_layers": 15},  # of 16 layers
        {"recompute": "full"},
    ]
    shape = {"layers": 16 * shape.get("pp", 1), **shape}
    totals = [seconds(FIXED.time, **shape, **kind).total[0] for kind in kinds]
    assert (np.diff(totals) > 0).all()


@pytest.mark.parametrize(
    ("pp", "vpp", "batches", "share"),
    [(4, 1, 8, 3 / 8), (4, 2, 8, 3 / 16), (2, 2, 2, 1 / 4), (4, 1, 1, 3), (1, 1, 8, 0)],
)
def test_the_bubble(pp: int, vpp: int, batches: int, share: float) -> None:
    """(p - 1) / (v m) of the ideal time, arXiv:2104.04473 section 2.2."""
    c = replace(WORK, exposed_sends=0.0)
    sizes: dict[str, Any] = {"pp": pp, "vpp": vpp, "gpus": pp, "global_batch": batches, "vocab": 1}
    step = seconds(c, **FAST_MEMORY, **sizes)
    assert step.bubble[0] / step.compute[0] == pytest.approx(share, rel=1e-3)


def test_the_slowest_stage_sets_the_pace() -> None:
    c = replace(WORK, flash=1e30, exposed_sends=0.0)
    sizes: dict[str, Any] = {"layers": 8, "pp": 4, "gpus": 4, **FAST_MEMORY}
    layer = 3 * LAYER_FLOPS / SHARE
    head = 3 * 2 * N * H * V / SHARE
    for stages, seconds_of_stage in (
        ([2, 2, 2, 2], 2 * layer + head),
        ([1, 2, 4, 1], 4 * layer),  # the head takes less than the 3 layers the last one lacks
        ([1, 1, 1, 5], 5 * layer + head),
        ([0, 4, 4, 0], 4 * layer),
    ):
        step = seconds(c, **sizes, stages=stages)
        assert step.compute[0] == pytest.approx(M * seconds_of_stage, rel=1e-6), stages


def test_tensor_parallel_all_reduces() -> None:
    c = replace(only(FIXED.time, "collective"), collective=20e-6, link=0.7)
    # 4 all-reduces of n h bf16 in each layer: 2 (t - 1) / t of the bytes, at 0.7 of 300 GB/s
    all_reduce = 2 * 3 / 4 * N * H * 2 / 210e9 + 20e-6 * 2
    assert seconds(c, tp=4, gpus=4).tensor[0] == pytest.approx(M * L * 4 * all_reduce)
    assert seconds(c, gpus=4).tensor[0] == 0


def test_context_parallel_ring() -> None:
    c = replace(only(FIXED.time, "collective"), collective=20e-6, link=0.7)
    # Keys and values of the other 3 ranks, forward, and with their gradients backward: 3 times.
    tokens = 512 / 4
    ring = 3 * (2 * H * tokens * 3 * 2 / 210e9 + 3 * 20e-6)
    assert seconds(c, cp=4, gpus=4).tensor[0] == pytest.approx(M * L * ring)


def test_expert_parallel_all_to_all() -> None:
    c = replace(only(FIXED.time, "collective"), collective=20e-6, link=0.7)
    # Twice forward, twice backward: two copies of each token, of which 3 of 4 go to other ranks.
    dispatch = N * 2 * H * 2 * 3 / 4 / 210e9 + 20e-6 * 2
    experts = seconds(c, experts=4, ep=4, gpus=4, global_batch=4 * M).experts[0]
    assert experts == pytest.approx(M * L * 4 * dispatch)


def test_all_tokens_to_all_ranks() -> None:
    c = only(FIXED.time, "link")
    shape = {"experts": 4, "ep": 4, "gpus": 4, "global_batch": 4 * M, "dispatcher": 1}
    # Each rank sends its tokens to the 3 others in bf16, and gets as many sums back in fp32.
    assert seconds(c, **shape).experts[0] == pytest.approx(M * L * 2 * N * H * (2 + 4) * 3 / 210e9)
    in_fp32 = shape | {"number_format": "fp32"}
    each_to_its_own = seconds(c, **in_fp32 | {"dispatcher": 0, "top_k": 4}).experts[0]
    assert seconds(c, **in_fp32).experts[0] == pytest.approx(each_to_its_own)


def test_context_parallel_ranks_reduce_like_data_parallel_ones() -> None:
    """16 ranks of two nodes hold the same weights, however they share the work."""
    step = [
        seconds(zero=1, gpus=16, micro_batch=8 * cp, global_batch=128, cp=cp).data[0]
        for cp in (1, 4)
    ]
    assert step[0] == pytest.approx(step[1], rel=1e-3)


def test_experts_are_next_to_each_other_whatever_tp_is() -> None:
    c = replace(only(FIXED.time), link=0.7, network=0.75)
    shared: dict[str, Any] = {"experts": 8, "ep": 8, "gpus": 8, "global_batch": M}
    alone = seconds(c, **shared, tp=1, micro_batch=1).experts[0]
    split = seconds(c, **shared, tp=8, sp=1, micro_batch=1).experts[0]
    # 8 micro batches instead of one; each rank sends its eighth of the tokens, inside the node
    assert split == pytest.approx(alone)


def test_the_optimizer_of_experts_is_shared_by_fewer_ranks() -> None:
    common = {"gpus": 8, "zero": 1, "global_batch": 8, "experts": 8}
    replicated, spread = seconds(**common).optimizer[0], seconds(**common, ep=8).optimizer[0]
    assert spread == pytest.approx(
        replicated
    )  # an eighth of the experts, of which one rank has all


def test_tokens_for_experts_of_other_nodes_cross_the_network() -> None:
    c = replace(only(FIXED.time), link=0.7, network=0.75)
    # Of four experts in two nodes of two, one of the other three is in the same node.
    dispatch = N * 2 * H * 2 * (1 / 4 / 210e9 + 1 / 2 / (0.75 * 25e9))
    experts = seconds(c, experts=4, ep=4, gpus=4, gpus_per_node=2, global_batch=4 * M).experts[0]
    assert experts == pytest.approx(M * L * 4 * dispatch)


def test_sends_between_stages() -> None:
    c = replace(only(FIXED.time, "send"), send=40e-6, exposed_sends=0.5)
    # There and back, once for each of 2 chunks; half of n h bf16 is hidden.
    send = 0.5 * N * H * 2 / 210e9 + 40e-6
    assert seconds(c, pp=2, vpp=2, gpus=2).pipeline[0] == pytest.approx(M * 2 * 2 * send)
    across = 0.5 * N * H * 2 / (0.75 * 25e9) + 40e-6
    pipeline = seconds(c, pp=2, gpus=2, gpus_per_node=1).pipeline[0]
    assert pipeline == pytest.approx(M * 2 * across)


DATA_PARAMS = L * 12 * H * H + V * H


def test_gradients_are_reduced_once_a_step() -> None:
    # (d - 1) / d of the fp32 gradients and of the bf16 weights, of which 0.3 is not hidden
    large = {"micro_batch": 8, "zero": 1}
    step = seconds(gpus=4, global_batch=32, **large)
    assert step.data[0] == pytest.approx(0.3 * (4 + 2) * 3 / 4 * DATA_PARAMS / 210e9)
    # half of that in bf16, on either engine; without ZeRO gradients go both ways
    step = seconds(gpus=4, global_batch=32, reduced_bytes=2, **large)
    assert step.data[0] == pytest.approx(0.3 * (2 + 2) * 3 / 4 * DATA_PARAMS / 210e9)
    step = seconds(gpus=4, global_batch=32, micro_batch=8, zero=0)
    assert step.data[0] == pytest.approx(0.3 * (4 + 4) * 3 / 4 * DATA_PARAMS / 210e9)
    assert seconds(gpus=1).data[0] == 0
    # Eight cards of a node send to the next one: each has a card of 25 GB/s, which together are
    # less than the links inside.
    step = seconds(gpus=16, global_batch=128, **large)
    assert step.data[0] == pytest.approx(0.3 * 6 * 15 / 16 * DATA_PARAMS / (8 * 0.75 * 25e9))


def test_the_last_backward_pass_hides_what_it_can_of_the_reduction() -> None:
    slow = {"gpus": 4, "zero": 1, "link_rate": 1e9}
    once = 6 * 3 / 4 * DATA_PARAMS / 0.7e9
    last = seconds(**slow).compute[0] * 4 / M * 2 / 3  # 2 micro batches on each of 4 cards
    assert 0.3 * once < seconds(**slow).data[0] < once
    assert seconds(**slow).data[0] == pytest.approx(once - last, rel=0.02)  # and not of the head


def test_each_rank_adds_to_gathering_under_zero() -> None:
    c = replace(only(FIXED.time), ring=5e-6)
    alike = {"gpus": 16, "link_rate": 1e30, "network_rate": 1e30}
    assert seconds(c, zero=1, **alike).data[0] == pytest.approx(2 * (L + 2) * 5e-6 * 15)
    assert seconds(c, zero=1, shards=4, **alike).data[0] == pytest.approx(2 * (L + 2) * 5e-6 * 3)
    assert seconds(c, zero=0, **alike).data[0] == pytest.approx(0)


@pytest.mark.parametrize(("layers", "more"), [(4, 1.0), (5, 0.0)])
def test_the_head_fills_the_place_of_a_layer_that_the_last_stage_lacks(
    layers: int, more: float
) -> None:
    """A head smaller than a layer costs nothing then; with an even split it comes on top."""
    split = {"pp": 2, "gpus": 2, "layers": layers}
    with_head = seconds(**split).compute[0]
    without = seconds(**split, vocab=1e-9).compute[0]
    head = seconds(layers=0).compute[0] - seconds(layers=0, vocab=1e-9).compute[0]
    assert (with_head - without) / head == pytest.approx(more, abs=0.01)


def test_zero_2_reduces_gradients_of_each_micro_batch() -> None:
    common: dict[str, Any] = {"gpus": 4, "zero": 2, "micro_batch": 8, "global_batch": 128}
    step = seconds(**common)  # 4 micro batches
    once = 3 / 4 * DATA_PARAMS / 210e9
    assert step.data[0] == pytest.approx(0.3 * (4 * 4 + 2) * once)
    slow = seconds(**common, link_rate=1e9)  # each backward pass hides what it can
    backward = seconds(**common).compute[0] * 2 / 3
    assert slow.data[0] == pytest.approx((4 * 4 + 2) * once * 300 - backward, rel=0.05)


def test_zero_3_gathers_weights_for_each_micro_batch() -> None:
    common: dict[str, Any] = {"gpus": 4, "zero": 3, "micro_batch": 4, "global_batch": 128}
    step = seconds(**common)  # 8 micro batches
    # weights for forward and backward in bf16, gradients in fp32
    gathers = (2 + 2 + 4) * 3 / 4 * DATA_PARAMS / 210e9 * 8
    assert gathers < step.compute[0]  # what is hidden has room
    assert step.data[0] == pytest.approx(0.2 * gathers)
    slow = seconds(**common, link_rate=1e9)  # and here it has not
    late = gathers * 300 - slow.compute[0]
    assert slow.data[0] == pytest.approx(late, rel=1e-3)


@pytest.mark.parametrize(("zero", "calls"), [(0, 1), (1, 1), (2, 8), (3, 3 * (4 + 2) * 8)])
def test_collectives_of_data_parallel_ranks_take_time_of_their_own(zero: int, calls: int) -> None:
    """ZeRO 2 reduces after each of 8 micro batches; ZeRO 3 gathers each layer twice besides."""
    c = replace(only(FIXED.time, "collective"), collective=20e-6)
    step = seconds(c, gpus=4, global_batch=32, zero=zero, engine="deepspeed", link_rate=1e30)
    assert step.data[0] == pytest.approx(calls * 20e-6 * 2)


def test_experts_are_reduced_where_they_are() -> None:
    """With one of four experts on each rank, as much as a dense model's feed-forward blocks."""
    common = {"gpus": 4, "micro_batch": 8, "global_batch": 32}
    moe, dense = seconds(experts=4, ep=4, **common), seconds(**common)
    assert moe.data[0] == pytest.approx(dense.data[0])
    # with two on each, 8 h^2 more per layer
    more = seconds(experts=8, ep=4, **common).data[0] / dense.data[0]
    assert more == pytest.approx(1 + L * 8 * H * H / DATA_PARAMS)
    # and split like all else where there is no expert parallelism: half of four, between two ranks
    half = (L * (4 + 4 * 8) * H * H + V * H) / 2
    data = seconds(experts=4, tp=2, **common).data[0]
    assert data == pytest.approx(0.3 * 8 * 1 / 2 * half / 210e9)


def test_the_optimizer_reads_and_writes_28_bytes_per_parameter() -> None:
    unsplit = 28 * DATA_PARAMS / (0.8 * 2039e9)
    assert seconds(gpus=4).optimizer[0] == pytest.approx(unsplit)
    assert seconds(gpus=4, zero=1).optimizer[0] == pytest.approx(unsplit / 4)


@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("tp", [2, 4, 8])
def test_tensor_parallelism_is_faster_inside_a_node_than_across(tp: int, recompute: str) -> None:
    inside, across = (
        step_time(points(tp=tp, gpus=8, gpus_per_node=n, recompute=recompute), FIXED.time)
        for n in (8, tp // 2)
    )
    assert inside.tensor[0] < across.tensor[0]
    assert inside.total[0] < across.total[0]


CORE = {"cpu": 1, "peak": 0.05e12, "peak_half": 0.05e12, "memory_rate": 8e9, "link_rate": 1e9,
        "network_rate": 0.125e9}  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "constants"),
    [
        ({}, FIXED.time),
        ({}, constants_of(None).time),
        ({}, replace(FIXED.time, exposed_gradients=1.0, exposed_gathers=0.1)),
        (CORE, FIXED.time),
    ],
    ids=["fixed", "shipped", "hidden", "cpu"],
)
def test_zero_3_never_communicates_less_than_zero_1(
    machine: dict[str, float], constants: TimeConstants
) -> None:
    rows = [
        {"gpus": gpus, "micro_batch": micro, "tp": tp, "gpus_per_node": node}
        for gpus in (2, 8, 64)
        for micro in (1, 4)
        for tp in (1, 2)
        for node in (1, 8)
    ]
    common = {"global_batch": 256, "engine": "deepspeed", **machine}
    zero3, zero1 = (
        step_time(points(*rows, **common, zero=zero), constants).data for zero in (3, 1)
    )
    assert (zero3 >= zero1 * (1 - 1e-9)).all()


def cluster(name: str, nodes: int, cards: int) -> Cluster:
    peak, fp32, memory, link = {
        "a100": (312.0, 19.5, 2039.0, 300.0),
        "h100": (989.4, 66.9, 3350.0, 450.0),
    }[name]
    card = Accelerator(
        name=name,
        memory_gib=78.6,
        bf16_tflops=peak,
        fp32_tflops=fp32,
        memory_gb_s=memory,
        link_gb_s=link,
    )
    return Cluster(name=name, nodes=nodes, gpus_per_node=cards, accelerator=card, network_gb_s=25.0)


MODELS = [
    ModelShape(name="tiny", layers=4, hidden=128, ffn=384, heads=4, kv_heads=4, vocab=2048,
               sequence=64),
    ModelShape(name="7b", layers=32, hidden=4096, ffn=11008, heads=32, kv_heads=32, vocab=32000,
               sequence=4096),
    ModelShape(name="moe", layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=32000,
               sequence=4096, experts=8),
    ModelShape(name="long", layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8,
               vocab=128256, sequence=32768),
]  # fmt: skip


RECOMPUTED: list[dict[str, Any]] = [
    {"recompute": "none"},
    {"recompute": "selective"},
    {"recompute": "selective", "recompute_modules": ("layernorm", "mlp")},
    {"recompute": "selective", "recompute_modules": ("core_attn", "moe")},
    {"recompute": "selective", "recompute_modules": ("moe_act",)},
    {"recompute": "full"},
    {"recompute": "full", "recompute_layers": 3},
    {"recompute": "full", "recompute_layers": 2, "recompute_method": "uniform"},
]


def some_specs(count: int) -> Iterator[RunSpec]:
    """Layouts that arithmetic allows, of few and of many cards."""
    draw = random.Random(0)
    while count:
        layout = ParallelLayout(
            tp=draw.choice((1, 2, 4, 8)),
            pp=draw.choice((1, 2, 4)),
            vpp=draw.choice((1, 2)),
            cp=draw.choice((1, 2)),
            zero=draw.choice((0, 1, 2, 3)),
            micro_batch=draw.choice((1, 2, 4, 16)),
            ep=draw.choice((1, 1, 2)),
            **draw.choice(RECOMPUTED),
        )
        where = cluster(draw.choice(("a100", "h100")), draw.choice((1, 4, 32)), 8)
        base = spec(
            layout,
            backend=draw.choice(("megatron", "deepspeed")),
            global_batch=draw.choice((256, 4096)),
            precision=draw.choice(("bf16", "fp32")),
        )
        drawn = dataclasses.replace(base, model=draw.choice(MODELS), cluster=where)
        try:
            drawn.check()
        except LayoutError:
            continue
        count -= 1
        yield drawn


def peak(spec: RunSpec) -> float:
    return 1e12 * (spec.cluster.accelerator.peak_tflops(spec.train.precision) or 0.0)


@pytest.mark.parametrize(
    "constants",
    [
        FIXED.time,
        constants_of(None).time,
        # as fast as the bounds of the fit allow
        replace(only(FIXED.time), matmul=1.0, flash=1.0, flash_h100=1.0, matmul_h100=1.0,
                memory=1.0, hidden_bytes=0.0, ffn_bytes=0.0, link=1.0, network=1.0),
    ],
    ids=["fixed", "shipped", "fastest"],
)  # fmt: skip
def test_nothing_is_faster_than_the_peak(constants: TimeConstants) -> None:
    specs = list(some_specs(300))
    step = step_time(Points.from_specs(specs, engine_traits), constants)
    share = [
        spec.tokens_per_step
        * spec.layout.hardware_flops_per_token(spec.model)
        / (seconds * spec.cluster.gpus * peak(spec))
        for spec, seconds in zip(specs, step.total, strict=True)
    ]
    assert min(share) > 0
    assert max(share) < 1
    assert max(share) > 0.5  # and not because all of it is far too slow
    terms = [getattr(step, term.name) for term in dataclasses.fields(StepTime)]
    assert (np.array(terms) >= 0).all()
    assert np.sum(terms, axis=0) == pytest.approx(step.total)


@pytest.mark.parametrize(
    ("layout", "longer"),
    [({"zero": 0}, 1.0), ({"zero": 1, "pp": 2}, 1.5)],
    ids=["no ZeRO", "pipeline"],
)
def test_what_is_summed_late_shows_in_full(layout: dict[str, int], longer: float) -> None:
    c = replace(FIXED.time, collective=0.0, ring=0.0, exposed_gradients=0.0)
    in_bf16 = {"gpus": 8, "reduced_bytes": 2, **layout}
    hidden = step_time(points(in_bf16), c).data[0]
    late = step_time(points(in_bf16 | {"sums_late": 1}), c).data[0]
    in_full = step_time(points(in_bf16), replace(c, exposed_gradients=1.0)).data[0]
    assert hidden < in_full
    # Under ZeRO 1 gradients are reduced and weights gathered; late they are all-reduced besides.
    assert late == pytest.approx(longer * in_full)


@pytest.mark.parametrize(
    ("backend", "layout", "late"),
    [
        ("deepspeed", {"zero": 0}, 1),
        ("deepspeed", {"zero": 1}, 0),
        ("deepspeed", {"zero": 1, "pp": 2}, 1),
        ("megatron", {"zero": 0, "pp": 2}, 0),
    ],
)
def test_only_deepspeed_sums_late(backend: str, layout: dict[str, Any], late: int) -> None:
    made = replace(spec(ParallelLayout(micro_batch=1, **layout)), backend=backend)
    assert Points.from_specs([made], engine_traits).sums_late.tolist() == [late]
