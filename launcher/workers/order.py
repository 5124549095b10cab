"""Which sample comes when: functions of the seed, the blend and a number, and of nothing else."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from megatron.core.datasets import helpers

ROUNDS = 6
"""Of the Feistel network; four already make a pseudorandom permutation of a good round function
(Luby and Rackoff 1988)."""
MASK_64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A permutation of ``size`` numbers that takes no memory: a Feistel network.

    Numbers that leave the range go through it again, which keeps it a permutation.
    """

    key: int
    """64 bits."""
    size: int

    def __call__(self, number: int) -> int:
        """Where ``number`` (from 0) goes to."""
        half = max((self.size - 1).bit_length() + 1, 2) // 2
        mask = (1 << half) - 1
        while True:
            left, right = number >> half, number & mask
            for turn in range(ROUNDS):
                left, right = right, left ^ (_mixed(self.key + turn, right) & mask)
            number = left << half | right
            if number < self.size:
                return number


@dataclass(frozen=True, slots=True)
class Stream:
    """The samples of one source without end: epoch after epoch, each in an order of its own."""

    key: str
    """Seed and content of the source."""
    size: int
    """Samples of an epoch."""

    def at(self, number: int) -> int:
        """The sample of the source that is number ``number`` (from 0) of the stream."""
        epoch, place = divmod(number, self.size)
        return Shuffle(hash64(f"{self.key} {epoch}"), self.size)(place)


class Blend:
    """Which source each sample of a run is from; off its weight by a sample or two at any time.

    megatron-core's greedy rule: the source that is furthest behind its weight.
    """

    def __init__(self, weights: Sequence[float], count: int) -> None:
        self._source = np.zeros(count, dtype=np.int16)
        self._number = np.zeros(count, dtype=np.int64)
        total = sum(weights)
        shares = np.array([weight / total for weight in weights], dtype=np.float64)
        helpers.build_blending_indices(
            self._source, self._number, shares, len(weights), count, False
        )

    def at(self, number: int) -> tuple[int, int]:
        """The source of a sample, and how many samples of that source came before it."""
        return int(self._source[number]), int(self._number[number])

    def counts(self, names: Sequence[str], first: int, stop: int) -> Mapping[str, int]:
        """Samples from each source, of those numbered from ``first`` to before ``stop``."""
        found = np.bincount(self._source[first:stop], minlength=len(names))
        return dict(zip(names, map(int, found), strict=True))


def hash64(*parts: Any) -> int:
    """64 bits of a text of the parts."""
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _mixed(key: int, value: int) -> int:
    """The finalizer of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    x = (value + key * 0x9E3779B97F4A7C15) & MASK_64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK_64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK_64
    return x ^ x >> 31
