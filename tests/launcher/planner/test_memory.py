"""Bytes on the fullest rank, against sums worked out by hand from the published formulas."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from launcher.planner import memory
from launcher.planner.memory import STAGES, fullest_rank, required_bytes, stage_memory
from launcher.planner.points import GIB, Points
from launcher.spec.layout import ParallelLayout
from tests.launcher.planner.made import FIXED, LAYER_PARAMS, PLAIN, point, points

N, H, V, L = 512, 1024, 1024, 4
PARAMS = L * LAYER_PARAMS + 2 * V * H
"""Parameters of the whole model, untied; the final norm's 1024 are nowhere counted."""

LAYER = 8 * H + 4 * H + 4 * H + 4 * 4096 + 4 * 8
"""Bytes per token that a layer keeps, bf16: Korthikanti et al. count 34 h with 2 h of dropout's
masks, which nothing here uses, and flash attention keeps 4 bytes per head: 32 h + 4 a = 32800."""


def first(**changes: Any) -> memory.Memory:
    return stage_memory(points(**changes), PLAIN, "first")


@pytest.mark.parametrize(
    ("changes", "weight", "gradient", "optimizer"),
    [
        # Megatron-LM docs/dist_optimizer.md: bf16 18, 6 + 12 / d; fp16 20, 4 + 16 / d;
        # fp32 16, 8 + 8 / d
        ({}, 2, 4, 12),
        ({"zero": 1, "gpus": 4}, 2, 4, 3),
        ({"number_format": "fp16", "gradient_bytes": 2}, 2, 2, 16),
        ({"number_format": "fp16", "gradient_bytes": 2, "zero": 1, "gpus": 4}, 2, 2, 4),
        ({"number_format": "fp32"}, 4, 4, 8),
        ({"number_format": "fp32", "zero": 1, "gpus": 4}, 4, 4, 2),
        ({"number_format": "fp8"}, 2, 4, 12),
        # ZeRO, arXiv:1910.02054, figure 1 (K = 12): 2 + 2 + K; 4 + K / d; 2 + (2 + K) / d; 16 / d
        ({"engine": "deepspeed", "gradient_bytes": 2, "zero": 0, "gpus": 8}, 2, 2, 12),
        ({"engine": "deepspeed", "gradient_bytes": 2, "zero": 1, "gpus": 8}, 2, 2, 1.5),
        ({"engine": "deepspeed", "gradient_bytes": 2, "zero": 2, "gpus": 8}, 2, 0.25, 1.5),
        ({"engine": "deepspeed", "gradient_bytes": 2, "zero": 3, "gpus": 8}, 0.25, 0.25, 1.5),
        ({"engine": "deepspeed", "gradient_bytes": 6, "zero": 1, "gpus": 4}, 2, 6, 3),
        ({"engine": "deepspeed", "gradient_bytes": 2, "zero": 2, "gpus": 8, "offload": 1}, 2, 0.25, 0),
        # FSDP keeps fp32 weights, gradients and moments: 16 / d
        ({"engine": "fsdp", "zero": 3, "gpus": 8}, 0.5, 0.5, 1),
        # a group smaller than the data parallel ranks
        ({"zero": 1, "gpus": 8, "shards": 2}, 2, 4, 6),
        # context parallel ranks share a copy of the weights
        ({"zero": 1, "gpus": 4, "cp": 2}, 2, 4, 3),
    ],
)  # fmt: skip
def test_bytes_per_parameter(
    changes: dict[str, Any], weight: float, gradient: float, optimizer: float
) -> None:
    stage = first(**changes)
    states = (stage.weights, stage.gradients, stage.optimizer)
    per_param = [state[0] / PARAMS for state in states]
    assert per_param == pytest.approx([weight, gradient, optimizer])


