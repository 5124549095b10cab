"""Each fixed bug of megatron-core and DeepSpeed is still there without its fix."""

from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.workers.model import fixes
from tests.launcher.workers import ranks

MOE = {"model__experts": 4}

BUGS: list[tuple[str, int, dict[str, Any], str]] = [
    (
        "import megatron.core.transformer.moe.moe_utils as moe_utils\n"
        "del moe_utils.te_general_gemm",
        1,
        MOE,
        "NameError: name 'te_general_gemm' is not defined",
    ),
    (
        "from megatron.core.tensor_parallel.random import CheckpointWithoutOutput as Checkpoint\n"
        "Checkpoint.__init__ = Checkpoint.__init__.__wrapped__",
        1,
        {"layout__recompute": "selective", "layout__recompute_modules": ["layernorm"]},
        "NameError: name 'FP8GlobalStateManager' is not defined",
    ),
    (
        "from launcher.workers.engines import deepspeed as deepspeed_engine\n"
        "deepspeed_engine._register_experts = lambda model, groups, spec: groups",
        2,
        {"backend": "deepspeed", "layout__ep": 2, **MOE},
        "AttributeError: 'Parameter' object has no attribute 'group_name'",
    ),
    (
        "from launcher.workers.model import groups\n"
        "groups.model_parallel_cuda_manual_seed = lambda seed: None",
        2,
        {"layout__tp": 2, "layout__sequence_parallel": True},
        "Exception: cuda rng state model-parallel-rng is not added",
    ),
    (
        "from launcher.workers.engines import deepspeed_setup as setup\n"
        "import os\n"
        "os.environ['CXX'] = '/nonexistent'\n"
        "os.environ['TORCH_EXTENSIONS_DIR'] = os.path.dirname(__import__('sys').argv[2])\n"
        "setup.no_compiled_collectives = lambda: None",
        1,
        {"backend": "deepspeed"},
        "deepspeed_shm_comm",
    ),
]


@pytest.mark.parametrize(
    ("patch", "count", "changes", "message"),
    BUGS,
    ids=[
        "router gemm",
        "recomputed norms",
        "names of experts",
        "seed under SP",
        "compiled collectives",
    ],
)
def test_the_bug_is_still_there(
    patch: str, count: int, changes: dict[str, Any], message: str, tmp_path: Path, cache: Path
) -> None:
    run = ranks.train(ranks.spec(count, **changes), tmp_path, cache, patch=patch, all_ranks=True)
    assert run.codes == [1] * count
    assert message in run.log()


def test_zero_3_never_holds_the_whole_model(tmp_path: Path, cache: Path) -> None:
    """Partition small models too, and already while they are built."""
    patch = """
        from launcher.workers.engines import deepspeed as module
        real = module.build
        def build(spec, place, batches):
            engine = real(spec, place, batches)
            weights = [p for p in engine._engine.module.parameters() if len(p.ds_shape) == 2]
            whole = sum(p.numel() for p in weights)
            mine = sum(p.ds_tensor.numel() for p in weights)
            print("whole", whole, "mine", mine, flush=True)
            return engine
        module.build = build
    """
    spec = ranks.spec(2, backend="deepspeed", layout__zero=3, train__steps=3)
    run = ranks.train(spec, tmp_path, cache, patch=patch)
    assert run.codes == [0, 0], run.log()
    matrices = spec.model.params - 9 * spec.model.hidden  # nine norms
    assert f"whole 0 mine {matrices // 2}" in run.log()


def test_the_norm_of_many_gradients_is_not_read_one_by_one(tmp_path: Path, cache: Path) -> None:
    """Each read makes the host wait for a card: tensors that cannot be read show it."""
    patch = """
        import torch
        from megatron.core import utils
        from launcher.workers.engines import megatron as engines
        def check(norm, scale):
            try:
                utils.local_multi_tensor_l2_norm(0, None, [[torch.ones(2, device="meta")]], False)
            except (RuntimeError, NotImplementedError) as error:
                print("read:", str(error).split(chr(10))[0], flush=True)
            total, _ = norm(0, None, [[torch.ones(2, device="meta")] * 50], False)
            print("not read", tuple(total.shape), flush=True)
            gradients = [torch.randn(n + 1) for n in range(50)]
            before, _ = utils.local_multi_tensor_l2_norm(0, None, [gradients], False)
            print("norm", torch.equal(before, norm(0, None, [gradients], False)[0]), flush=True)
            copies = [gradient.clone() for gradient in gradients]
            utils.local_multi_tensor_scale(0, None, [copies, copies], 0.3)
            scale(0, None, [gradients, gradients], 0.3)
            print("scaled", all(map(torch.equal, copies, gradients)), flush=True)
        real = engines.build
        def build(*args):
            from megatron.core.optimizer import clip_grads
            check(clip_grads.l2_norm_impl, clip_grads.multi_tensor_scale_impl)
            return real(*args)
        engines.build = build
    """
    run = ranks.train(ranks.spec(1, train__steps=2), tmp_path, cache, patch=patch)
    assert run.codes == [0], run.log()
    printed = run.log()
    assert "\nread: " in printed and "\nnot read (1,)\nnorm True\nscaled True\n" in printed


def test_a_storage_that_was_given_up_is_filled_without_a_new_version() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    values = torch.arange(8.0).reshape(2, 4)
    activation = values.clone()
    product = activation @ weight  # keeps it for the backward pass
    activation.untyped_storage().resize_(0)
    fixes._copy_storage(activation, values)
    product.sum().backward()
    assert weight.grad is not None and weight.grad[:, 0].tolist() == values.sum(0).tolist()
