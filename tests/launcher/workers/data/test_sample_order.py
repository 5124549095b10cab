"""The order of samples: permutations without memory, and a blend that keeps to its weights.

Modules: launcher.workers.splitmix64.
"""

from dataclasses import replace

import numpy as np
import pytest

from launcher.spec.curriculum import most_samples
from launcher.workers.data.sample_order import Blend, Shuffle, Stream, hash64
from tests.launcher.workers import ranks


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 1000, 4097])
def test_a_shuffle_is_a_permutation(size: int) -> None:
    for key in (0, 1, 2**64 - 1):
        assert sorted(map(Shuffle(key, size), range(size))) == list(range(size))


def test_a_shuffle_leaves_no_trace_of_the_order() -> None:
    """Neighbours end up as far apart as in a random order, a third of the size on average."""
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


WEIGHTS = [
    (1.0,), (0.9, 0.1), (5, 3, 1, 1), (0.5, 0.3, 0.2), (1 / 3, 1 / 3, 1 / 3), (1.0,) * 7,
    (1.0, 1e-9), (1e-7, 0.3, 1e-7, 12.0), tuple(1.618**n for n in range(24)),
    tuple(1 / (n + 1) for n in range(40)),
]  # fmt: skip


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_blend_keeps_to_its_weights(weights: tuple[float, ...]) -> None:
    """Each source is within two samples of its weight at any moment, and each sample counts once."""
    blend, names = Blend(weights), [str(i) for i in range(len(weights))]
    shares = np.array(weights) / sum(weights)
    for start in (0, 5_000_000_017):
        counts = np.array([*blend.counts(names, 0, start).values()])
        assert sum(counts) == start
        for number in range(start, start + 1500):
            source, place = blend.at(number)
            assert place == counts[source], "numbers of a source go up by one"
            counts[source] += 1
            assert np.abs(counts - (number + 1) * shares).max() < 2
        in_range = blend.counts(names, start, start + 1500)
        assert [*blend.counts(names, 0, start + 1500).values()] == counts.tolist()
        assert sum(in_range.values()) == 1500


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_plan_takes_what_a_blend_does_at_the_most(weights: tuple[float, ...]) -> None:
    """The plan, which refuses a run for want of text, never counts less than the blend takes."""
    names = [str(i) for i in range(len(weights))]
    blend = Blend(weights)
    data = replace(ranks.spec().data, blend=dict(zip(names, weights, strict=True)))
    for steps in (1, 2, 7, 1000, 131_072, 131_073, 10**8):
        spec = ranks.spec(train__steps=steps)
        planned = most_samples(replace(spec, data=data))
        counts = blend.counts(names, 0, spec.samples_through(spec.last))
        assert all(counts[name] <= planned[name] for name in names)
