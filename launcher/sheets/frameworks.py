"""Habits of frameworks that the sheets of their users do not mention."""

import re
from dataclasses import dataclass, field

from launcher.planner.engines import Engine
from launcher.planner.points import NumberFormat

MEGATRON_GRADIENT: dict[NumberFormat, float] = {"fp32": 4.0, "fp16": 2.0, "bf16": 4.0, "fp8": 4.0}
"""Bytes of gradient per parameter in Megatron-LM (docs/dist_optimizer.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Framework:
    """Defaults of one framework."""

    pattern: str
    """Its name in a sheet, in lower case: in the source, backend, model, notes or ZeRO stage."""
    engine: Engine
    flash: bool = True
    fused_loss: bool = False
    """The loss overwrites the logits."""
    gpt_dropout: bool = False
    """GPTs are trained with dropout on the residual."""
    gpt_tied: bool = False
    """GPTs share the weights of embedding and LM head."""
    sharded: bool = False
    """Its DDP shards the optimizer."""
    gradient: dict[NumberFormat, float] = field(default_factory=lambda: MEGATRON_GRADIENT)
    """Bytes of gradient per parameter, before ZeRO splits them."""


FRAMEWORKS = (
    # No flash attention unless asked for. In bf16, BF16_Optimizer adds gradients up in fp32 beside
    # the bf16 ones: BigScience, chronicles-prequel.md, "Rebalancing layers".
    Framework(
        pattern=r"megatron-deepspeed|bigscience|neox", engine="deepspeed", flash=False,
        gradient=MEGATRON_GRADIENT | {"bf16": 6.0},
    ),
    Framework(pattern=r"deepspeed", engine="deepspeed", gradient=MEGATRON_GRADIENT | {"bf16": 6.0}),
    # Recipes for speed reduce gradients in bf16 (grad_reduce_in_fp32=False) where they use fp8, and
    # have the distributed optimizer under DDP.
    Framework(
        pattern=r"nemo|megatron-bridge", engine="megatron", sharded=True,
        gradient=MEGATRON_GRADIENT | {"fp8": 2.0},
    ),
    # --hidden-dropout is 0.1 unless stated, and embeddings are tied unless
    # --untie-embeddings-and-output-weights: megatron/training/arguments.py.
    Framework(
        pattern=r"megatron|mcore|\bptd\b|dist\w*[ _-]?opt", engine="megatron", gpt_dropout=True,
        gpt_tied=True,
    ),
    # loss_fn: fused_crossentropy
    Framework(pattern=r"llm-foundry|composer|\bmpt\b", engine="fsdp", fused_loss=True),
    Framework(pattern=r"fsdp|torchtitan|automodel", engine="fsdp"),
)  # fmt: skip

UNKNOWN = Framework(pattern="", engine="deepspeed", gradient=MEGATRON_GRADIENT | {"bf16": 2.0})
"""ZeRO as its paper counts it (arXiv:1910.02054): gradients in half precision and nothing more."""


def framework(text: str) -> Framework:
    """Return the first one that a text in lower case names, or `UNKNOWN`."""
    return next((habits for habits in FRAMEWORKS if re.search(habits.pattern, text)), UNKNOWN)