@pytest.mark.parametrize(
    ("pp", "tied", "on_first", "on_last"),
    [(1, 0, 2, 2), (1, 1, 1, 1), (2, 0, 1, 1), (2, 1, 1, 1)],
)
def test_embeddings_are_on_the_first_and_the_last_stage(
    pp: int, tied: int, on_first: int, on_last: int
) -> None:
    point = points(pp=pp, gpus=pp, tied=tied)
    embeddings = [
        (stage_memory(point, PLAIN, stage).weights[0] / 2 - L / pp * LAYER_PARAMS) / (V * H)
        for stage in ("first", "last")
    ]
    assert embeddings == pytest.approx([on_first, on_last])


def test_tensor_parallel_ranks_split_all_but_the_norms() -> None:
    split = PARAMS - L * 2 * H
    assert first(tp=4, gpus=4).weights[0] == 2 * (split / 4 + L * 2 * H)


MOE = {"experts": 8, "gated": 1, "zero": 1, "vocab": 0}
"""An expert has 3 h f = 12582912 parameters, a router 8192, attention 4 h^2 = 4194304."""


@pytest.mark.parametrize(
    ("changes", "dense", "experts", "expert_shards"),
    [
        ({"gpus": 1}, 4194304, 8, 1),
        ({"gpus": 8}, 4194304, 8, 8),
        ({"gpus": 8, "ep": 4}, 4194304, 2, 2),  # 8 ranks hold 2 copies of 2 experts on each of 4
        ({"gpus": 8, "tp": 2}, 2097152, 4, 4),
        # with expert parallelism whole experts are spread over the tensor parallel ranks too
        ({"gpus": 8, "tp": 2, "ep": 8}, 2097152, 1, 1),
        ({"gpus": 8, "tp": 2, "ep": 4}, 2097152, 2, 2),
    ],
)  # fmt: skip
def test_experts_are_shared_among_fewer_ranks(
    changes: dict[str, Any], dense: float, experts: float, expert_shards: float
) -> None:
    fullest = first(**MOE, **changes)
    everywhere, expert = L * (dense + 2 * H + 8 * H), L * experts * 12582912
    shards = points(**changes).shards[0]
    assert fullest.weights[0] == 2 * (everywhere + expert)
    assert fullest.optimizer[0] == pytest.approx(
        12 * (everywhere / shards + expert / expert_shards)
    )


def modules(*names: str) -> dict[str, Any]:
    """Selective recomputation of some modules."""
    return {"recompute": "selective", "recompute_modules": names}


def layers(count: int, method: str = "block") -> dict[str, Any]:
    """Full recomputation of some layers."""
    return {"recompute": "full", "recompute_layers": count, "recompute_method": method}


