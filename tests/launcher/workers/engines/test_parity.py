"""One spec gives one loss curve: every layout, on both engines, against a single rank.

Modules: launcher.workers.engines.deepspeed, launcher.workers.engines.deepspeed_pipeline,
launcher.workers.engines.deepspeed_setup, launcher.workers.engines.engine,
launcher.workers.engines.megatron, launcher.workers.model.groups,
launcher.workers.model.platform.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.workers import ranks

TOLERANCE = 1e-5
"""Absolute, of a loss near 5 over 8 steps of fp32."""

SP = {"layout__tp": 2, "layout__sequence_parallel": True}
TP = {"layout__tp": 2, "layout__sequence_parallel": False}
DS = {"backend": "deepspeed"}


def modules(*names: str) -> dict[str, Any]:
    """Selective recomputation of some modules."""
    return {"layout__recompute": "selective", "layout__recompute_modules": list(names)}


def block(layers: int) -> dict[str, Any]:
    """Full recomputation of some layers of each model chunk."""
    return {"layout__recompute": "full", "layout__recompute_layers": layers}


def uniform(layers: int) -> dict[str, Any]:
    """Full recomputation of all layers, some at a time."""
    return {**block(layers), "layout__recompute_method": "uniform"}


def pipeline(chunks: str, pp: int = 2) -> dict[str, Any]:
    """Layers of each stage, or of each of its model chunks."""
    return {"layout__pp": pp, "layout__pipeline": chunks}


MODELS: dict[str, dict[str, Any]] = {
    "dense": {},
    "moe": {"model__experts": 4, "train__moe_aux_loss": 0.05},
    "uneven": {"model__layers": 5},
    "seven": {"model__layers": 7},
    "tied": {"model__tied": True},
    "gelu": {"model__gated": False},
    "odd": {"model__head_width": 24, "model__rope_theta": 5e5, "model__norm_eps": 1e-6},
    "switch": {"model__experts": 2, "model__top_k": 1, "train__moe_aux_loss": 0.05},
}

LAYOUTS: list[tuple[str, int, dict[str, Any]]] = [
    # megatron, dense
    ("dense", 2, TP),
    ("dense", 2, SP),
    ("dense", 2, {"layout__pp": 2}),
    ("dense", 2, {"layout__pp": 2, "layout__vpp": 2}),
    ("uneven", 2, {"layout__pp": 2, "layout__zero": 0}),
    ("uneven", 2, {"layout__pp": 2, "layout__vpp": 2}),
    ("dense", 2, {"layout__cp": 2}),
    ("dense", 2, {"layout__zero": 0}),
    ("dense", 2, {"layout__zero": 1, "layout__micro_batch": 4}),
    ("dense", 1, {"layout__recompute": "full", "layout__micro_batch": 1}),
    ("dense", 2, {"layout__recompute": "selective", **SP}),
    ("tied", 2, {"layout__pp": 2}),
    ("gelu", 2, TP),
    ("odd", 2, {"layout__tp": 2}),
    ("dense", 4, {"layout__tp": 4, "model__kv_heads": 4}),
    ("dense", 4, {"layout__pp": 4}),
    ("dense", 4, {"layout__tp": 2, "layout__pp": 2, "layout__recompute": "full"}),
    ("dense", 4, TP),
    ("dense", 4, {"layout__pp": 2}),
    ("dense", 4, {"layout__cp": 2, **SP}),
    # megatron, recomputation
    ("dense", 1, modules("mlp")),
    ("dense", 1, modules("core_attn", "layernorm", "mlp")),
    ("gelu", 1, modules("layernorm", "mlp")),
    ("dense", 2, {**modules("layernorm"), "layout__pp": 2, "layout__vpp": 2}),
    ("dense", 2, {**modules("layernorm", "mlp"), **SP}),
    ("dense", 2, {**modules("layernorm", "mlp"), **TP}),
    ("dense", 2, {**modules("core_attn", "mlp"), "layout__cp": 2}),
    ("dense", 1, block(3)),
    ("uneven", 2, {**block(3), "layout__pp": 2}),
    ("uneven", 2, {**block(1), "layout__pp": 2, "layout__vpp": 2}),
    ("dense", 1, uniform(2)),
    ("dense", 2, {**uniform(2), "layout__pp": 2}),
    ("moe", 1, modules("core_attn", "moe")),
    ("moe", 2, {**modules("moe", "layernorm"), "layout__ep": 2}),
    ("moe", 1, modules("moe_act")),
    ("moe", 2, {**modules("layernorm", "moe_act"), "layout__ep": 2}),
    ("moe", 2, {**modules("moe_act"), **SP}),
    ("switch", 1, block(2)),
    # megatron, stages that were chosen
    ("seven", 2, {**pipeline("Et*2|t*5L"), "layout__zero": 0}),
    ("dense", 2, pipeline("E|t*4L")),
    ("tied", 2, pipeline("Et*4|L")),
    ("dense", 2, {**pipeline("E|(t|)*4L"), "layout__vpp": 3}),
    ("dense", 2, {**pipeline("E|t|tt|tL"), "layout__vpp": 2}),
    ("uneven", 4, pipeline("E|t*2|t*3|L", pp=4)),
    ("seven", 2, {**pipeline("Et*2|t*5L"), **block(3)}),
    ("dense", 2, {**pipeline("Et*3|tL"), **modules("layernorm", "mlp")}),
    # megatron, mixture of experts
    ("moe", 2, {}),
    ("moe", 2, {"layout__ep": 2}),
    ("switch", 2, {"layout__ep": 2}),
    ("moe", 2, {"layout__ep": 2, "layout__dispatcher": "allgather", **SP}),
    ("moe", 2, {"layout__ep": 2, **SP}),
    ("moe", 2, SP),
    ("moe", 2, {"layout__cp": 2, "layout__ep": 2}),
    ("moe", 4, {"layout__ep": 2, "layout__pp": 2}),
    ("moe", 4, {"layout__ep": 2, **SP}),
    # deepspeed
    ("dense", 2, {**DS, "layout__zero": 0}),
    ("dense", 2, {**DS, "layout__zero": 1, "layout__recompute": "full"}),
    ("dense", 2, {**DS, "layout__zero": 2, "layout__offload": True}),
    ("dense", 2, {**DS, "layout__zero": 3}),
    ("dense", 2, {**DS, "layout__zero": 3, "layout__offload": True}),
    ("dense", 2, {**DS, "layout__zero": 0, **TP}),
    ("dense", 2, {**DS, "layout__zero": 2, **SP}),
    ("dense", 2, {**DS, "layout__zero": 3, **SP}),
    ("dense", 2, {**DS, "layout__zero": 2, "layout__cp": 2}),
    ("tied", 2, {**DS, "layout__zero": 3}),
    ("dense", 4, {**DS, "layout__zero": 3, **TP}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__ep": 2}),
    ("moe", 2, {**DS, "layout__zero": 2, "layout__ep": 2, **SP}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__ep": 2, "layout__dispatcher": "allgather"}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__cp": 2}),
    ("moe", 2, {**DS, "layout__zero": 3}),
    # deepspeed, pipeline
    ("dense", 2, {**DS, "layout__zero": 0, "layout__pp": 2}),
    ("uneven", 2, {**DS, "layout__zero": 1, "layout__pp": 2}),
    ("odd", 2, {**DS, "layout__zero": 1, "layout__pp": 2}),
    ("dense", 2, {**DS, "layout__zero": 1, "layout__pp": 2, "layout__recompute": "full"}),
    ("dense", 4, {**DS, "layout__zero": 0, "layout__pp": 2, **SP}),
    ("dense", 4, {**DS, "layout__zero": 1, "layout__pp": 2}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__pp": 2}),
    # deepspeed, recomputation
    ("dense", 2, {**DS, "layout__zero": 1, **modules("layernorm")}),
    ("dense", 2, {**DS, "layout__zero": 3, **modules("core_attn", "layernorm", "mlp")}),
    ("dense", 2, {**DS, "layout__zero": 3, **block(2)}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__ep": 2, **modules("moe", "layernorm")}),
    ("moe", 2, {**DS, "layout__zero": 3, **modules("moe_act", "layernorm")}),
    ("dense", 2, {**DS, "layout__zero": 1, "layout__pp": 2, **modules("layernorm", "mlp")}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__pp": 2, **modules("moe")}),
    ("uneven", 2, {**DS, "layout__zero": 1, "layout__pp": 2, **block(2)}),
    ("dense", 2, {**DS, "layout__zero": 0, "layout__pp": 2, **uniform(2)}),
    # deepspeed, stages that were chosen
    ("seven", 2, {**DS, "layout__zero": 1, **pipeline("Et*2|t*5L"), **block(3)}),
    ("dense", 2, {**DS, "layout__zero": 0, **pipeline("E|t*4L")}),
    ("dense", 2, {**DS, "layout__zero": 1, **pipeline("Et*4|L"), "layout__recompute": "full"}),
    ("uneven", 4, {**DS, "layout__zero": 1, **pipeline("Et|t|t*3|L", pp=4)}),
]


def name(case: tuple[str, int, dict[str, Any]]) -> str:
    """Name of a case, for pytest."""
    model, count, changes = case
    settings = [f"{path.split('__')[-1]}={value}" for path, value in changes.items()]
    return ",".join([model, f"ranks={count}", *settings])


class References:
    """Loss curves of single megatron ranks, each run once."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder, self._cache = folder, cache
        self._runs: dict[str, ranks.Ended] = {}

    def get(self, changes: dict[str, Any]) -> ranks.Ended:
        """Return the run of a spec on one rank."""
        key = repr(sorted(changes.items()))
        if key not in self._runs:
            folder = self._folder / str(len(self._runs))
            self._runs[key] = ranks.train(ranks.spec(1, **changes), folder, self._cache)
            assert self._runs[key].codes == [0], self._runs[key].log()
        return self._runs[key]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> References:
    """Runs to compare with."""
    return References(tmp_path_factory.mktemp("references"), cache)


