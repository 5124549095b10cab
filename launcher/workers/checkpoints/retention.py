"""Which checkpoints stay when there is a new one."""

from collections.abc import Collection, Mapping

from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec


def distance(spec: RunSpec) -> int | None:
    """Steps by which a checkpoint has to be older than the newest for a rollback to go to it.

    What is found now began ``patience`` steps ago at the earliest, as the ladder takes it, and
    weights from ``margin`` steps before are not trusted. None where nothing is rolled back.
    """
    guard = spec.train.spike_guard
    return guard.patience + guard.margin if guard else None


def kept(
    steps: Collection[int],
    policy: Checkpointing,
    last: int,
    scores: Mapping[int, float],
    distance: int | None = None,
) -> set[int]:
    """Those of the steps of checkpoints whose checkpoints stay.

    Args:
        steps: of checkpoints that are whole as far as is known, the new one included.
        policy: what the user wants.
        last: step of the run's end.
        scores: of steps whose checkpoints have one; the lowest is the best.
        distance: see the function of this name.
    """
    stay = set(sorted(steps)[-policy.keep_last :]) | {last} & set(steps)
    if policy.keep_every:
        stay |= {step for step in steps if step and step % policy.keep_every == 0}
    scored = [step for step in steps if step in scores]
    if policy.keep_best and scored:
        stay.add(min(scored, key=lambda step: (scores[step], -step)))
    if distance is not None and steps:
        stay |= _before(steps, max(steps) - distance)
    return stay


def _before(steps: Collection[int], limit: int) -> set[int]:
    """The newest one that is old enough, and the one that will be next: without it there would be
    none but the newest when the time comes."""
    old = [step for step in steps if step <= limit]
    young = [step for step in steps if step > limit]
    return {*sorted(old)[-1:], min(young)}
