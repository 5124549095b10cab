"""The spike guard of a run: its detector, its ladder, and what of them outlives a rollback."""

import dataclasses
import math
from typing import Any

from launcher.files import read_json, write_json
from launcher.folder import RunFolder
from launcher.ladder import APPLY, Action, Ladder
from launcher.spec import RunSpec
from launcher.spikes import Detector, Event
from launcher.workers.measure import Reduced, told

NAME = "guard.json"
"""In the run's folder: the ladder as of the last rollback, and where that goes to until it is done.
Checkpoints are from before, and would forget it."""


class Guard:
    """Decides about each step. Every rank has one, is told the same, and so decides the same."""

    def __init__(self, spec: RunSpec, folder: RunFolder) -> None:
        self._path, settings = folder.path / NAME, spec.train.spike_guard
        self._detector = Detector(settings) if settings else None
        self._ladder = Ladder(settings) if settings else None
        kept = told(read_json(self._path) if self._path.exists() else None)
        self._kept = kept or {"ladder": None, "to": None}
        self.events: tuple[Event, ...] = ()
        """Of the last step."""

    @property
    def rolls_back(self) -> bool:
        """Whether there is a guard that may, so that there has to be something to go back to."""
        return self._ladder is not None

    @property
    def unfinished(self) -> int | None:
        """Where a rollback goes to that was decided and not done; None where there is none."""
        to: int | None = self._kept["to"]
        return to

    def decide(self, step: int, reduced: Reduced) -> Action:
        """What to do about a step, before its update."""
        loss, norm = reduced.loss, reduced.grad_norm
        if self._detector is None or self._ladder is None:
            if math.isfinite(loss) and math.isfinite(norm):
                return APPLY
            return Action(kind="stop", reason=f"step {step}: loss {loss:g}, grad norm {norm:g}")
        reading = self._detector.update(step, loss, norm)
        self.events = reading.events
        return self._ladder.decide(reading)

    def passes_over(self, step: int) -> bool:
        """Whether nothing is trained on the samples of a step."""
        return self._ladder is not None and self._ladder.passes_over(step)

    def lr_factor(self, step: int) -> float:
        """What the learning rate of the plan is multiplied by."""
        return self._ladder.lr_factor(step) if self._ladder else 1.0

    def expect_shift(self, step: int) -> None:
        """The data changes there."""
        if self._detector:
            self._detector.expect_shift(step)

    def keep(self, to: int | None, first_rank: bool) -> None:
        """Remember what the ladder decided: before going back to ``to``, and once more after."""
        assert self._ladder is not None
        self._kept = {"ladder": self._ladder.state_dict(), "to": to}
        if first_rank:
            write_json(self._path, self._kept)

    def state_dict(self) -> dict[str, Any] | None:
        """For a checkpoint."""
        if self._detector is None or self._ladder is None:
            return None
        return {"detector": self._detector.state_dict(), "ladder": self._ladder.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint; the ladder from what was kept, where that knows more."""
        if self._detector is None or self._ladder is None or state is None:
            return
        self._detector.load_state_dict(state["detector"])
        self._ladder.load_state_dict(state["ladder"], self._kept["ladder"])


def described(event: Event) -> dict[str, Any]:
    """An event of the detector, as the record keeps it."""
    return {key: value for key, value in dataclasses.asdict(event).items() if key != "kind"}
