"""Retained steps: by policy, and so that a rollback always finds a checkpoint."""

import pytest

from launcher.spec.checkpointing import Checkpointing
from launcher.workers.checkpoints.retention import retained_steps


@pytest.mark.parametrize(
    ("steps", "policy", "scores", "distance", "stay"),
    [
        ([], {}, {}, None, []),
        ([1], {}, {}, None, [1]),
        ([3, 1, 2], {}, {}, None, [2, 3]),
        ([1, 2, 3], {"keep_last": 1}, {}, None, [3]),
        ([0, 5, 10, 15, 20, 25], {"keep_every": 10}, {}, None, [10, 20, 25]),
        ([10, 20, 30, 40], {"keep_last": 1}, {}, None, [30, 40]),  # 30 is the last of the run
        ([1, 2, 3, 4], {}, {1: 0.5, 2: 0.7, 4: 0.9}, None, [3, 4]),  # nobody asked for the best
        ([1, 2, 3, 4], {"keep_best": True}, {1: 0.5, 2: 0.7, 4: 0.9}, None, [1, 3, 4]),
        ([1, 2, 3, 4], {"keep_best": True}, {1: 0.5, 2: 0.5}, None, [2, 3, 4]),
        ([1, 2, 3, 4], {"keep_best": True}, {0: 0.1}, None, [3, 4]),
        # a guard that goes back 20 steps or more: one that is old enough, and the next to be
        ([5, 10, 15], {"keep_last": 1}, {}, 20, [5, 15]),
        ([5, 15, 20, 25], {"keep_last": 1}, {}, 20, [5, 15, 25]),
        ([5, 15, 25, 35], {"keep_last": 1}, {}, 20, [15, 25, 35]),
    ],
)  # fmt: skip
def test_retained_steps(
    steps: list[int],
    policy: dict[str, object],
    scores: dict[int, float],
    distance: int | None,
    stay: list[int],
) -> None:
    checkpointing = Checkpointing(**policy)  # type: ignore[arg-type]
    assert sorted(retained_steps(steps, checkpointing, 30, scores, distance)) == stay


@pytest.mark.parametrize("every", [1, 7, 30, 200])
def test_a_rollback_always_finds_one(every: int) -> None:
    """There is one, and it is older than it has to be by at most the distance and a save."""
    steps: set[int] = set()
    for step in range(every, 2000, every):
        steps = retained_steps({*steps, step}, Checkpointing(keep_last=1), 10**6, {}, 100)
        ages = [step - retained for retained in steps if step - retained >= 100]
        assert (min(ages) < 200 + 2 * every) if ages else step < 100 + every
        assert len(steps) <= 3
