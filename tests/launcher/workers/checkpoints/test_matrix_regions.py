"""Ranges of shards as regions: every element once, as `initial_weights.indices` also has it."""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from launcher.workers.checkpoints.matrix_regions import (
    Region,
    ShardRegion,
    covered,
    full_shape,
    shard_regions,
)
from launcher.workers.model import initial_weights
from launcher.workers.model.initial_weights import Shard, Split

SPLITS = [None, Split(0), Split(0, 2), Split(1)]
Shape = tuple[int, ...]
ShardRange = tuple[Shard, Shape, int, int]
"""A shard, its shape, and the first element and the one after the last of a range of it."""


def layout(rng: random.Random, shape: Shape, split: Split | None) -> Iterator[ShardRange]:
    """All ranges of a matrix that is split over tp ranks and then cut anywhere, as ZeRO does."""
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
    """Full matrix each element of which is its own number."""
    matrix = shape if len(shape) == 2 else (1, *shape)
    return torch.arange(matrix[0] * matrix[1]).view(matrix)


def flat_shard(shape: Shape, shard: Shard, matrix: torch.Tensor) -> torch.Tensor:
    """Flattened shard of a matrix, by the indices that fill it at the start of training."""
    if len(shape) == 1:
        return matrix.flatten()
    rows, columns = initial_weights.indices(shape, shard)
    return matrix[rows][:, columns].flatten()


def window(matrix: torch.Tensor, region: Region) -> torch.Tensor:
    return matrix[region.top : region.bottom, region.left : region.right]


def regions(shard_range: ShardRange) -> list[ShardRegion]:
    shard, shape, start, stop = shard_range
    return list(shard_regions(start, stop, shape, shard))


def test_every_element_is_in_one_region() -> None:
    for rng, shape, split in matrices():
        matrix = numbered(shape)
        times = torch.zeros_like(matrix)
        for shard_range in layout(rng, shape, split):
            shard, part, start, stop = shard_range
            shard_values, offset = flat_shard(part, shard, matrix), start
            for shard_region in regions(shard_range):
                assert shard_region.offset == offset, "one after another"
                region = shard_region.region
                offset += region.area
                expected = shard_values[shard_region.offset : offset].view(region.shape)
                assert torch.equal(window(matrix, region), expected)
                window(times, region).add_(1)
            assert offset == stop
            assert len(regions(shard_range)) <= 3 * (split.pieces if split else 1)
            assert full_shape(part, shard) == tuple(matrix.shape)
        assert bool((times == 1).all()), (shape, split)


def test_what_one_layout_wrote_another_reads() -> None:
    for rng, shape, split in matrices():
        matrix = numbered(shape)
        stored = [
            (shard_region.region, window(matrix, shard_region.region).clone())
            for shard_range in layout(rng, shape, split)
            for shard_region in regions(shard_range)
        ]
        for shard_range in layout(rng, shape, split):
            shard, part, _, _ = shard_range
            shard_values = flat_shard(part, shard, matrix)
            for shard_region in regions(shard_range):
                region, offset = shard_region.region, shard_region.offset
                target = torch.full(region.shape, -1)
                for stored_region, values in stored:
                    overlap = region.overlap(stored_region)
                    if overlap:
                        target[region.window(overlap)] = values[stored_region.window(overlap)]
                expected = shard_values[offset : offset + region.area]
                assert torch.equal(target.flatten(), expected)
                check_cover(region, [stored_region for stored_region, _ in stored])


def check_cover(region: Region, parts: list[Region]) -> None:
    """Covered by all, and not without any one of those that have a part of it."""
    assert covered(region, parts)
    for number, part in enumerate(parts):
        without_it = parts[:number] + parts[number + 1 :]
        assert covered(region, without_it) == (region.overlap(part) is None)


@pytest.mark.parametrize(
    ("parts", "enough"),
    [
        ([(0, 4, 0, 4)], True),
        ([(0, 4, 0, 2), (0, 4, 0, 2), (0, 4, 1, 3)], False),  # enough elements, some twice
        ([(0, 2, 0, 4), (1, 4, 0, 4)], True),
        ([(0, 4, 0, 4), (0, 4, 0, 4)], True),
        ([(0, 4, 0, 2), (0, 3, 2, 4), (3, 4, 3, 4)], False),
        ([], False),
    ],
)
def test_covered(parts: list[tuple[int, int, int, int]], enough: bool) -> None:
    assert covered(Region(0, 4, 0, 4), [Region(*part) for part in parts]) is enough
