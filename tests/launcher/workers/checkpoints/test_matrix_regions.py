"""Stretches of shards as regions: every element once, and the same that `init.indices` says."""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from launcher.workers.checkpoints.matrix_regions import Cut, Region, covered, cuts, whole
from launcher.workers.model import initial_weights
from launcher.workers.model.initial_weights import Shard, Split

SPLITS = [None, Split(0), Split(0, 2), Split(1)]
Shape = tuple[int, ...]
Stretch = tuple[Shard, Shape, int, int]


def layout(rng: random.Random, shape: Shape, split: Split | None) -> Iterator[Stretch]:
    """All stretches of a matrix that is cut over tp ranks and then anywhere, as ZeRO does."""
    size = rng.choice([1, 2, 4]) if split else 1
    local = list(shape)
    if split:
        local[split.dim] //= size
    for rank in range(size):
        count = local[0] * local[-1] if len(local) == 2 else local[0]
        ends = sorted({0, count, *(rng.randrange(count + 1) for _ in range(rng.randrange(4)))})
        for start, stop in pairwise(ends):
            yield Shard(split, rank, size), tuple(local), start, stop


def matrices() -> Iterator[tuple[random.Random, Shape, Split | None]]:
    rng = random.Random(5)
    for _ in range(150):
        split = rng.choice(SPLITS)
        shape = (8 * rng.randrange(1, 5), 4 * rng.randrange(1, 5))
        yield rng, (shape[:1] if split is None and rng.random() < 0.3 else shape), split


def numbered(shape: Shape) -> torch.Tensor:
    """A whole matrix each element of which is its own number."""
    matrix = shape if len(shape) == 2 else (1, *shape)
    return torch.arange(matrix[0] * matrix[1]).view(matrix)


def local(shape: Shape, shard: Shard, of: torch.Tensor) -> torch.Tensor:
    """A shard of a whole, flattened, by the indices that fill it at the start of training."""
    if len(shape) == 1:
        return of.flatten()
    rows, columns = initial_weights.indices(shape, shard)
    return of[rows][:, columns].flatten()


def window(matrix: torch.Tensor, at: Region) -> torch.Tensor:
    return matrix[at.top : at.bottom, at.left : at.right]


def found(stretch: Stretch) -> list[Cut]:
    shard, shape, start, stop = stretch
    return list(cuts(start, stop, shape, shard))


def test_every_element_is_in_one_rectangle() -> None:
    for rng, shape, split in matrices():
        everything = numbered(shape)
        times = torch.zeros_like(everything)
        for stretch in layout(rng, shape, split):
            shard, part, start, stop = stretch
            mine, at = local(part, shard, everything), start
            for cut in found(stretch):
                assert cut.at == at, "one after another"
                at += cut.region.area
                expected = mine[cut.at : at].view(cut.region.shape)
                assert torch.equal(window(everything, cut.region), expected)
                window(times, cut.region).add_(1)
            assert at == stop
            assert len(found(stretch)) <= 3 * (split.pieces if split else 1)
            assert whole(part, shard) == tuple(everything.shape)
        assert bool((times == 1).all()), (shape, split)


def test_what_one_layout_wrote_another_reads() -> None:
    for rng, shape, split in matrices():
        everything = numbered(shape)
        there = [
            (cut.region, window(everything, cut.region).clone())
            for stretch in layout(rng, shape, split)
            for cut in found(stretch)
        ]
        for stretch in layout(rng, shape, split):
            shard, part, _, _ = stretch
            mine = local(part, shard, everything)
            for wanted in found(stretch):
                got = torch.full(wanted.region.shape, -1)
                for region, values in there:
                    both = wanted.region.overlap(region)
                    if both:
                        got[wanted.region.window(both)] = values[region.window(both)]
                area = wanted.region.area
                assert torch.equal(got.flatten(), mine[wanted.at : wanted.at + area])
                check_cover(wanted.region, [one for one, _ in there])


def check_cover(wanted: Region, there: list[Region]) -> None:
    """Covered by all, and not without any one of those that have a part of it."""
    assert covered(wanted, there)
    for number, one in enumerate(there):
        rest = there[:number] + there[number + 1 :]
        assert covered(wanted, rest) == (wanted.overlap(one) is None)


@pytest.mark.parametrize(
    ("there", "enough"),
    [
        ([(0, 4, 0, 4)], True),
        ([(0, 4, 0, 2), (0, 4, 0, 2), (0, 4, 1, 3)], False),  # enough elements, some twice
        ([(0, 2, 0, 4), (1, 4, 0, 4)], True),
        ([(0, 4, 0, 4), (0, 4, 0, 4)], True),
        ([(0, 4, 0, 2), (0, 3, 2, 4), (3, 4, 3, 4)], False),
        ([], False),
    ],
)
def test_covered(there: list[tuple[int, int, int, int]], enough: bool) -> None:
    assert covered(Region(0, 4, 0, 4), [Region(*one) for one in there]) is enough
