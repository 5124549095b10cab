"""What an engine is to the training loop, and which there are."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.training_state import State
from launcher.workers.data.batches import Batches
from launcher.workers.model.groups import Place
from launcher.workers.model.weights import Built


@dataclass(frozen=True, slots=True)
class Done:
    """One optimizer step as this rank saw it."""

    loss_sum: float
    """Sum of the loss of the tokens this rank accounts for; all ranks' add up to the batch's."""
    tokens: int
    """Those tokens; 0 on a rank that leaves the loss to another."""
    grad_norm: float
    """L2 norm of the gradient of the whole model, before clipping."""


Apply = Callable[[Done], bool]
"""Whether the update is applied; it may talk to the other ranks."""


class Engine(Protocol):
    """Trains one model on one layout."""

    built: Built

    def step(self, number: int, lr: float, apply: Apply) -> None:
        """Do optimizer step ``number`` (from 1) at learning rate ``lr``.

        ``apply`` is asked once, by every rank, between backward and update; where it says no the
        weights and the optimizer's state stay what they are.
        """

    def state(self) -> State:
        """All that the steps so far have changed; to be restored before the first one."""


Build = Callable[[RunSpec, Place, Batches], Engine]


def build(spec: RunSpec, place: Place, batches: Batches) -> Engine:
    """The engine a spec asks for; only that one's library is imported."""
    pipelined = spec.backend == "deepspeed" and spec.layout.pp > 1
    name = "deepspeed_pipeline" if pipelined else spec.backend
    assert name in ENGINES, name
    module = importlib.import_module(f"launcher.workers.engines.{name}")
    make: Build = module.build
    return make(spec, place, batches)


ENGINES = ("megatron", "deepspeed", "deepspeed_pipeline")
"""Modules beside this one; each has a `Build` of that name."""
