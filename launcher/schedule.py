"""The learning rate of every optimizer step, as a pure function."""

import math

from launcher.spec import Optimizer


def learning_rate(optimizer: Optimizer, step: int, steps: int) -> float:
    """Learning rate of optimizer step ``step`` (from 1) of ``steps``.

    Linear from 0, reaching ``lr`` at step ``warmup_steps``; then the decay from ``lr`` to
    ``min_lr``, which the last step has exactly. A run shorter than its warm-up ends within it.
    """
    warmup = optimizer.warmup_steps
    if step <= warmup:
        return optimizer.lr * step / warmup
    done = (step - warmup) / (steps - warmup)
    left = {
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "linear": 1 - done,
        "constant": 1.0,
    }[optimizer.decay]
    return optimizer.min_lr + (optimizer.lr - optimizer.min_lr) * left
