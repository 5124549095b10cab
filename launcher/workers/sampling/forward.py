"""Forward passes of any number of sequences, shared out among the data parallel ranks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from launcher.spec.run import RunSpec
from launcher.workers.data.batches import Batch, rank_part
from launcher.workers.engines.engine import ForwardOnly, Take
from launcher.workers.model.groups import RankPlace

NUMBERS = "numbers"
"""Key of a micro batch, with the number of each sequence; None where it is padding."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Model on all ranks of its layout; each of them has to make the same calls."""

    spec: RunSpec
    place: RankPlace
    engine: ForwardOnly
    begin: Callable[[], None]
    """Called before every pass of as many micro batches as a step has, at most."""

    @property
    def accounts(self) -> bool:
        """True on the ranks whose outputs, all together, have each token once."""
        return self.place.last_stage and self.place.tp == 0

    def length(self, tokens: int) -> int:
        """Least length for so many tokens that the layout can split, the model's at most."""
        unit = 2 * self.spec.layout.cp * self.spec.layout.tp
        return min(math.ceil(tokens / unit) * unit, self.spec.model.sequence)

    def run(self, sequences: Sequence[Mapping[str, Any]], take: Take) -> None:
        """Pass sequences through the model, and what comes out to ``take``.

        Args:
            sequences: ``tokens``, perhaps ``labels``, and what ``take`` needs besides: [length]
                each. A micro batch has a part of them under the same names, and `NUMBERS`.
            take: called as `ForwardOnly.forward_only` does.
        """
        layout = self.spec.layout
        at_once = layout.micro_batch * self.place.dp_size
        count = math.ceil(len(sequences) / at_once)
        if layout.vpp > 1:  # the interleaved schedule wants a multiple
            count = math.ceil(count / layout.pp) * layout.pp
        for first in range(0, count, self.spec.accumulation):
            numbers = range(first, min(first + self.spec.accumulation, count))
            self.begin()
            self.engine.forward_only([self._batch(sequences, n) for n in numbers], take)

    def _batch(self, sequences: Sequence[Mapping[str, Any]], number: int) -> Batch:
        """Micro batch of a number, from 0, on this data parallel rank; zeros behind the last."""
        size = self.spec.layout.micro_batch
        first = (number * self.place.dp_size + self.place.dp) * size
        numbers = [n if n < len(sequences) else None for n in range(first, first + size)]
        batch: Batch = {NUMBERS: numbers}
        for key, like in sequences[0].items():
            padding = torch.zeros_like(like)
            rows = [padding if n is None else sequences[n][key] for n in numbers]
            batch[key] = rank_part(torch.stack(rows), self.spec, self.place)
        return batch
