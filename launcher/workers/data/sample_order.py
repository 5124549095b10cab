"""Order of samples, as functions of the seed, the blend and a number, and of nothing else."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from launcher.workers.splitmix64 import splitmix64

ROUNDS = 6
"""Rounds of the Feistel network; four already make a pseudorandom permutation of a good round
function (Luby and Rackoff 1988)."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A permutation of ``size`` numbers that takes no memory: a Feistel network.

    Numbers that leave the range go through it again, which keeps it a permutation.
    """

    key: int
    """64 bits."""
    size: int

    def __call__(self, number: int) -> int:
        """Image of ``number`` (from 0) under the permutation."""
        half = max((self.size - 1).bit_length() + 1, 2) // 2
        mask = (1 << half) - 1
        while True:
            high, low = number >> half, number & mask
            for turn in range(ROUNDS):
                high, low = low, high ^ (splitmix64(self.key + turn, low) & mask)
            number = high << half | low
            if number < self.size:
                return number


@dataclass(frozen=True, slots=True)
class Stream:
    """Endless stream of one source's samples: epoch after epoch, each in an order of its own."""

    key: str
    """Seed and content of the source."""
    size: int
    """Samples of an epoch."""

    def at(self, number: int) -> int:
        """Index, in the source, of the sample that is number ``number`` (from 0) of the stream."""
        epoch, number_in_epoch = divmod(number, self.size)
        return Shuffle(hash64(f"{self.key} {epoch}"), self.size)(number_in_epoch)


class Blend:
    """Assignment of samples to sources, always within two samples of each source's weight.

    Of the first n samples a pair of sources get n times their shares, rounded; more sources are a
    binary tree of such pairs. As n grows by one, the count of one side of a pair grows by one and
    the other stays: the side that grows is that of sample n. So nothing has to be stored, nor
    counted from the beginning.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        """Pair the lightest first (Huffman), which keeps the roundings small.

        Each rounding on the way to a source is half a sample at most, times the source's share of
        what was rounded. These shares fall as fast as 1, 1, 1/2, 1/3, 1/5: together below 3.36
        halves.
        """
        # Exact, as they are compared over 10^10 samples; the number orders equal weights.
        heap: list[tuple[Fraction, int, _Node]] = [
            (Fraction(weight), number, number) for number, weight in enumerate(weights)
        ]
        heapq.heapify(heap)
        for number in range(len(weights), 2 * len(weights) - 1):
            (light, _, lighter), (heavy, _, heavier) = heapq.heappop(heap), heapq.heappop(heap)
            share = heavy / (light + heavy)
            pair = _Pair(heavier, lighter, share.numerator, share.denominator)
            heapq.heappush(heap, (light + heavy, number, pair))
        self._root = heap[0][2]

    def at(self, number: int) -> tuple[int, int]:
        """Source of a sample, and the number of samples of that source before it."""
        node = self._root
        while isinstance(node, _Pair):
            of_first = node.first_of(number)
            if node.first_of(number + 1) > of_first:
                node, number = node.first, of_first
            else:
                node, number = node.second, number - of_first
        return node, number

    def counts(self, names: Sequence[str], first: int, stop: int) -> Mapping[str, int]:
        """Number of samples from each source among those numbered ``first`` to ``stop`` - 1."""
        counts_before, counts_until = (
            dict(_source_counts(self._root, first)),
            dict(_source_counts(self._root, stop)),
        )
        return {
            name: counts_until[source] - counts_before[source] for source, name in enumerate(names)
        }


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two sources, or pairs of them, and the share of the first: a fraction in lowest terms."""

    first: "_Node"
    second: "_Node"
    numerator: int
    denominator: int

    def first_of(self, count: int) -> int:
        """Number, rounded, of the first ``count`` samples that go to ``first``."""
        return (2 * count * self.numerator + self.denominator) // (2 * self.denominator)


_Node = _Pair | int
"""A pair, or the number of a source."""


def _source_counts(node: _Node, count: int) -> Iterator[tuple[int, int]]:
    """Each source below a node, with its number among the first ``count`` samples of the node."""
    if isinstance(node, _Pair):
        first = node.first_of(count)
        yield from _source_counts(node.first, first)
        yield from _source_counts(node.second, count - first)
    else:
        yield node, count


def hash64(*parts: Any) -> int:
    """64-bit hash of the parts, joined as text."""
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
