"""Faults of megatron-core 0.16 to 0.19 on hosts without Transformer Engine, one function each."""

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any


def apply() -> None:
    """Apply the fixes this host needs; to be called after megatron.core is imported."""
    if importlib.util.find_spec("transformer_engine") is None:
        _router_gemm()
        _recomputed_norms()
    _restored_outputs()
    _gradient_norm()


def _router_gemm() -> None:
    """Define ``te_general_gemm``, which the router reads but only the import of TE defines.

    Without it: NameError in ``megatron.core.transformer.moe.moe_utils.RouterGatingLinearFunction``;
    None selects its own torch path.
    """
    import megatron.core.transformer.moe.moe_utils as moe_utils

    if not hasattr(moe_utils, "te_general_gemm"):
        moe_utils.te_general_gemm = None


def _recomputed_norms() -> None:
    """Recompute norms (``recompute_modules``: layernorm) in the precision they were computed in.

    ``CheckpointWithoutOutput`` takes its default, ``fp8=False``, for fp8 (it asks ``is not None``).
    Without the fix: NameError of ``FP8GlobalStateManager``, which only the import of TE defines.
    """
    from megatron.core.tensor_parallel.random import CheckpointWithoutOutput

    original = CheckpointWithoutOutput.__init__

    @functools.wraps(original)
    def initialise(self: Any, fp8: Any = False, *args: Any, **options: Any) -> None:
        original(self, fp8 or None, *args, **options)

    CheckpointWithoutOutput.__init__ = initialise


def _restored_outputs() -> None:
    """Restore the outputs of recomputed modules as core 0.16 does: by a copy of their bytes.

    Since 0.17 an extension in C++ shares them. Every rank would compile it on first use, in one
    folder below its user's home, and die where ninja or a compiler is missing.
    """
    from megatron.core.tensor_parallel import random

    if hasattr(random, "_get_share_storage"):
        random._get_share_storage = lambda: _copy_storage


def _copy_storage(output: Any, recomputed: Any) -> None:
    """Fill a tensor whose storage was given up; its version, which autograd checks, stays."""
    source = recomputed.untyped_storage()
    output.untyped_storage().resize_(source.size())
    output.untyped_storage().copy_(source)


def _gradient_norm() -> None:
    """Take the norm of all gradients at once, and scale them at once.

    Without Transformer Engine and Apex, megatron-core reads the norm of each gradient on the host,
    which waits for the card each time: hundreds of times a step, with experts thousands.
    """
    import megatron.core.optimizer.clip_grads as clip_grads
    from megatron.core import utils

    if clip_grads.l2_norm_impl is utils.local_multi_tensor_l2_norm:
        clip_grads.l2_norm_impl = _norm_of_all
        clip_grads.multi_tensor_scale_impl = _scale_all


def _norm_of_all(
    chunk_size: int, overflow: Any, tensors: Sequence[Sequence[Any]], per_tensor: bool
) -> tuple[Any, None]:
    """Stand in for ``amp_C.multi_tensor_l2norm``: one number on the gradients' device."""
    import torch

    norms = torch._foreach_norm([tensor for together in tensors for tensor in together])
    return torch.linalg.vector_norm(torch.stack(norms)).float().reshape(1), None


def _scale_all(
    chunk_size: int, overflow: Any, tensors: Sequence[Sequence[Any]], scale: float
) -> None:
    """Stand in for ``amp_C.multi_tensor_scale``: the second list gets the first one, scaled."""
    import torch

    torch._foreach_copy_(list(tensors[1]), torch._foreach_mul(list(tensors[0]), scale))
