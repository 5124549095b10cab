"""The micro batches of each step: which samples this rank takes, on its device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from launcher.spec import RunSpec
from launcher.workers import dataset, platform
from launcher.workers.errors import DataError
from launcher.workers.groups import Place

Batch = dict[str, Any]
"""``tokens`` and ``labels``, each [micro_batch, sequence / cp]."""


class Batches:
    """Reads the samples of a run in an order that the seed and the spec alone decide."""

    def __init__(self, spec: RunSpec, place: Place, cache: Path) -> None:
        self._spec, self._place = spec, place
        self._samples = dataset.load(spec, cache)
        self._device = platform.device()

    def of_step(self, step: int) -> Iterator[Batch]:
        """The micro batches of this data parallel rank in step ``step`` (from 1).

        Raises:
            DataError: a token id that the model does not know.
        """
        size = self._spec.layout.micro_batch
        base = (step - 1) * self._spec.train.global_batch
        for number in range(self._spec.accumulation):
            first = base + (number * self._place.dp_size + self._place.dp) * size
            yield self._batch(range(first, first + size))

    def _batch(self, numbers: range) -> Batch:
        samples = [self._samples[number] for number in numbers]
        return {key: self._on_device([s[key] for s in samples]) for key in ("tokens", "labels")}

    def _on_device(self, rows: list[Any]) -> Any:
        batch = torch.stack(rows)
        largest, vocab = int(batch.max()), self._spec.model.vocab
        if largest >= vocab:
            raise DataError(f"token id {largest} in the data, model.vocab is {vocab}")
        if self._spec.layout.cp > 1:
            batch = self._own_pieces(batch)
        if self._device.type == "cuda":
            return batch.pin_memory().to(self._device, non_blocking=True)
        return batch

    def _own_pieces(self, batch: Any) -> Any:
        """Pieces r and 2 cp - 1 - r of the sequence: what `CausalAttention` expects."""
        pieces = batch.chunk(2 * self._spec.layout.cp, dim=1)
        rank = self._place.cp
        return torch.cat([pieces[rank], pieces[-1 - rank]], dim=1)
