"""Strategy of a sweep, by name or by the number of its points."""

import pytest

from sweeps import LEARNING, STRATEGIES, Sweep, strategy


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        (None, 8, "grid"),
        (None, 9, "best_first"),
        ("random", 9, "random"),
        ("halving", 1, "halving"),
    ],
)
def test_the_strategy_of_a_sweep(name: str | None, count: int, expected: str) -> None:
    assert strategy(Sweep(strategy=name), count) == (expected, STRATEGIES[expected])
    assert STRATEGIES.keys() >= LEARNING
