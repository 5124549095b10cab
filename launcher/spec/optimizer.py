"""The optimizer, and the learning rate of each of its steps as a pure function."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.decode import Count, Fraction, NotNegative, Positive, Whole

Decay = Literal["cosine", "linear", "exponential", "minus_sqrt", "constant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """AdamW and its learning-rate schedule."""

    lr: Positive = 3e-4
    """Peak learning rate."""
    min_lr: NotNegative = 3e-5
    """Learning rate at the end of the decay."""
    start_lr: NotNegative = 0.0
    """Learning rate that the warm-up begins from."""
    warmup_steps: Whole = 2
    """Optimizer steps of linear warm-up."""
    decay: Decay = "cosine"
    """Shape of the decay from lr to min_lr; constant stays at lr."""
    decay_steps: Count | None = None
    """Last steps, over which it decays, stable before (WSD); all after warm-up if null."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay of matrices; vectors (norms) are not decayed."""
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    eps: Positive = 1e-8
    clip_grad: NotNegative = 1.0
    """Gradients are scaled to this global L2 norm when above it; 0 is no clipping."""


SCHEDULE = ("start_lr", "lr", "min_lr", "warmup_steps", "decay", "decay_steps")
"""Fields of an optimizer that decide the learning rate, and nothing else."""

DECAYS: Mapping[Decay, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "exponential": lambda progress: 2 * 0.5**progress - 1,
    "minus_sqrt": lambda progress: 1 - math.sqrt(progress),
    "constant": lambda progress: 1.0,
}
"""Share of lr - min_lr that remains at a progress of the decay from 0 to 1. The shapes, and their
names, are those of Megatron-LM's WSD: megatron/core/optimizer_param_scheduler.py."""


def learning_rate(optimizer: Optimizer, step: int, steps: int) -> float:
    """Learning rate of optimizer step ``step`` (from 1) of ``steps``.

    Linear from ``start_lr``, reaching ``lr`` at step ``warmup_steps``; then ``lr`` until the last
    ``decay_steps``, if there is such a number (warm-up, stable, decay); then the decay from ``lr``
    to ``min_lr``, which the last step has exactly. A run shorter than its warm-up ends within it.
    """
    warmup, start = optimizer.warmup_steps, optimizer.start_lr
    if step <= warmup:
        return start + (optimizer.lr - start) * step / warmup
    decaying = optimizer.decay_steps or steps - warmup
    progress = max(step - (steps - decaying), 0) / decaying
    remaining = DECAYS[optimizer.decay](progress)
    return optimizer.min_lr + (optimizer.lr - optimizer.min_lr) * remaining
