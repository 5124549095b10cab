"""Micro batches of each step: the samples that this rank takes, on its device."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from launcher.spec.run import RunSpec
from launcher.workers.data import dataset
from launcher.workers.data.sample_order import hash64
from launcher.workers.errors import DataError
from launcher.workers.model import platform
from launcher.workers.model.groups import RankPlace

DIGESTS = 1 << 52
"""Digests are below this, so that a collective of floats adds them up exactly."""

Batch = dict[str, Any]
"""``tokens`` and ``labels``, each [micro_batch, sequence / cp]."""


class Batches:
    """Reads the samples of a run in an order that the seed and the spec alone decide."""

    def __init__(self, spec: RunSpec, place: RankPlace, cache: Path) -> None:
        self._spec, self._place = spec, place
        self._samples = dataset.load(spec, cache)
        self._read: tuple[int, dict[int, int]] = (0, {})
        """Step that is being read, and digest of each of its micro batches read so far."""

    def of_step(self, step: int) -> Iterator[Batch]:
        """Micro batches of this data parallel rank in step ``step``.

        Raises:
            DataError: a token id that the model does not know.
        """
        for numbers in self._numbers(step):
            self._read = self._read if self._read[0] == step else (step, {})
            self._read[1][numbers.start] = self._digest(numbers)
            yield self._batch(numbers)

    def read(self, step: int) -> int:
        """Digest, as `expected`, of the samples really read from `of_step` in a step."""
        return sum(self._read[1].values()) % DIGESTS if self._read[0] == step else 0

    def expected(self, step: int) -> int:
        """Digest of the samples that are to be read by this rank in a step, and of their order.

        Its sum over all ranks, modulo `DIGESTS`, does not depend on the layout.
        """
        return sum(map(self._digest, self._numbers(step))) % DIGESTS

    def counts(self, step: int) -> Mapping[str, int]:
        """Number of samples that this run takes from each source up to a step."""
        return self._samples.counts(self._spec.samples_through(step))

    def _numbers(self, step: int) -> Iterator[range]:
        """Numbers, in the run, of the samples of each micro batch."""
        size, base = self._spec.layout.micro_batch, self._spec.samples_through(step - 1)
        for number in range(self._spec.accumulation_at(step)):
            first = base + (number * self._place.dp_size + self._place.dp) * size
            yield range(first, first + size)

    def _digest(self, numbers: range) -> int:
        """Digest of samples; zero on all but one of the ranks that read the same ones."""
        place = self._place
        if place.tp or place.cp or not place.last_stage:
            return 0
        return sum(hash64(number, self._samples.identity(number)) % DIGESTS for number in numbers)

    def _batch(self, numbers: range) -> Batch:
        samples = [self._samples[number] for number in numbers]
        batch = {key: torch.stack([s[key] for s in samples]) for key in ("tokens", "labels")}
        largest, vocab = max(int(ids.max()) for ids in batch.values()), self._spec.model.vocab
        if largest >= vocab:
            raise DataError(f"token id {largest} in the data, model.vocab is {vocab}")
        return {key: rank_part(ids, self._spec, self._place) for key, ids in batch.items()}


def rank_part(sequences: Any, spec: RunSpec, place: RankPlace) -> Any:
    """This rank's part of sequences [micro_batch, sequence] under CP, on its device."""
    part, device = _own_pieces(sequences, spec.layout.cp, place.cp), platform.device()
    if device.type == "cuda":
        return part.pin_memory().to(device, non_blocking=True)
    return part


def _own_pieces(sequences: Any, cp: int, rank: int) -> Any:
    """Pieces r and 2 cp - 1 - r of the sequences: what `CausalAttention` expects."""
    if cp == 1:
        return sequences
    pieces = sequences.chunk(2 * cp, dim=1)
    return torch.cat([pieces[rank], pieces[-1 - rank]], dim=1)
