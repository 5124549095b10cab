"""The order of samples: permutations without memory, and a blend that keeps to its weights."""

import itertools

import numpy as np
import pytest

from launcher.workers.order import Blend, Shuffle, Stream, hash64


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 1000, 4097])
def test_a_shuffle_is_a_permutation(size: int) -> None:
    for key in (0, 1, 2**64 - 1):
        assert sorted(map(Shuffle(key, size), range(size))) == list(range(size))


def test_a_shuffle_leaves_no_trace_of_the_order() -> None:
    """Neighbours are as far apart as those of a random order, a third of the size on average."""
    size = 10_000
    places = np.array([Shuffle(hash64("key"), size)(number) for number in range(size)])
    apart = np.abs(np.diff(places)).mean() / size
    assert abs(apart - 1 / 3) < 0.01
    assert abs(np.corrcoef(places, np.arange(size))[0, 1]) < 0.03


def test_a_stream_has_every_sample_once_an_epoch() -> None:
    stream = Stream("seed source", 50)
    epochs = [[stream.at(50 * epoch + i) for i in range(50)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [Stream("other", 50).at(i) for i in range(50)] != epochs[0]


@pytest.mark.parametrize("weights", [(0.9, 0.1), (1.0,), (0.5, 0.3, 0.2), (5, 3, 1, 1)])
def test_a_blend_keeps_to_its_weights(weights: tuple[float, ...]) -> None:
    """At any moment within two samples, whatever the length of the run."""
    blend, total = Blend(weights, 2000), sum(weights)
    names = [str(i) for i in range(len(weights))]
    for stop in (1, 10, 333, 2000):
        counts = blend.counts(names, 0, stop)
        for name, weight in zip(names, weights, strict=True):
            assert abs(counts[name] - stop * weight / total) < 2
    longer = Blend(weights, 5000)
    assert [blend.at(i) for i in range(2000)] == [longer.at(i) for i in range(2000)]


def test_numbers_of_a_source_go_up_by_one() -> None:
    blend = Blend((2.0, 1.0), 300)
    for source in range(2):
        numbers = [n for s, n in map(blend.at, range(300)) if s == source]
        assert all(b == a + 1 for a, b in itertools.pairwise(numbers)) and numbers[0] == 0
