"""Removal of a run's checkpoints, which is rank 0's task: those that are not retained, or all."""

from collections.abc import Collection

from launcher.errors import ConfigError, ReadError
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.workers.checkpoints import manifest
from launcher.workers.checkpoints.directory import CheckpointDirectory
from launcher.workers.checkpoints.manifest import Manifest
from launcher.workers.checkpoints.retention import retained_steps, rollback_distance


class Pruner:
    """Removes the checkpoints that `retention` does not retain, and never the last good one."""

    def __init__(
        self, directory: CheckpointDirectory, spec: RunSpec, policy: Checkpointing
    ) -> None:
        self._directory, self._spec, self._policy = directory, spec, policy
        self._good: set[int] = set()
        """Steps of the checkpoints that this attempt has written or restored."""
        self._bad: set[int] = set()
        """Steps of those that it has refused: they must not take the place of a good one."""
        self._scores: dict[int, float | None] = {}

    def mark(self, step: int, good: bool) -> None:
        """Remember that the checkpoint of a step was restored, or refused."""
        self._forget(step)
        (self._good if good else self._bad).add(step)

    def add(self, written: Manifest) -> None:
        """Take note of a new checkpoint, and drop what does not stay; the caller sweeps."""
        self.mark(written.step, good=True)
        self._scores[written.step] = written.score
        for step in self._removable(written):
            self._remove(step)

    def make_room(self, draft: Manifest) -> bool:
        """Remove the oldest of those that do not stay once ``draft`` is written; True if it went.

        The newest that is known to be good stays: the save of ``draft`` may still fail.
        """
        removable = self._removable(draft)
        newest_good = max(self._good, default=None)
        oldest = min((step for step in removable if step != newest_good), default=None)
        removed = newest_good is not None and oldest is not None and self._remove(oldest)
        self._directory.sweep()
        return removed

    def forget_after(self, step: int) -> str | None:
        """Remove the checkpoints of later steps; return what went wrong, None if nothing."""
        steps = self._directory.steps()
        later = [present for present in steps if present > step]
        # `latest` first, so that it never names one that is gone.
        problem = self._directory.point(max(set(steps) - {*later} - self._bad, default=None))
        removed = [self._remove(present) for present in later]
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
        """Steps of the checkpoints that may go once ``new`` is there, oldest first.

        Later ones than ``new`` may not: they are damaged, and will be written again.
        """
        present = {step for step in self._directory.steps() if step < new.step}
        steps = {*present - self._bad, new.step}
        scores = self._known_scores(steps - {new.step})
        if new.score is not None:
            scores[new.step] = new.score
        distance = rollback_distance(self._spec)
        retained = retained_steps(steps, self._policy, self._spec.last, scores, distance)
        return sorted(present - retained)

    def _known_scores(self, steps: Collection[int]) -> dict[int, float]:
        """Scores of the checkpoints that have one; the manifest of each is read at most once."""
        if not self._policy.keep_best:
            return {}
        for step in steps:
            if step not in self._scores:
                self._scores[step] = self._read_score(step)
        return {step: score for step in steps if (score := self._scores[step]) is not None}

    def _read_score(self, step: int) -> float | None:
        try:
            return manifest.read(self._directory.path(step) / manifest.NAME).score
        except (ReadError, ConfigError):
            return None