@pytest.mark.parametrize("case", LAYOUTS, ids=name)
def test_layout_does_not_change_the_losses(
    case: tuple[str, int, dict[str, Any]], references: References, tmp_path: Path, cache: Path
) -> None:
    model, count, changes = case
    shape = {path: value for path, value in changes.items() if path.startswith("model__")}
    reference = references.get(MODELS[model] | shape)
    run = ranks.train(ranks.spec(count, **MODELS[model], **changes), tmp_path, cache)
    assert run.codes == [0] * count, run.log()
    assert len(run.losses) == 8
    assert max(map(distance, run.losses, reference.losses)) < TOLERANCE
    norms = [[line["grad_norm"] for line in steps] for steps in (run.steps, reference.steps)]
    assert max(map(distance, *norms)) < 10 * TOLERANCE
    assert run.losses[0] - run.losses[-1] > 0.5, "it does not learn, so equality shows little"


BF16 = {"train__precision": "bf16"}
BF16_TOLERANCE = 1e-3

IDLE = """
import torch
from megatron.core.transformer.moe.router import TopKRouter
gating = TopKRouter.gating
def half_idle(self, hidden):
    last = torch.arange(self.config.num_moe_experts) >= self.config.num_moe_experts // 2
    return gating(self, hidden).masked_fill(last, -1e4)
TopKRouter.gating = half_idle
"""
"""Patch of a rank whose router never chooses the second half of the experts."""