@pytest.mark.parametrize(
    ("changes", "per_token"),
    [
        ({}, L * 32800),
        ({"micro_batch": 2}, 2 * L * 32800),
        ({"cp": 2, "gpus": 2}, L * 32800 / 2),
        ({"tp": 2, "gpus": 2}, L * (8192 + 24608 / 2)),  # 8 h on every rank
        ({"tp": 2, "gpus": 2, "sp": 1}, L * 32800 / 2),
        ({"gated": 1}, L * (32800 + 2 * 4096)),  # 6 f in place of 4 f
        ({"kv_heads": 2}, L * (32800 - 4 * 768)),  # 4 k, k = 2 x 128
        ({"experts": 4}, L * (32800 + 4 * 4096 + 4 * H * 2)),  # twice 4 f, and copies of the tokens
        # tokens of all 4 ranks, what came of them, and the sum in fp32
        ({"experts": 4, "ep": 4, "gpus": 4, "dispatcher": 1}, L * (32800 + 4 * 4096 + 4 * H * 2) + 4 * (2 + 2 + 4) * H),
        ({"number_format": "fp32"}, L * 65600),
        ({"recompute": "full"}, L * 2048 + 32800),  # 2 h per layer, and the one that is redone
        ({"recompute": "full", "tp": 2, "gpus": 2}, L * 2048 + 20496),
        ({"recompute": "full", "tp": 2, "gpus": 2, "sp": 1}, L * 1024 + 16400),
        ({"recompute": "selective"}, L * 32800),  # flash leaves nothing to select
        # 5 a s = 20480 per token and layer where scores are kept
        ({"flash": 0}, L * (32800 + 20480)),
        ({"flash": 0, "tp": 2, "gpus": 2, "sp": 1}, L * (32800 + 20480) / 2),
        ({"flash": 0, "recompute": "selective"}, L * 32800 + 20480),
        ({"flash": 0, "recompute": "full"}, L * 2048 + 32800 + 20480),
        ({"number_format": "fp32", "recompute": "full"}, L * 4096 + 65600),
        # outputs of the norms, 4 h; inside the feed-forward block 4 f
        (modules("layernorm"), L * (32800 - 4096) + 4096),
        (modules("mlp"), L * (32800 - 16384) + 16384),
        (modules("layernorm", "mlp"), L * (32800 - 20480) + 20480),
        (modules("core_attn", "layernorm"), L * (32800 - 4096) + 4096),
        ({"tp": 2, "gpus": 2, **modules("layernorm", "mlp")}, L * (20496 - 4096 - 8192) + 4096 + 8192),
        ({"tp": 2, "gpus": 2, "sp": 1, **modules("layernorm", "mlp")}, L * (16400 - 10240) + 10240),
        # twice 4 f, and copies of the tokens
        ({"experts": 4, **modules("moe")}, L * (32800 - 16384) + 2 * 16384 + 4 * H * 2),
        # of two experts what the activation function makes, 2 f
        ({"experts": 4, **modules("moe_act")}, L * (32800 + 16384 + 4 * H * 2 - 16384) + 16384),
        ({"flash": 0, **modules("mlp")}, L * (32800 + 20480 - 16384) + 16384),
        ({"flash": 0, **modules("core_attn", "mlp")}, L * (32800 - 16384) + 16384 + 20480),
        ({"number_format": "fp32", **modules("mlp")}, 2 * (L * (32800 - 16384) + 16384)),
        # 1 of the 4 layers; all of them, 2 at a time
        (layers(1), 2048 + (L - 1) * 32800 + 32800),
        (layers(L), L * 2048 + 32800),
        (layers(2, "uniform"), L / 2 * 2048 + 2 * 32800),
        ({"flash": 0, **layers(3)}, 3 * 2048 + (32800 + 20480) + (32800 + 20480)),
    ],
)  # fmt: skip
def test_activations(changes: dict[str, Any], per_token: float) -> None:
    assert LAYER == 32800
    assert first(**changes).activations[0] == pytest.approx(N * per_token)


def test_activations_take_more_where_norms_are_several_kernels() -> None:
    constants = replace(PLAIN, activations=1.1, unfused=1.2)
    figures = [
        stage_memory(points(fused=fused), constants, "first").activations[0] / (N * L * LAYER)
        for fused in (1, 0)
    ]
    assert figures == pytest.approx([1.1, 1.1 * 1.2])


@pytest.mark.parametrize(
    ("pp", "vpp", "batches", "on_first", "on_last"),
    [
        # layers that are held, of 16 in all. 1F1B: min(m, p) micro batches of 16 / p layers; one
        (1, 1, 8, 16, 16),
        (4, 1, 8, 16, 4),
        (4, 1, 4, 16, 4),
        (4, 1, 2, 8, 4),
        (4, 1, 1, 4, 4),
        # interleaved: 16 (1 + (p - 1) / (p v)) on the first; chunks of 16 / (p v) layers, of which
        # there are (v - 1) p + 1 on the last and never more than v m
        (4, 2, 8, 22, 10),
        (4, 4, 8, 19, 13),
        (4, 2, 4, 16, 10),
        (2, 2, 2, 16, 12),
    ],
)
def test_layers_in_flight(pp: int, vpp: int, batches: int, on_first: int, on_last: int) -> None:
    point = points(layers=16, pp=pp, vpp=vpp, gpus=pp, global_batch=batches)
    in_flight = [
        stage_memory(point, PLAIN, s).activations[0] / (N * LAYER) for s in ("first", "last")
    ]
    assert in_flight == pytest.approx([on_first, on_last])


