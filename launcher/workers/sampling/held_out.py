"""Validation losses: means over text of each source that is not trained on."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from launcher.results.samples import Validation
from launcher.spec.run import RunSpec
from launcher.workers.collectives import total
from launcher.workers.data import dataset
from launcher.workers.data.batches import Batch
from launcher.workers.errors import DataError
from launcher.workers.model import platform
from launcher.workers.sampling.forward import NUMBERS, Forward


@dataclass(frozen=True, slots=True)
class HeldOut:
    """First held-out sequences of each source of a blend; always the same ones."""

    sequences: dict[str, list[dict[str, Any]]]
    """``tokens`` and ``labels`` of each; none for a source without any."""
    reasons: dict[str, str]
    """Reason why a source has none."""

    def losses(self, forward: Forward) -> dict[str, Validation]:
        """Compute the mean loss of each source."""
        sources = list(self.sequences)
        source_of = [n for n, source in enumerate(sources) for _ in self.sequences[source]]
        padding = len(sources)
        sums = torch.zeros(padding + 1, dtype=torch.float64, device=platform.device())

        def add(losses: Any, batch: Batch) -> None:
            rows = [padding if n is None else source_of[n] for n in batch[NUMBERS]]
            index = torch.tensor(rows, device=losses.device)
            sums.index_add_(0, index, losses.double().sum(1))

        rows = [row for source in sources for row in self.sequences[source]]
        if rows:
            forward.run(rows, add)
        totals = total((sums if forward.accounts else torch.zeros_like(sums))[:padding].tolist())
        length = forward.spec.model.sequence
        return {
            source: self._validation(source, loss_sum, length * len(self.sequences[source]))
            for source, loss_sum in zip(sources, totals, strict=True)
        }

    def _validation(self, source: str, loss_sum: float, tokens: int) -> Validation:
        if source in self.reasons:
            return Validation(loss=None, tokens=0, why=self.reasons[source])
        if not math.isfinite(loss_sum):
            return Validation(loss=None, tokens=tokens, why="the loss is not finite")
        return Validation(loss=loss_sum / tokens, tokens=tokens)


def load(spec: RunSpec, cache: Path, limit: int) -> HeldOut:
    """Load ``limit`` sequences of each source at most. Raises DataError."""
    held_out = HeldOut({}, {})
    for source, sequences in dataset.held_out(spec, cache) if limit else ():
        held_out.sequences[source] = []
        if isinstance(sequences, str):  # the reason why there are none
            held_out.reasons[source] = sequences
            continue
        for number in range(min(limit, len(sequences))):
            row = {key: sequences[number][key] for key in ("tokens", "labels")}
            largest = max(int(ids.max()) for ids in row.values())
            if largest >= spec.model.vocab:
                raise DataError(
                    f"token id {largest} in the held-out text of {source}, model.vocab is"
                    f" {spec.model.vocab}"
                )
            held_out.sequences[source].append(row)
    return held_out