IDLE_LAYOUTS: list[tuple[int, dict[str, Any]]] = [
    (2, {"layout__ep": 2}),  # the second rank gets no token at all
    (2, {"layout__ep": 2, "layout__zero": 0}),
    (2, {"layout__ep": 2, "layout__dispatcher": "allgather", **SP}),
    (2, {"layout__ep": 2, **modules("moe_act")}),
    (2, SP),
    (2, {**DS, "layout__zero": 2, "layout__ep": 2}),
    (2, {**DS, "layout__zero": 3}),
    (2, {**DS, "layout__zero": 1, "layout__pp": 2}),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("count", "changes"), IDLE_LAYOUTS)
def test_experts_and_ranks_without_a_token(
    count: int, changes: dict[str, Any], precision: str, tmp_path: Path, cache: Path
) -> None:
    if precision == "bf16" and "layout__pp" in changes:
        count = 4
    base = MODELS["moe"] | {"train__precision": precision, "train__steps": 4}
    alone, run = (
        ranks.train(ranks.spec(size, **base, **more), tmp_path / str(size), cache, patch=IDLE)
        for size, more in ((1, {}), (count, changes))
    )
    assert (alone.codes, run.codes) == ([0], [0] * count), alone.log() + run.log()
    tolerance = BF16_TOLERANCE if precision == "bf16" else TOLERANCE
    assert max(map(distance, run.losses, alone.losses)) < tolerance


