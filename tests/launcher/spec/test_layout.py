"""Arithmetic of layouts: what is refused, with which numbers, and what is not."""

from typing import Any

import pytest

from launcher.errors import LayoutError
from launcher.spec.layout import ParallelLayout, layout_label
from launcher.spec.shape import ModelShape
from tests.conftest import shape

MOE = shape(experts=4)


def modules(*names: Any, kind: Any = "selective") -> ParallelLayout:
    return ParallelLayout(recompute=kind, recompute_modules=names)


def layers(count: int | None, method: Any = "block", **others: Any) -> ParallelLayout:
    return ParallelLayout(
        recompute="full", recompute_layers=count, recompute_method=method, **others
    )


REFUSED: list[tuple[ParallelLayout, ModelShape, int, int, str]] = [
    (ParallelLayout(tp=3), shape(), 8, 8, "tp 3 does not divide 8 gpus"),
    (ParallelLayout(tp=2, pp=2, cp=2), shape(), 4, 8, "tp 2 x pp 2 x cp 2 (8) does not divide 4 gpus"),
    (ParallelLayout(tp=4), shape(), 4, 8, "tp 4 does not divide kv_heads 2"),
    (ParallelLayout(tp=8), shape(), 8, 8, "tp 8 does not divide heads 4"),
    (ParallelLayout(tp=2), shape(ffn=127), 2, 8, "tp 2 does not divide ffn 127"),
    (ParallelLayout(tp=2), shape(vocab=3, vocab_multiple=3), 2, 8, "tp 2 does not divide padded vocab 3"),
    (ParallelLayout(), shape(kv_heads=3), 1, 8, "kv_heads 3 does not divide heads 4"),
    (ParallelLayout(), shape(heads=3, kv_heads=3), 1, 8, "heads 3 does not divide hidden 64"),
    (ParallelLayout(), shape(hidden=60), 1, 8, "head width 15 is odd, rotary embeddings need it even"),
    (ParallelLayout(sequence_parallel=True), shape(), 1, 8, "sequence_parallel true needs tp > 1, tp is 1"),
    (ParallelLayout(tp=2), shape(sequence=31), 2, 8, "tp x cp (2) does not divide sequence 31"),
    (ParallelLayout(cp=2), shape(sequence=30), 2, 8, "2 x cp (4) does not divide sequence 30"),
    (ParallelLayout(vpp=2), shape(), 1, 8, "vpp 2 needs pp > 1, pp is 1"),
    (ParallelLayout(pp=8), shape(), 8, 8, "pp 8 is more than layers 4"),
    (ParallelLayout(pp=2, vpp=4), shape(), 2, 8, "pp 2 x vpp 4 (8) is more than layers 4"),
    (ParallelLayout(pp=2, vpp=2), shape(), 2, 3, "pp 2 does not divide the 3 micro batches of a step, which vpp 2 needs"),
    (ParallelLayout(micro_batch=3), shape(), 1, 8, "micro_batch 3 x dp 1 (3) does not divide global_batch 8"),
    (ParallelLayout(), shape(), 16, 8, "micro_batch 1 x dp 16 (16) does not divide global_batch 8"),
    (ParallelLayout(ep=2), shape(), 2, 8, "ep 2 needs a model with experts, test is dense"),
    (ParallelLayout(ep=3), MOE, 3, 9, "ep 3 does not divide experts 4"),
    (ParallelLayout(ep=4), MOE, 2, 8, "ep 4 does not divide the 2 ranks of a pipeline stage"),
    (ParallelLayout(), shape(experts=1, top_k=2), 1, 8, "top_k 2 is more than experts 1"),
    (modules("mlp", kind="none"), shape(), 1, 8, "recompute_modules [mlp] needs recompute selective, recompute is none"),
    (modules("mlp", kind="full"), shape(), 1, 8, "recompute_modules [mlp] needs recompute selective, recompute is full"),
    (modules(), shape(), 1, 8, "recompute_modules [] names no module; for that, recompute is none"),
    (modules("mlp", "mlp"), shape(), 1, 8, "recompute_modules [mlp, mlp] names a module twice"),
    (modules("mlp", "moe"), shape(), 1, 8, "recompute_modules [mlp, moe]: moe needs a model with experts, test is dense"),
    (modules("moe_act"), shape(), 1, 8, "recompute_modules [moe_act]: moe_act needs a model with experts, test is dense"),
    (modules("moe", "moe_act"), MOE, 1, 8, "recompute_modules [moe, moe_act]: moe_act is a part of moe"),
    (modules("mlp"), MOE, 1, 8, "recompute_modules [mlp]: mlp needs a dense model, test has experts 4, which are moe"),
    (ParallelLayout(recompute_layers=2), shape(), 1, 8, "recompute_layers 2 needs recompute full, recompute is none"),
    (ParallelLayout(pipeline="EttttL"), shape(), 1, 8, "pipeline 'EttttL' needs pp > 1, pp is 1"),
    (ParallelLayout(pp=2, pipeline="Et*2|t*3L"), shape(), 2, 8, "pipeline 'Et*2|t*3L' has 5 layers, the model 4"),
    (layers(5), shape(), 1, 8, "recompute_layers 5 is more than the 4 layers of a pipeline stage"),
    (layers(4, pp=2), shape(layers=5), 2, 8, "recompute_layers 4 is more than the 3 layers of a pipeline stage"),
    (layers(2, pp=2, vpp=2), shape(), 2, 8, "recompute_layers 2 is more than the 1 layers of a model chunk"),
    (layers(None, method="uniform"), shape(), 1, 8, "recompute_method uniform needs recompute_layers, it is null"),
    (layers(3, method="uniform"), shape(), 1, 8, "recompute_layers 3 does not divide the 4 layers of a pipeline stage, which uniform needs"),
    (layers(3, method="uniform", pp=2), shape(layers=5), 2, 8, "recompute_layers 3 does not divide the 2 layers of a pipeline stage, which uniform needs"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "model", "gpus", "batch", "message"), REFUSED, ids=[r[-1] for r in REFUSED]
)
def test_refused(
    layout: ParallelLayout, model: ModelShape, gpus: int, batch: int, message: str
) -> None:
    with pytest.raises(LayoutError) as caught:
        layout.check(model, gpus, batch)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("layout", "model", "gpus", "batch"),
    [
        (ParallelLayout(), shape(), 1, 1),
        (ParallelLayout(tp=2, pp=2, micro_batch=2), shape(), 8, 8),
        (ParallelLayout(pp=3), shape(), 3, 8),  # 4 layers in 3 stages
        (ParallelLayout(pp=2, vpp=2), shape(), 2, 8),
        (ParallelLayout(ep=2, tp=2), MOE, 4, 8),
        (ParallelLayout(cp=2, tp=2), shape(), 4, 8),
        (ParallelLayout(tp=2), shape(hidden=60, head_width=16), 2, 8),
        (modules("core_attn", "layernorm", "mlp"), shape(), 1, 8),
        (modules("layernorm", "moe"), MOE, 1, 8),
        (layers(3, pp=2), shape(layers=5), 2, 8),  # all of a stage of 2
        (ParallelLayout(pp=16, vpp=8, pipeline="E|(t|)*126L"), shape(layers=126), 16, 16),
        (layers(3, pp=2, pipeline="Et|t*3L"), shape(), 2, 8),
        (layers(2, method="uniform"), shape(), 1, 8),
    ],
)
def test_accepted(layout: ParallelLayout, model: ModelShape, gpus: int, batch: int) -> None:
    layout.check(model, gpus, batch)


