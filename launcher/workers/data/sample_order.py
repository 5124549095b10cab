"""Which sample comes when: functions of the seed, the blend and a number, and of nothing else."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

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
    """Which source each sample of a run is from; off its weight by less than two at any moment.

    Of the first so many samples two sources have their shares, rounded; those of more sources are
    shared out in a tree of such pairs. Neither side's number ever falls, and both together rise by
    one with each sample, so that the one that rises tells where that sample is from: nothing has to
    be kept, and nothing counted from the beginning.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        """Pair the lightest first (Huffman), which keeps the roundings small.

        Each on the way to a source is half a sample at most, times the source's share of what was
        rounded. These shares fall as fast as 1, 1, 1/2, 1/3, 1/5: together below 3.36 halves.
        """
        # Exact, as they are compared over 10^10 samples; the number is for those that are equal.
        heap: list[tuple[Fraction, int, _Node]] = [
            (Fraction(weight), number, number) for number, weight in enumerate(weights)
        ]
        heapq.heapify(heap)
        for number in range(len(weights), 2 * len(weights) - 1):
            (light, _, left), (heavy, _, right) = heapq.heappop(heap), heapq.heappop(heap)
            share = heavy / (light + heavy)
            pair = _Pair(right, left, share.numerator, share.denominator)
            heapq.heappush(heap, (light + heavy, number, pair))
        self._root = heap[0][2]

    def at(self, number: int) -> tuple[int, int]:
        """The source of a sample, and how many samples of that source came before it."""
        node = self._root
        while isinstance(node, _Pair):
            before = node.first_of(number)
            if node.first_of(number + 1) > before:
                node, number = node.first, before
            else:
                node, number = node.second, number - before
        return node, number

    def counts(self, names: Sequence[str], first: int, stop: int) -> Mapping[str, int]:
        """Samples from each source, of those numbered from ``first`` to before ``stop``."""
        before, by_then = dict(_shared(self._root, first)), dict(_shared(self._root, stop))
        return {name: by_then[source] - before[source] for source, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two sources, or pairs of them, and the share of the first: a fraction in lowest terms."""

    first: "_Node"
    second: "_Node"
    share: int
    whole: int

    def first_of(self, count: int) -> int:
        """How many of the first ``count`` samples are the first's: the nearest whole number."""
        return (2 * count * self.share + self.whole) // (2 * self.whole)


_Node = _Pair | int
"""Or the number of a source."""


def _shared(node: _Node, count: int) -> Iterator[tuple[int, int]]:
    """Source, how many of so many samples are its own."""
    if isinstance(node, _Pair):
        first = node.first_of(count)
        yield from _shared(node.first, first)
        yield from _shared(node.second, count - first)
    else:
        yield node, count


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