def test_the_second_stage_holds_one_micro_batch_less_and_no_embedding() -> None:
    point = points(layers=16, pp=4, gpus=4)
    first, second = (stage_memory(point, PLAIN, stage) for stage in ("first", "middle"))
    assert second.activations[0] / first.activations[0] == pytest.approx(3 / 4)
    assert first.weights[0] - second.weights[0] == 2 * V * H


@pytest.mark.parametrize(
    ("layers", "pp", "stage_layers", "in_flight"),
    [
        # layers on the first, on the first of the longest between (or the last) and on the last
        (16, 4, (4, 4, 4), (4, 3, 1)),
        (18, 4, (4, 5, 4), (4, 3, 1)),
        (19, 4, (5, 5, 4), (4, 3, 1)),
        (40, 12, (3, 4, 3), (12, 8, 1)),
        (5, 2, (3, 2, 2), (2, 1, 1)),
        (5, 1, (5, 5, 5), (1, 1, 1)),
    ],
)
def test_layers_that_do_not_split_evenly(
    layers: int, pp: int, stage_layers: tuple[int, ...], in_flight: tuple[int, ...]
) -> None:
    point = points(layers=layers, pp=pp, gpus=pp, vocab=0, global_batch=16)
    memories = [stage_memory(point, PLAIN, stage) for stage in STAGES]
    assert [part.weights[0] / (2 * LAYER_PARAMS) for part in memories] == list(stage_layers)
    micro_batch_layers = [part.activations[0] / (N * LAYER) for part in memories]
    assert micro_batch_layers == pytest.approx(
        [a * b for a, b in zip(stage_layers, in_flight, strict=True)]
    )
    stages = ParallelLayout(pp=pp).stages(layers)
    assert (stages[0], max(stages), stages[-1]) == (
        stage_layers[0],
        max(stage_layers),
        stage_layers[2],
    )


@pytest.mark.parametrize(
    ("stages", "middle"),
    [([0, 8, 8, 0], 1), ([2, 4, 6, 4], 2), ([7, 3, 3, 3], 1)],
)
def test_layers_of_stages_that_were_chosen(stages: list[int], middle: int) -> None:
    point = points(layers=16, stages=stages, pp=4, gpus=4, global_batch=16)
    memories = [stage_memory(point, PLAIN, stage) for stage in STAGES]
    sizes = [stages[0], stages[middle], stages[-1]]
    embeddings = [V * H, 0, V * H]
    assert [part.weights[0] / 2 for part in memories] == [
        layers * LAYER_PARAMS + embedding
        for layers, embedding in zip(sizes, embeddings, strict=True)
    ]
    in_flight = [4, 4 - middle, 1]
    assert [part.activations[0] for part in memories] == pytest.approx(
        [N * LAYER * layers * count for layers, count in zip(sizes, in_flight, strict=True)]
    )


def test_dropout_keeps_two_masks() -> None:
    plain, masked = (stage_memory(points(dropout=d), PLAIN, "first").activations[0] for d in (0, 1))
    assert masked - plain == L * N * 2 * H


def test_fp8_keeps_what_a_product_was_fed_in_a_byte() -> None:
    low, half = (
        stage_memory(points(number_format=number), PLAIN, "first").activations[0]
        for number in ("fp8", "bf16")
    )
    assert half - low == L * N * (2 * H + 4 * H)  # two of hidden, one of ffn


def test_a_loss_that_overwrites_its_logits() -> None:
    logits = stage_memory(points(fused_loss=1), PLAIN, "last").logits[0]
    assert logits == N * V * 4


def test_logits_are_on_the_last_stage() -> None:
    figures = [
        stage_memory(points(pp=2, tp=2, gpus=4), PLAIN, stage).logits[0]
        for stage in ("first", "last")
    ]
    assert figures == [0, N * V / 2 * 8]