@pytest.mark.parametrize(
    ("pp", "vpp", "layers", "stages"),
    [
        (1, 1, 4, [4]),
        (2, 1, 4, [2, 2]),
        (2, 2, 4, [1, 1, 1, 1]),
        (3, 1, 32, [11, 11, 10]),
        (2, 1, 3, [2, 1]),
        (6, 1, 32, [5, 5, 6, 6, 5, 5]),
        (12, 1, 40, [3, 3, 3, 3, 4, 4, 4, 4, 3, 3, 3, 3]),
    ],
)
def test_every_layer_is_in_one_stage(pp: int, vpp: int, layers: int, stages: list[int]) -> None:
    assert ParallelLayout(pp=pp, vpp=vpp).stages(layers) == stages
    assert sum(stages) == layers


@pytest.mark.parametrize(
    ("layout", "again", "unit"),
    [
        (ParallelLayout(), [0, 0], 1),
        (ParallelLayout(recompute="selective"), [0, 0], 1),
        (ParallelLayout(recompute="full"), [3, 2], 1),
        (layers(1), [1, 1], 1),
        (layers(3), [3, 2], 1),
        (layers(2, method="uniform"), [3, 2], 2),
    ],
)
def test_layers_that_are_recomputed(layout: ParallelLayout, again: list[int], unit: int) -> None:
    assert [layout.recomputed_layers(chunk) for chunk in (3, 2)] == again
    assert layout.recompute_unit == unit


def test_only_what_is_recomputed_counts_as_hardware_flops() -> None:
    model = shape(layers=5)
    forward = 2 * model.layer_matmul_params + model.sequence * 2 * model.heads * model.head_dim
    feed_forward = 2 * model.expert_params
    more = [
        layout.hardware_flops_per_token(model) - model.flops_per_token
        for layout in (
            ParallelLayout(),
            modules("layernorm"),
            modules("mlp"),
            modules("moe_act"),
            ParallelLayout(recompute="full"),
            layers(2, pp=2),
            layers(3, pp=2),
        )
    ]
    assert more == [0, 0, 5 * feed_forward, 0, 5 * forward, 4 * forward, 5 * forward]
    attention = ParallelLayout(recompute="selective").hardware_flops_per_token(model)
    assert attention == modules("core_attn").hardware_flops_per_token(model)


def test_sequence_parallelism_follows_tensor_parallelism_unless_said_otherwise() -> None:
    assert not ParallelLayout().sp
    assert ParallelLayout(tp=2).sp
    assert not ParallelLayout(tp=2, sequence_parallel=False).sp


@pytest.mark.parametrize(
    ("layout", "words", "label"),
    [
        (ParallelLayout(), ("dp8", "zero1"), "dp8 zero1"),
        (ParallelLayout(tp=2, pp=4, vpp=2, cp=2, ep=2), ("zero0",), "tp2 pp4 vpp2 cp2 ep2 zero0"),
        (ParallelLayout(pp=4), (), "pp4"),
    ],
)
def test_a_label_has_the_degrees_above_one(
    layout: ParallelLayout, words: tuple[str, ...], label: str
) -> None:
    assert layout_label(layout.degrees, *words) == label
