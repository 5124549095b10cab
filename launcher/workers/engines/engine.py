"""The seam of an engine: what the training loop asks of it.

To add one, write a module beside this one, of the name that it has in
`launcher.backends.BACKENDS`, with a function ``build(spec, place, batches)`` of type `Build` that
returns an `Engine`. When it is called the ranks have met, and megatron-core's ``parallel_state``
knows every process group of the layout.

An engine trains megatron-core's GPTModel (`launcher.workers.model.gpt`), so that every engine and
layout gives the same losses:

- Fill the weights with `launcher.workers.model.weights.initialise`, under their global names.
- Count them with `launcher.workers.model.weights.count`, which refuses another model than the
  spec's; the result is ``built``.
- Clip by ``spec.train.optimizer.clip_grad``, and decay matrices only.
- If the optimizer is of a class that `launcher.workers.checkpoints.optimizer_state.FAMILIES` does
  not know, say there where it keeps fp32 weights and moments; `state` is then one line.

``tests/launcher/workers/engines/test_parity.py`` compares the losses with those of a single rank.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from launcher.spec.run import RunSpec
from launcher.workers.checkpoints.training_state import TrainingState
from launcher.workers.data.batches import Batch, Batches
from launcher.workers.model.groups import RankPlace
from launcher.workers.model.weights import BuiltModel


@dataclass(frozen=True, slots=True)
class RankStep:
    """One optimizer step as this rank saw it, after backward and before the update."""

    loss_sum: float
    """Sum of the loss of the tokens this rank accounts for, nats. The sums of all ranks add up to
    the batch's, so of the ranks that compute the same loss only one accounts for it."""
    tokens: int
    """Number of those tokens; 0 on a rank that leaves the loss to another."""
    grad_norm: float
    """L2 norm of the gradient of the full model, before clipping."""


Apply = Callable[[RankStep], bool]
"""Decides on all ranks together, by collectives, and alike; True where the update is applied."""


Take = Callable[[Any, Batch], None]
"""Takes the output of a micro batch: the loss of each token, [micro_batch, sequence / cp], where it
has labels, else logits, [micro_batch, sequence / cp, vocab / tp]."""


class ForwardOnly(Protocol):
    """Computes what a model makes of tokens, as one rank of its layout."""

    def forward_only(self, batches: Sequence[Batch], take: Take) -> None:
        """Pass micro batches through the model as it is now; the next step finds all as it was.

        Every rank calls it with as many of them, in the interleaved schedule a multiple of pp. All
        their sequences have one length, which may be less than the model's. On the ranks of the
        last stage ``take`` gets the output of each.
        """


class Engine(ForwardOnly, Protocol):
    """Trains one model on one layout, as one rank of it."""

    built: BuiltModel
    """Size of what all ranks built, for the run's result."""
    optimizer_name: str
    """Classes of the optimizer that steps (`optimizer_state.class_names`), for the same."""

    def step(self, number: int, lr: float, apply: Apply) -> None:
        """Do optimizer step ``number`` (from 1) at learning rate ``lr``.

        Train on every micro batch of ``batches.of_step(number)``. Their number may grow from step
        to step: it is ``spec.accumulation_at(number)``.

        Call ``apply`` exactly once on every rank, between the last backward pass and the update:
        a rank that does not call it hangs the others. Where it returns False, leave the weights
        and all of the optimizer's state, its count of steps included, as they are; the next step
        is another one.
        """

    def state(self) -> TrainingState:
        """Return all that steps change, as checkpoints read and write it: in place, no copy.

        A checkpoint may be restored into it before the first step and, in a rollback, between two.
        """


Build = Callable[[RunSpec, RankPlace, Batches], Engine]


@contextmanager
def evaluating(modules: Iterable[Any]) -> Iterator[None]:
    """Compute without gradients, recomputation and what only training does, until this is left."""
    modules = list(modules)
    for module in modules:
        module.eval()
    with torch.no_grad():
        yield
    for module in modules:
        module.train()


def build(spec: RunSpec, place: RankPlace, batches: Batches) -> Engine:
    """Build the engine a spec asks for; only that one's library is imported."""
    # A backend's name is a key of launcher.backends.BACKENDS, which the launcher has looked up.
    assert spec.backend.isidentifier(), spec.backend
    module = importlib.import_module(f"{__package__}.{spec.backend}")
    build_engine: Build = module.build
    return build_engine(spec, place, batches)
