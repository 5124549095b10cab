"""The spike guard of a run: its detector, its ladder, and what of them outlives a rollback."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from launcher.errors import WorkError
from launcher.files import read_json, write_json
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec
from launcher.spikes.detector import Detector, Event
from launcher.spikes.ladder import APPLY, GuardAction, Ladder
from launcher.workers.collectives import broadcast_json
from launcher.workers.measure import Reduced

NAME = "guard.json"
"""In the run's folder: the ladder as of the last rollback, and where that goes to until it is done.
Checkpoints are from before, and would forget it."""


class Guard:
    """Decides about each step. Every rank has one, is told the same, and so decides the same."""

    def __init__(self, spec: RunSpec, folder: RunFolder, start: Path | None, first: bool) -> None:
        """For a run that may go on from the folder ``start``; on the ``first`` rank or another."""
        self._path, self._first_rank = folder.path / NAME, first
        settings = spec.train.spike_guard
        self._detector = Detector(settings) if settings else None
        self._ladder = Ladder(settings) if settings else None
        others = [start / NAME] if start and not spec.stage else []
        places = [path for path in (self._path, *others) if path.exists()] if first else []
        self._kept = broadcast_json(read_json(places[0]) if places else None) or {"to": None}
        self.events: tuple[Event, ...] = ()
        """Of the last step."""

    @property
    def rolls_back(self) -> bool:
        """Whether there is a guard that may, so that there has to be something to go back to."""
        return self._ladder is not None

    @property
    def unfinished(self) -> dict[str, Any] | None:
        """A rollback that was decided and is not done: ``to`` where, at which ``step``, for what
        ``reason``; None where there is none."""
        return self._kept if self._kept["to"] is not None else None

    def decide(self, step: int, reduced: Reduced) -> GuardAction:
        """What to do about a step, before its update."""
        loss, norm = reduced.loss, reduced.grad_norm
        if self._detector is None or self._ladder is None:
            if math.isfinite(loss) and math.isfinite(norm):
                return APPLY
            return GuardAction(
                kind="stop", reason=f"step {step}: loss {loss:g}, grad norm {norm:g}"
            )
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

    def begin(self) -> None:
        """Start without a checkpoint: what earlier attempts gave up is passed over all the same."""
        if self._ladder is not None and self._kept.get("ladder"):
            self._ladder.load_state_dict(self._kept["ladder"])

    def rolls(self, step: int, to: int, reason: str | None) -> None:
        """Remember a rollback before it is begun."""
        self._keep({"to": to, "step": step, "reason": reason})

    def rolled(self) -> None:
        """It is done."""
        self._keep({"to": None})

    def _keep(self, rollback: dict[str, Any]) -> None:
        assert self._ladder is not None
        self._kept = {"ladder": self._ladder.state_dict(), **rollback}
        if self._first_rank:
            try:
                write_json(self._path, self._kept)
            except WorkError as error:  # a full disk: only a kill in this moment would forget it
                print(f"WARNING {error}")

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
        self._ladder.load_state_dict(state["ladder"], self._kept.get("ladder"))


def described(event: Event) -> dict[str, Any]:
    """An event of the detector, as the record keeps it."""
    return {key: value for key, value in dataclasses.asdict(event).items() if key != "kind"}
