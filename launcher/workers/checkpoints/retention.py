"""Retention of checkpoints: the steps whose checkpoints stay when there is a new one."""

from collections.abc import Collection, Mapping

from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec


def rollback_distance(spec: RunSpec) -> int | None:
    """Steps by which a checkpoint has to be older than the newest for a rollback to go to it.

    A spike detected now began ``patience`` steps ago at the earliest, as the ladder counts, and
    weights from ``margin`` steps before that are not trusted. None where nothing is rolled back.
    """
    guard = spec.train.spike_guard
    return guard.patience + guard.margin if guard else None


def retained_steps(
    steps: Collection[int],
    policy: Checkpointing,
    last: int,
    scores: Mapping[int, float],
    distance: int | None = None,
) -> set[int]:
    """Return the subset of ``steps`` whose checkpoints stay.

    Args:
        steps: of the checkpoints believed to be complete, the new one included.
        policy: what the user wants.
        last: last step of the run.
        scores: of the steps whose checkpoints have one; the lowest is the best.
        distance: the run's `rollback_distance`.
    """
    newest = sorted(steps)[-policy.keep_last :]
    retained = set(newest)
    if last in steps:
        retained.add(last)
    if policy.keep_every:
        retained |= {step for step in steps if step > 0 and step % policy.keep_every == 0}
    scored = [step for step in steps if step in scores]
    if policy.keep_best and scored:
        best = min(scored, key=lambda step: (scores[step], -step))  # of equally good ones the later
        retained.add(best)
    if distance is not None and steps:
        retained |= _rollback_steps(steps, max(steps) - distance)
    return retained


def _rollback_steps(steps: Collection[int], limit: int) -> set[int]:
    """Steps that rollbacks need: the newest up to ``limit``, and the oldest after it.

    The latter will be the newest that is old enough as training goes on; were it removed now, only
    much newer ones would be left by then.
    """
    old = [step for step in steps if step <= limit]
    young = [step for step in steps if step > limit]
    return {*sorted(old)[-1:], min(young)}