@pytest.mark.parametrize(
    ("changes", "gib"),
    [
        ({"gpus": 8}, 0),  # megatron has buffers of its own gradients alone
        ({"gpus": 8, "engine": "deepspeed", "zero": 1}, 0.25),
        ({"gpus": 1, "engine": "deepspeed", "zero": 1}, 0),
        ({"gpus": 8, "engine": "deepspeed", "zero": 1, "cpu": 1}, 0),
        # a layer of 12584960 parameters is more than the embedding of 1048576: its weights and
        # gradients in bf16, and under FSDP the weights of the next one
        ({"gpus": 8, "engine": "fsdp", "zero": 3}, 0.25 + 2 * 3 * LAYER_PARAMS / GIB),
        ({"gpus": 8, "engine": "deepspeed", "zero": 3}, 0.25 + 2 * 2 * LAYER_PARAMS / GIB),
        ({"gpus": 8, "engine": "fsdp", "zero": 3, "vocab": 65536}, 0.25 + 2 * 3 * 65536 * H / GIB),
    ],
)
def test_buffers(changes: dict[str, Any], gib: float) -> None:
    memory_of_stage = stage_memory(points(**changes), replace(PLAIN, bucket_gib=0.25), "first")
    assert memory_of_stage.buffers[0] / GIB == pytest.approx(gib)


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"pp": 2, "gpus": 2}, "first"),  # two micro batches of two layers against one
        ({"pp": 2, "gpus": 2, "vocab": 65536}, "last"),  # logits: 512 x 65536 x 8 bytes
    ],
)
def test_the_fullest_rank_is_on_either_end(changes: dict[str, Any], stage: str) -> None:
    point = points(**changes)
    full, expected = fullest_rank(point, PLAIN), stage_memory(point, PLAIN, stage)
    assert (full.activations[0], full.logits[0]) == (expected.activations[0], expected.logits[0])
    emptier = stage_memory(point, PLAIN, {"first": "last", "last": "first"}[stage])
    assert full.allocated[0] > emptier.allocated[0]


def test_what_each_tool_shows() -> None:
    c = replace(PLAIN, reserved=1.1, squeezed=1.02, context_gib=1.0, communicator_gib=0.5)
    point = points(pp=2, tp=2, gpus=8, memory=40 * GIB)  # communicators of tp, pp and dp: 2.5 GiB
    first_stage, last_stage = (
        stage_memory(point, c, stage).allocated[0] / GIB for stage in ("first", "last")
    )
    assert first_stage > last_stage
    figures = {kind: memory.reported_bytes(point, c, kind)[0] / GIB for kind in memory.KINDS}
    assert figures == pytest.approx(
        {
            "reserved": 1.1 * first_stage,
            "device": 1.1 * first_stage + 2.5,
            "allocated first": first_stage,
            "allocated last": last_stage,
        }
    )
    assert required_bytes(point, c)[0] / GIB == pytest.approx(1.02 * first_stage + 2.5)


def test_torch_reserves_no_more_than_there_is() -> None:
    c = replace(PLAIN, reserved=1.1, context_gib=1.0)
    allocated = first().allocated[0]
    tight = points({"memory": 1.05 * allocated + GIB}, {"memory": 0.5 * allocated})
    # what is left beside the context; and nothing less than what is allocated
    assert memory.reported_bytes(tight, c, "reserved") / allocated == pytest.approx([1.05, 1.0])


def test_processes_of_a_cpu_have_neither_context_nor_cache() -> None:
    point = points(cpu=1, gpus=2, memory=np.inf)
    assert (
        memory.reported_bytes(point, FIXED.memory, "reserved")
        == fullest_rank(point, FIXED.memory).allocated
    )


