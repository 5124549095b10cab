"""Checkpoints on disk at once, and the interval between two that loses least."""

import pytest

from launcher.errors import ConfigError
from launcher.spec.checkpointing import Checkpointing, young_daly


@pytest.mark.parametrize(
    ("policy", "steps", "rolls_back", "expected"),
    [
        (Checkpointing(), 1000, False, 3),  # the last two, and the one that is being written
        (Checkpointing(keep_last=1), 1000, False, 2),
        (Checkpointing(keep_every=100), 1000, False, 13),
        (Checkpointing(keep_best=True), 1000, False, 4),
        (Checkpointing(keep_every=300, keep_best=True), 1000, True, 9),
    ],
)
def test_checkpoints_on_disk(
    policy: Checkpointing, steps: int, rolls_back: bool, expected: int
) -> None:
    assert policy.max_on_disk(steps, rolls_back) == expected


def test_checkpoints_to_keep_have_to_be_made() -> None:
    Checkpointing(keep_every=100).check(50)
    Checkpointing(keep_every=100).check(None)
    with pytest.raises(ConfigError) as caught:
        Checkpointing(keep_every=100).check(40)
    assert str(caught.value) == (
        "checkpoints.keep_every: 100 is not a multiple of checkpoint_every 40"
    )


def test_the_interval_of_young_and_daly() -> None:
    """A save of half a minute and a failure a day: 38 minutes."""
    assert young_daly(30.0, 86400.0) == pytest.approx(2276.8, abs=0.1)
