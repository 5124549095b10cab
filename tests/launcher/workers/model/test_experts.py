"""Experts as stacked matrices, beside megatron-core's own, which are modules of their own.

Modules: launcher.workers.model.experts, launcher.workers.model.weights.
"""

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.workers import ranks
from tests.launcher.workers.engines.test_parity import SP

MOE: dict[str, Any] = {"model__experts": 4, "train__moe_aux_loss": 0.05}
SHORT = MOE | {"train__steps": 4}

ONE_BY_ONE = """
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from launcher.workers.model import gpt
    made = gpt.layer_spec
    def layer_spec(model):
        layer = made(model)
        own = get_gpt_layer_local_spec(num_experts=model.experts, normalization="RMSNorm")
        layer.submodules.mlp.submodules.experts = own.submodules.mlp.submodules.experts
        return layer
    gpt.layer_spec = layer_spec
"""
"""Patch of a rank whose experts are megatron-core's SequentialMLP, as in earlier versions; at an
expert parallel size of 1 the names of its parameters are the global ones."""

LOOPED = """
    from launcher.workers.model.grouped_linear import PRODUCTS
    del PRODUCTS["grouped_mm"]
"""
"""Patch of a rank whose torch has no grouped product."""

COUNTING = """
    from torch.utils._python_dispatch import TorchDispatchMode
    from megatron.core.transformer.moe.moe_layer import MoELayer
    from launcher.workers.engines import megatron
    from launcher.workers.model.experts import StackedExperts
    class Print(TorchDispatchMode):
        def __init__(self, where):
            super().__init__()
            self.where = where
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            print("ran", self.where, func.overloadpacket.__name__, flush=True)
            return func(*args, **(kwargs or {}))
    def inside(kind, where):
        forward = kind.forward
        def counted(self, *args, **kwargs):
            with Print(where):
                return forward(self, *args, **kwargs)
        kind.forward = counted
    inside(StackedExperts, "experts")
    step = megatron.MegatronEngine.step
    def counted_step(self, *args):
        with Print("step"):
            step(self, *args)
    megatron.MegatronEngine.step = counted_step
"""


def operations(experts: int, folder: Path, cache: Path, patch: str = "") -> Counter[str]:
    """Operations of the one step of a rank, each after "step" or "experts", where it ran."""
    spec = ranks.spec(1, **MOE | {"model__experts": experts, "train__steps": 1})
    run = ranks.train(spec, folder, cache, patch=COUNTING + patch)
    assert run.codes == [0], run.log()
    lines = run.log().splitlines()
    return Counter(line.removeprefix("ran ") for line in lines if line.startswith("ran "))


def test_the_number_of_products_does_not_grow_with_the_experts(tmp_path: Path, cache: Path) -> None:
    few, many = (operations(count, tmp_path / str(count), cache) for count in (4, 16))
    layers = 4 * ranks.TINY.layers  # of 4 micro batches
    for counts in (few, many):
        assert counts["step _grouped_mm"] == layers * 2 * 3, "two products and their gradients"
        assert not counts["experts _local_scalar_dense"]
    assert few["step mm"] == many["step mm"]
    before = operations(16, tmp_path / "before", cache, ONE_BY_ONE)
    assert before["step mm"] - many["step mm"] == layers * 16 * 2 * 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [{}, {"backend": "deepspeed", "layout__pp": 2}])
def test_checkpoints_are_the_files_of_earlier_versions(
    changes: dict[str, Any], precision: str, tmp_path: Path, cache: Path
) -> None:
    """Without clipping: the norm, which sums the same gradients in another order, is not the same
    to the last bit."""

    def checkpoint(folder: Path) -> dict[str, str]:
        path = folder / "checkpoints" / "step-00000002" / "manifest.json"
        files = json.loads(path.read_text())["files"]
        return {name: part["sha256"] for name, part in files.items()}

    exact = {"layout__zero": 0, "train__optimizer__clip_grad": 0.0, "train__precision": precision}
    spec = ranks.spec(2, **SHORT, **exact, **changes)
    folders = before, now = tmp_path / "before", tmp_path / "now"
    runs = [
        ranks.train(spec, folder, cache, patch=patch, every=2)
        for folder, patch in zip(folders, (ONE_BY_ONE, ""), strict=True)
    ]
    assert [run.codes for run in runs] == [[0, 0]] * 2, runs[0].log() + runs[1].log()
    assert runs[0].losses == runs[1].losses
    assert checkpoint(before) == checkpoint(now)


LAYOUTS: list[tuple[int, dict[str, Any]]] = [
    (1, {}),
    (2, {"layout__ep": 2}),
    (2, SP),
]


@pytest.mark.parametrize(("count", "changes"), LAYOUTS)
def test_a_torch_without_grouped_products_gives_the_same_losses(
    count: int, changes: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    spec = ranks.spec(count, **SHORT, **changes)
    runs = {
        product: ranks.train(spec, tmp_path / product, cache, patch=patch)
        for product, patch in (("grouped_mm", ""), ("mm", LOOPED))
    }
    for product, run in runs.items():
        assert run.codes == [0] * count, run.log()
        result = run.folder.result()
        assert result and result["expert_product"] == product
    assert runs["mm"].losses == pytest.approx(runs["grouped_mm"].losses, abs=1e-6)


def test_weights_on_the_input_are_those_of_megatron(tmp_path: Path, cache: Path) -> None:
    on_input = """
        from launcher.workers.engines import megatron as engines
        config_of = engines.transformer_config
        def transformer_config(spec):
            config = config_of(spec)
            config.moe_apply_probs_on_input = True
            return config
        engines.transformer_config = transformer_config
    """
    spec = ranks.spec(1, **SHORT | {"model__experts": 2, "model__top_k": 1})
    losses = []
    for name, patch in (
        ("ours", on_input),
        ("megatron", textwrap.dedent(on_input) + textwrap.dedent(ONE_BY_ONE)),
        ("off", ""),
    ):
        run = ranks.train(spec, tmp_path / name, cache, patch=patch)
        assert run.codes == [0], run.log()
        losses.append(run.losses)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[0] != pytest.approx(losses[2], abs=1e-6)


SAMPLED = """
import os
from pathlib import Path
from launcher.results.run_folder import RunFolder
from launcher.workers import train
from launcher.workers.sampling import sample
from tests.launcher.workers import rebuilt

trained = RunFolder(Path(os.environ["MEGALAUNCH_TRAINED"]))
spec = sample._on_one_rank(trained.spec())
train._import(spec)
from launcher.workers.model import groups
reader = sample._open(trained.checkpoint(2), spec)
experts = sample._filled(spec, groups.connect(spec), reader).decoder.layers[1].mlp.experts
matrices = rebuilt.full_matrices(trained.path)
for kind in ("linear_fc1", "linear_fc2"):
    for number, matrix in enumerate(getattr(experts, kind)):
        name = f"decoder.layers.1.mlp.experts.local_experts.{number}.{kind}.weight"
        assert bool((matrix == matrices[f"{name}.weight"]).all()), name
        print("the same", name)
train._leave(0)
"""


def test_who_samples_a_checkpoint_has_all_experts(tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(2, **MOE, layout__ep=2, train__steps=2)
    run = ranks.train(spec, tmp_path / "trained", cache, every=2)
    assert run.codes == [0, 0], run.log()
    env = {"MEGALAUNCH_TRAINED": str(run.folder.path)}
    sampled = ranks.train(
        ranks.spec(1), tmp_path / "sampled", cache, program=SAMPLED, env=env, fresh=True
    )
    assert sampled.codes == [0], sampled.log()
    assert sampled.log().count("the same") == 2 * 4
