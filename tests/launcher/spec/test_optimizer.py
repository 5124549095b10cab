"""The learning rate against figures worked out by hand."""

import math

import pytest

from launcher.errors import ConfigError
from launcher.spec.optimizer import DECAYS, Optimizer, learning_rate
from tests.conftest import spec

WSD = Optimizer(lr=1.0, min_lr=0.1, warmup_steps=4, decay="linear", decay_steps=5)


@pytest.mark.parametrize(
    ("optimizer", "steps", "expected"),
    [
        (WSD, 12, {1: 0.25, 4: 1.0, 5: 1.0, 7: 1.0, 8: 0.82, 12: 0.1}),
        (Optimizer(lr=1.0, min_lr=0.0, warmup_steps=0, decay="cosine"), 4,
         {1: 0.5 * (1 + math.cos(math.pi / 4)), 2: 0.5, 4: 0.0}),
        (Optimizer(lr=1.0, min_lr=0.0, warmup_steps=2, decay="linear"), 6, {3: 0.75, 6: 0.0}),
        (Optimizer(lr=1.0, min_lr=0.0, warmup_steps=0, decay="minus_sqrt"), 4, {1: 0.5, 4: 0.0}),
        (Optimizer(lr=1.0, min_lr=0.0, warmup_steps=0, decay="exponential"), 2,
         {1: math.sqrt(2) - 1, 2: 0.0}),
        (Optimizer(lr=1.0, min_lr=0.5, warmup_steps=2, decay="constant"), 9, {3: 1.0, 9: 1.0}),
        (Optimizer(lr=1.0, min_lr=0.5, warmup_steps=10), 4, {1: 0.1, 4: 0.4}),  # ends in warm-up
    ],
)  # fmt: skip
def test_learning_rate(optimizer: Optimizer, steps: int, expected: dict[int, float]) -> None:
    rates = {step: learning_rate(optimizer, step, steps) for step in expected}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("decay", DECAYS)
def test_every_decay_falls_from_lr_and_never_below_min_lr(decay: str) -> None:
    optimizer = Optimizer(lr=1.0, min_lr=0.1, warmup_steps=3, decay=decay, decay_steps=6)  # type: ignore[arg-type]
    rates = [learning_rate(optimizer, step, 20) for step in range(1, 21)]
    assert rates[2:14] == [1.0] * 12
    assert rates[14:] == sorted(rates[14:], reverse=True)
    assert rates[-1] == pytest.approx(1.0 if decay == "constant" else 0.1)


def test_a_decay_longer_than_the_run_is_refused() -> None:
    short = spec(steps=8, optimizer=Optimizer(warmup_steps=3, decay_steps=6))
    with pytest.raises(ConfigError) as caught:
        short.check()
    assert str(caught.value) == (
        "train.optimizer.decay_steps: 6 is more than the 5 that warmup_steps 3 leaves of train.steps 8"
    )
