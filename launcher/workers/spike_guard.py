"""The spike guard of a run: its detector, its ladder, and the state that outlives a rollback."""

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
from launcher.workers.measure import StepFigures


class Guard:
    """Decides about each step. Every rank has one, with equal figures, and so decides alike.

    `RunFolder.guard_file` has the ladder as of the last rollback and, until that is done, its
    target: checkpoints are from before the rollback, and know nothing of it.
    """

    def __init__(self, spec: RunSpec, folder: RunFolder, start: Path | None, first: bool) -> None:
        """Read the state that an earlier attempt, or the run in ``start``, has saved.

        ``first`` is True on the rank that reads and writes it.
        """
        self._path, self._first_rank = folder.guard_file, first
        settings = spec.train.spike_guard
        self._detector = Detector(settings) if settings else None
        self._ladder = Ladder(settings) if settings else None
        inherited = [RunFolder(start).guard_file] if start and not spec.stage else []
        paths = [path for path in (self._path, *inherited) if path.exists()] if first else []
        self._saved = broadcast_json(read_json(paths[0]) if paths else None) or {"to": None}
        self.events: tuple[Event, ...] = ()
        """Events that the detector has found in the last step."""

    @property
    def rolls_back(self) -> bool:
        """True where the guard may roll back, so that it needs a checkpoint to go back to."""
        return self._ladder is not None

    @property
    def unfinished(self) -> dict[str, Any] | None:
        """Rollback that was decided and is not done, None where there is none.

        Keys: ``to``, the step that it goes back to; ``step``, at which it was decided; ``reason``.
        """
        return self._saved if self._saved["to"] is not None else None

    def decide(self, step: int, figures: StepFigures) -> GuardAction:
        """Decide what to do about a step, before its update."""
        loss, norm = figures.loss, figures.grad_norm
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
        """Return True if the samples of a step are not trained on."""
        return self._ladder is not None and self._ladder.passes_over(step)

    def lr_factor(self, step: int) -> float:
        """Factor to multiply the learning rate of the schedule by."""
        return self._ladder.lr_factor(step) if self._ladder else 1.0

    def expect_shift(self, step: int) -> None:
        """Let the detector learn its baselines anew from a step at which the data change."""
        if self._detector:
            self._detector.expect_shift(step)

    def begin_anew(self) -> None:
        """Start without a checkpoint, but pass over the samples that earlier attempts gave up."""
        if self._ladder is not None and self._saved.get("ladder"):
            self._ladder.load_state_dict(self._saved["ladder"])

    def begin_rollback(self, step: int, to: int, reason: str | None) -> None:
        """Save a rollback before it is begun, for a next attempt to finish if this is killed."""
        self._save({"to": to, "step": step, "reason": reason})

    def end_rollback(self) -> None:
        """Save that the rollback is done."""
        self._save({"to": None})

    def _save(self, rollback: dict[str, Any]) -> None:
        assert self._ladder is not None
        self._saved = {"ladder": self._ladder.state_dict(), **rollback}
        if self._first_rank:
            try:
                write_json(self._path, self._saved)
            except WorkError as error:  # a full disk: lost only if the run is killed right now
                print(f"WARNING {error}")

    def state_dict(self) -> dict[str, Any] | None:
        """State for a checkpoint; None without a guard."""
        if self._detector is None or self._ladder is None:
            return None
        return {"detector": self._detector.state_dict(), "ladder": self._ladder.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint; the ladder from the saved state where that is newer."""
        if self._detector is None or self._ladder is None or state is None:
            return
        self._detector.load_state_dict(state["detector"])
        self._ladder.load_state_dict(state["ladder"], self._saved.get("ladder"))


def event_fields(event: Event) -> dict[str, Any]:
    """Fields of an event of the detector, as the event log has them."""
    return {key: value for key, value in dataclasses.asdict(event).items() if key != "kind"}