BF16_LAYOUTS: list[tuple[str, int, dict[str, Any]]] = [
    ("dense", 2, TP),
    ("dense", 2, {"layout__zero": 0, "train__reduce_precision": "bf16"}),
    ("dense", 2, {"layout__zero": 1, "train__reduce_precision": "bf16"}),
    ("dense", 2, {**DS, "layout__zero": 1}),
    ("dense", 2, {**DS, "layout__zero": 1, "layout__offload": True}),
    ("dense", 4, {**DS, "layout__zero": 1, "layout__micro_batch": 1}),
    ("dense", 4, {**DS, "layout__zero": 2, "layout__micro_batch": 1}),
    ("dense", 2, {**DS, "layout__zero": 1, **SP}),
    ("dense", 4, {**DS, "layout__zero": 1, **SP}),
    ("dense", 2, {**DS, "layout__zero": 1, "train__reduce_precision": "bf16"}),
    ("dense", 2, {**DS, "layout__zero": 2}),
    ("dense", 2, {**DS, "layout__zero": 2, "train__reduce_precision": "bf16"}),
    ("dense", 2, {**DS, "layout__zero": 3, "train__reduce_precision": "bf16"}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__ep": 2}),
    ("dense", 4, {**DS, "layout__zero": 0, "layout__pp": 2}),
    ("dense", 4, {**DS, "layout__zero": 1, "layout__pp": 2}),
]


@pytest.mark.parametrize("case", BF16_LAYOUTS, ids=name)
def test_bf16_follows_a_single_bf16_rank(
    case: tuple[str, int, dict[str, Any]], references: References, tmp_path: Path, cache: Path
) -> None:
    model, count, changes = case
    run = ranks.train(ranks.spec(count, **BF16, **MODELS[model], **changes), tmp_path, cache)
    assert run.codes == [0] * count, run.log()
    reference = references.get(BF16 | MODELS[model])
    assert max(map(distance, run.losses, reference.losses)) < BF16_TOLERANCE


OPTIMIZERS: list[tuple[int, dict[str, Any], str]] = [
    (2, {"layout__zero": 0}, "Float16OptimizerWithFloat16Params(torch.AdamW)"),
    (2, {"layout__zero": 1}, "DistributedOptimizer(torch.AdamW)"),
    (2, {**DS, "layout__zero": 0, "train__precision": "fp32"}, "torch.AdamW"),
    (2, {**DS, "layout__zero": 1}, "DeepSpeedZeroOptimizer(torch.AdamW)"),
    (4, {**DS, "layout__zero": 1, "layout__pp": 2}, "DeepSpeedZeroOptimizer(torch.AdamW)"),
    (2, {**DS, "layout__zero": 3}, "DeepSpeedZeroOptimizer_Stage3(torch.AdamW)"),
    (4, {**DS, "layout__zero": 0, "layout__pp": 2}, "BF16_Optimizer(torch.AdamW)"),
]


@pytest.mark.parametrize(("count", "changes", "expected"), OPTIMIZERS)
def test_the_optimizer_that_steps_is_recorded(
    count: int, changes: dict[str, Any], expected: str, tmp_path: Path, cache: Path
) -> None:
    """BF16_Optimizer, which a pipeline without ZeRO needs, adds gradients up in fp32."""
    patch = """
        from deepspeed.runtime import bf16_optimizer
        real = bf16_optimizer.BF16_Optimizer.__init__
        def shown(self, *arguments, **options):
            assert str(options["grad_acc_dtype"]) == "torch.float32", options
            real(self, *arguments, **options)
        bf16_optimizer.BF16_Optimizer.__init__ = shown
    """
    spec = ranks.spec(count, **(BF16 | {"train__steps": 3} | changes))
    run = ranks.train(spec, tmp_path, cache, patch=patch)
    assert run.codes == [0] * count, run.log()
    result = run.folder.result()
    assert result and result["optimizer"] == expected


STREAMS = """
import sys
import torch
from deepspeed.accelerator import get_accelerator
from launcher.workers.model import platform

platform.overlap_pays = lambda: True
accelerator = type(get_accelerator())
accelerator.is_synchronized_device = lambda self: False
accelerator.Stream = property(lambda self: platform.Stream)
accelerator.current_stream = lambda self, device_index=None: platform.Stream()
accelerator.synchronize = lambda self, device_index=None: print(
    "waits in", sys._getframe(1).f_code.co_name
)
torch.Tensor.record_stream = lambda self, stream: None
"""
"""Patch of a rank in which DeepSpeed takes the branches of a device with streams."""


@pytest.mark.parametrize("zero", [1, 2])
def test_no_reduction_waits_for_the_card(
    zero: int, references: References, tmp_path: Path, cache: Path
) -> None:
    run = ranks.train(ranks.spec(2, **DS, layout__zero=zero), tmp_path, cache, patch=STREAMS)
    assert run.codes == [0, 0], run.log()
    assert max(map(distance, run.losses, references.get({}).losses)) < TOLERANCE
    waits = {line for line in run.log().splitlines() if line.startswith("waits in")}
    # once after a backward pass, and in steps of the optimizer
    assert "waits in independent_gradient_partition_epilogue" in waits
    assert "waits in allreduce_and_copy" not in waits


@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("overlap", [False, True], ids=["", "overlap"])
def test_buckets_smaller_than_a_matrix(
    zero: int, overlap: bool, references: References, tmp_path: Path, cache: Path
) -> None:
    """Gradients of 197,184 parameters are reduced in many buckets; matrices alone, as large ones."""
    patch = f"""
        from launcher.workers.engines import deepspeed_setup
        from launcher.workers.model import platform
        deepspeed_setup.REDUCE_BUCKET = 5000
        platform.overlap_pays = lambda: {overlap}
    """
    run = ranks.train(ranks.spec(2, **DS, layout__zero=zero), tmp_path, cache, patch=patch)
    assert run.codes == [0, 0], run.log()
    assert max(map(distance, run.losses, references.get({}).losses)) < TOLERANCE


AS_ON_A_CARD = """
import megatron.core.fusions.fused_bias_dropout as dropout
import megatron.core.models.common.language_module.language_module as language
import megatron.core.transformer.mlp as mlp
from launcher.workers.engines import deepspeed_setup as setup, megatron
from launcher.workers.model import experts, platform

platform.overlap_pays = platform.fusion_pays = lambda: True

def show(module, function, name):
    called = getattr(module, function)
    def shown(*arguments, **options):
        print("fused", name)
        return called(*arguments, **options)
    setattr(module, function, shown)

def tell(module, function, value):
    made = getattr(module, function)
    def told(*arguments, **options):
        result = made(*arguments, **options)
        print("overlap", value(result))
        return result
    setattr(module, function, told)

tell(megatron, "DistributedDataParallelConfig", lambda config: config.overlap_grad_reduce)
tell(setup, "configuration", lambda options: options["zero_optimization"]["overlap_comm"])
show(mlp, "bias_swiglu_impl", "activation")
show(experts, "weighted_bias_swiglu_impl", "activation")
show(dropout, "bias_dropout_add_fused_train", "dropout")
show(language, "fused_vocab_parallel_cross_entropy", "loss")
"""
"""Patch of a rank that takes the branches of a card, and prints which of the fused functions it
calls. They are decorated for torch.compile, which is off here: what they compute is the same."""

FUSED = {"activation", "dropout"}

CARD_LAYOUTS: list[tuple[str, int, dict[str, Any]]] = [
    ("dense", 1, {}),
    ("dense", 2, SP),
    ("dense", 2, {"layout__zero": 0}),
    ("dense", 2, {"layout__zero": 1}),
    ("dense", 2, {"layout__cp": 2}),
    ("dense", 2, {"layout__recompute": "selective", **TP}),
    ("dense", 1, {"layout__recompute": "full"}),
    ("moe", 2, {"layout__ep": 2}),
    ("dense", 4, {"layout__pp": 2}),
    ("dense", 4, {"layout__pp": 2, "layout__vpp": 2}),
    ("dense", 2, {**DS, "layout__zero": 1}),
    ("dense", 2, {**DS, "layout__zero": 2}),
    ("dense", 2, {**DS, "layout__zero": 3}),
    ("dense", 4, {**DS, "layout__zero": 1, **SP}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__ep": 2}),
    ("dense", 4, {**DS, "layout__zero": 1, "layout__pp": 2}),
]


@pytest.mark.parametrize("case", CARD_LAYOUTS, ids=name)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_branches_of_a_card_do_not_change_the_losses(
    precision: str,
    case: tuple[str, int, dict[str, Any]],
    references: References,
    tmp_path: Path,
    cache: Path,
) -> None:
    """Fused activation, dropout and loss; gradients reduced, weights gathered behind compute."""
    model, count, changes = case
    base = MODELS[model] | {"train__precision": precision}
    run = ranks.train(ranks.spec(count, **base, **changes), tmp_path, cache, patch=AS_ON_A_CARD)
    assert run.codes == [0] * count, run.log()
    tolerance = BF16_TOLERANCE if precision == "bf16" else TOLERANCE
    assert max(map(distance, run.losses, references.get(base).losses)) < tolerance
    logs = "".join(map(run.log, range(count)))
    # The loss is fused in bf16, but for DeepSpeed's pipeline, whose loss is its own.
    own_loss = "backend" in changes and "layout__pp" in changes
    expected = FUSED | {"loss"} if precision == "bf16" and not own_loss else FUSED
    assert {name for name in FUSED | {"loss"} if f"fused {name}" in logs} == expected
    alone = count == 1 or ("layout__tp" in changes and count == 2)  # no other data parallel rank
    assert f"overlap {not alone or 'backend' in changes}" in logs


def test_aux_loss_matters(references: References) -> None:
    """Without this the equality of the mixtures above would say nothing about the loss."""
    with_loss = references.get(MODELS["moe"]).losses
    without = references.get({"model__experts": 4, "train__moe_aux_loss": 0.0}).losses
    assert max(map(distance, with_loss, without)) > 100 * TOLERANCE


UNDONE: list[tuple[str, str, int, dict[str, Any]]] = [
    (
        "from launcher.workers.engines.duplicate_sums import DuplicateSums\n"
        "DuplicateSums._hook = lambda self: lambda gradient: gradient",
        "dense",
        2,
        {**DS, "layout__zero": 2, **SP},
    ),
    (
        "from launcher.workers.engines import deepspeed_setup as setup\n"
        "setup.weigh_aux_loss = lambda spec, step: None",
        "moe",
        2,
        {**DS, "layout__zero": 1},
    ),
    (
        "from launcher.workers.engines import deepspeed_pipeline as pipeline\n"
        "pipeline.PipelineEngine._clip = lambda self, *_: setattr(self, '_norm', 0.0)",
        "dense",
        2,
        {**DS, "layout__zero": 0, "layout__pp": 2},
    ),
    (
        "from launcher.workers.engines.megatron import MegatronEngine\n"
        "def only_rate(self, lr):\n"
        "    for group in self._optimizer.param_groups:\n"
        "        group['lr'] = lr\n"
        "MegatronEngine._set_rate = only_rate",
        "dense",
        1,
        {},
    ),
]


@pytest.mark.parametrize(
    ("patch", "model", "count", "changes"),
    UNDONE,
    ids=["gradients of duplicates", "weight of the aux loss", "clipping", "decay of norms"],
)
def test_without_it_the_losses_differ(
    patch: str,
    model: str,
    count: int,
    changes: dict[str, Any],
    references: References,
    tmp_path: Path,
    cache: Path,
) -> None:
    """Each thing an engine does beyond its library's defaults is needed."""
    run = ranks.train(ranks.spec(count, **MODELS[model], **changes), tmp_path, cache, patch=patch)
    assert run.codes == [0] * count, run.log()
    reference = references.get(MODELS[model]).losses
    assert max(map(distance, run.losses, reference)) > TOLERANCE


def distance(a: float, b: float) -> float:
    """Absolute difference of two numbers."""
    return abs(a - b)
