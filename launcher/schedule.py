"""The learning rate of every optimizer step, as a pure function."""

import math
from collections.abc import Callable, Mapping

from launcher.spec import Decay, Optimizer, RunSpec

DECAYS: Mapping[Decay, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "exponential": lambda done: 2 * 0.5**done - 1,
    "minus_sqrt": lambda done: 1 - math.sqrt(done),
    "constant": lambda done: 1.0,
}
"""Share of lr - min_lr that is left when a share of the decay is done. The shapes, and their names,
are those of Megatron-LM's WSD: megatron/core/optimizer_param_scheduler.py."""


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
    done = max(step - (steps - decaying), 0) / decaying
    left = DECAYS[optimizer.decay](done)
    return optimizer.min_lr + (optimizer.lr - optimizer.min_lr) * left


def rate_of(spec: RunSpec, step: int) -> float:
    """Learning rate of a run's optimizer step; of a stage, by the schedule that it is a part of."""
    stage, optimizer = spec.stage, spec.train.optimizer
    if stage is None:
        return learning_rate(optimizer, step, spec.train.steps)
    return learning_rate(optimizer, step - stage.schedule_after, stage.schedule_steps)
