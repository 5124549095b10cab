"""What an attempt knows of its run's checkpoints, and which of them it removes: rank 0's part."""

from collections.abc import Collection

from launcher.errors import ConfigError, ReadError
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.workers.checkpoints import manifest
from launcher.workers.checkpoints.directory import CheckpointDirectory
from launcher.workers.checkpoints.manifest import Manifest
from launcher.workers.checkpoints.retention import distance, kept


class Pruner:
    """Removes what `retention` does not keep, and never the last good one."""

    def __init__(self, shelf: CheckpointDirectory, spec: RunSpec, policy: Checkpointing) -> None:
        self._directory, self._spec, self._policy = shelf, spec, policy
        self._good: set[int] = set()
        self._bad: set[int] = set()
        self._scores: dict[int, float | None] = {}

    def judged(self, step: int, good: bool) -> None:
        """A checkpoint was read, or refused, which is not to take the place of a good one."""
        self._forget(step)
        (self._good if good else self._bad).add(step)

    def saved(self, whole: Manifest) -> None:
        """There is a new one: drop what does not stay, for the caller to sweep."""
        self.judged(whole.step, good=True)
        self._scores[whole.step] = whole.score
        for step in self._removable(whole):
            self._remove(step)

    def make_room(self, begun: Manifest) -> bool:
        """Remove the oldest of those that do not stay once ``begun`` is there; whether it did.

        The newest that is known to be good stays: ``begun`` may still fail.
        """
        removable = self._removable(begun)
        safe = max(self._good, default=None)
        step = min((one for one in removable if one != safe), default=None)
        removed = safe is not None and step is not None and self._remove(step)
        self._directory.sweep()
        return removed

    def forget_after(self, step: int) -> str | None:
        """Remove the later ones; what went wrong."""
        steps = self._directory.steps()
        later = [one for one in steps if one > step]
        # First, so that it never names one that is gone.
        problem = self._directory.point(max(set(steps) - {*later} - self._bad, default=None))
        removed = [self._remove(one) for one in later]
        self._directory.sweep()
        if not all(removed):
            return f"{removed.count(False)} of {len(later)} later ones could not be removed"
        return problem

    def _remove(self, step: int) -> bool:
        gone = self._directory.drop(step)
        if gone:
            self._forget(step)
        return gone

    def _forget(self, step: int) -> None:
        self._good.discard(step)
        self._bad.discard(step)
        self._scores.pop(step, None)

    def _removable(self, new: Manifest) -> list[int]:
        """Later ones are not: they are damaged, and will be written again."""
        present = {step for step in self._directory.steps() if step < new.step}
        steps = {*present - self._bad, new.step}
        scores = self._scored(steps - {new.step})
        if new.score is not None:
            scores[new.step] = new.score
        stay = kept(steps, self._policy, self._spec.last, scores, distance(self._spec))
        return sorted(present - stay)

    def _scored(self, steps: Collection[int]) -> dict[int, float]:
        """Of the checkpoints that say one; those of earlier attempts are asked once."""
        if not self._policy.keep_best:
            return {}
        for step in steps:
            if step not in self._scores:
                self._scores[step] = self._score(step)
        return {step: score for step in steps if (score := self._scores[step]) is not None}

    def _score(self, step: int) -> float | None:
        try:
            return manifest.read(self._directory.path(step) / manifest.NAME).score
        except (ReadError, ConfigError):
            return None