def many(*names: str) -> list[dict[str, Any]]:
    """Layouts of a 7B model on 64 cards, with everything but ``names`` varied."""
    values: dict[str, tuple[Any, ...]] = {
        "tp": (1, 2, 8), "pp": (1, 4), "micro_batch": (1, 2, 4), "zero": (0, 1, 2, 3),
        "recompute": ("none", "selective", "full"), "engine": ("megatron", "deepspeed", "fsdp"),
        "flash": (0, 1), "number_format": ("fp32", "bf16"),
    }  # fmt: skip
    free = [name for name in values if name not in names]
    return [
        dict(zip(free, combination, strict=True))
        for combination in itertools.product(*(values[name] for name in free))
    ]


BIG = {"layers": 32, "hidden": 4096, "ffn": 11008, "heads": 32, "kv_heads": 32, "gated": 1,
       "vocab": 32000, "sequence": 2048, "gpus": 64, "global_batch": 256}  # fmt: skip


def pair(name: str, less: Any, more: Any, **fixed: Any) -> tuple[Points, Points]:
    rows = many(name, *fixed)
    return tuple(  # type: ignore[return-value]
        Points.from_rows([point(**{**BIG, **row, **fixed, name: value}) for row in rows])
        for value in (less, more)
    )


@pytest.mark.parametrize("sizes", [(1, 2), (2, 4), (4, 16)])
def test_a_larger_micro_batch_never_takes_less(sizes: tuple[int, int]) -> None:
    small, large = (fullest_rank(p, FIXED.memory).allocated for p in pair("micro_batch", *sizes))
    assert (large >= small).all() and (large > small).any()


@pytest.mark.parametrize("sizes", [(1, 2), (2, 4), (4, 8)])
def test_more_tensor_parallel_ranks_never_hold_more_weights(sizes: tuple[int, int]) -> None:
    few_ranks, many_ranks = (
        fullest_rank(p, FIXED.memory).weights for p in pair("tp", *sizes, zero=1)
    )
    assert (many_ranks < few_ranks).all()


@pytest.mark.parametrize("stages", [(0, 1), (1, 2), (2, 3)])
def test_a_higher_zero_stage_never_takes_more(stages: tuple[int, int]) -> None:
    low, high = (fullest_rank(p, FIXED.memory) for p in pair("zero", *stages, tp=1, pp=1))
    assert (high.allocated < low.allocated).all()


@pytest.mark.parametrize(("less", "more"), [("full", "selective"), ("selective", "none")])
def test_recomputation_never_takes_more(less: str, more: str) -> None:
    pairs = pair("recompute", less, more)
    low, high = (stage_memory(p, FIXED.memory, "first").allocated for p in pairs)
    assert (high >= low).all() and (high > low).any()


@pytest.mark.parametrize("vpp", [1, 2])
@pytest.mark.parametrize("stage", ["first", "middle", "last"])
def test_the_more_is_recomputed_the_less_memory_it_takes(stage: str, vpp: int) -> None:
    """A model of 32 layers, in 4 stages of 8."""
    some: list[dict[str, Any]] = [{}, modules("layernorm"), modules("layernorm", "mlp")]
    some += [layers(6 // vpp), {"recompute": "full"}]
    rows = [point(**BIG, pp=4, vpp=vpp, **choice) for choice in some]
    sizes = stage_memory(Points.from_rows(rows), FIXED.memory, stage).allocated
    assert (np.diff(sizes) < 0).all()


def test_the_last_stage_of_uneven_ones_recomputes_what_it_has() -> None:
    """5 layers in stages of 3 and 2: a block of 3 is all of either."""
    choices: tuple[dict[str, Any], ...] = (layers(3), {"recompute": "full"})
    some, every = (points(layers=5, pp=2, gpus=2, **choice) for choice in choices)
    for stage in ("first", "last"):
        sizes = [stage_memory(p, PLAIN, stage).allocated[0] for p in (some, every)]
        assert sizes[0] == sizes[1]


def test_the_terms_are_all_that_is_allocated() -> None:
    fullest = first(pp=2, gpus=4, tp=2, engine="deepspeed", zero=3)
    terms = ("weights", "gradients", "optimizer", "activations", "logits", "buffers", "other")
    assert fullest.allocated[0] == sum(getattr(fullest, name)[0] for name in terms)
