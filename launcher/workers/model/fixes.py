"""Bugs of megatron-core 0.16.1 on hosts without Transformer Engine, one function each."""

import importlib.util


def apply() -> None:
    """Apply the fixes this host needs; to be called after megatron.core is imported."""
    if importlib.util.find_spec("transformer_engine") is None:
        _router_gemm()


def _router_gemm() -> None:
    """Define ``te_general_gemm``, which the router reads but only the import of TE defines.

    Without it: NameError in ``megatron.core.transformer.moe.moe_utils.RouterGatingLinearFunction``;
    None selects its own torch path.
    """
    import megatron.core.transformer.moe.moe_utils as moe_utils

    if not hasattr(moe_utils, "te_general_gemm"):
        moe_utils.te_general_gemm = None
