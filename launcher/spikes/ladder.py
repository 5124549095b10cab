"""Answers to a spike: nothing, skip updates, roll back, stop. A state machine without I/O.

The trainer shows it every step between backward and update, and does what it answers:

1. An event is recorded by whoever gets it from the detector; alone it changes nothing.
2. A gradient norm that is insane or not finite: this update is not applied, `max_skips` in a row
   at most. Then a finite one is applied after all (it is clipped, and the baseline may be what is
   wrong), and one that still is not finite leads to 3.
3. A loss that is not finite, or has not come back within `patience` steps (a divergence or a
   creep): roll back. A divergence of the norm alone does not.
4. The same once `budget` rollbacks are spent: stop.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launcher.spec.spike_guard import SpikeGuard
from launcher.spikes.detector import Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardAction:
    """Answer of the guard to a step, which the trainer carries out."""

    kind: Literal["apply", "skip", "roll_back", "stop"]
    """apply: update the weights. skip: leave them and go on with the next step. roll_back: see
    ``to``. stop: end the run."""
    reason: str | None = None
    """Cause of any kind but apply, in one line."""
    to: int | None = None
    """Step to roll back to: load the newest checkpoint of it or of an earlier one that verifies,
    the detector's state included and the ladder's not; 0 is the start. Checkpoints of later steps
    belong to the part of the run that is given up."""


APPLY = GuardAction(kind="apply")


class Ladder:
    """Decides what to do about each step.

    Its state outlives a rollback: it has to be kept outside of the checkpoints as well, each time
    that `decide` says roll_back, or a rolled back run forgets what it must pass over.
    """

    def __init__(self, guard: SpikeGuard) -> None:
        self._guard = guard
        self._skipped = 0
        self._since: int | None = None
        """First of the steps in a row whose norm is insane."""
        self._windows: list[tuple[int, int]] = []

    @property
    def rollbacks(self) -> int:
        """Number of rollbacks so far."""
        return len(self._windows)

    def decide(self, reading: Reading) -> GuardAction:
        """Return the answer to a step, before its update."""
        cause = _rollback_cause(reading)
        if cause is not None:
            return self._roll_back(reading.step, *cause)
        ratio, guard = reading.norm_ratio, self._guard
        if ratio is None or ratio < guard.skip_factor:
            self._skipped, self._since = 0, None
            return APPLY
        self._since = reading.step if self._since is None else self._since
        finite = math.isfinite(ratio)
        norm = f"{ratio:.3g} times its baseline" if finite else "not finite"
        if self._skipped < guard.max_skips:
            self._skipped += 1
            return GuardAction(kind="skip", reason=f"step {reading.step}: gradient norm {norm}")
        if finite:
            return APPLY
        start = self._since
        text = f"gradient norm {norm}, after {self._skipped} skipped updates"
        return self._roll_back(reading.step, start, f"step {reading.step}: {text}")

    def passes_over(self, step: int) -> bool:
        """Return True for a step whose data is taken from the stream and not trained on.

        The step counts, so that the data of a step stays a function of its number.
        """
        return any(first <= step <= last for first, last in self._windows)

    def lr_factor(self, step: int) -> float:
        """Factor on the learning rate of the plan."""
        guard = self._guard
        lowered = any(step <= last + guard.lr_steps for _, last in self._windows)
        return guard.lr_factor if lowered else 1.0

    def _roll_back(self, step: int, start: int, why: str) -> GuardAction:
        guard = self._guard
        self._skipped, self._since = 0, None
        if self.rollbacks >= guard.budget:
            spent = f"; all {guard.budget} rollbacks of spike_guard.budget are spent"
            return GuardAction(kind="stop", reason=why + spent)
        # The start of a creep, or of a long row of insane norms, is uncertain; checkpoints are kept
        # for events that began `patience` steps ago.
        to = max(max(start, step - guard.patience) - 1 - guard.margin, 0)
        self._windows.append((to + 1, step))
        return GuardAction(kind="roll_back", reason=why, to=to)

    def state_dict(self) -> dict[str, Any]:
        """State of the ladder as plain JSON data."""
        return {
            "skipped": self._skipped,
            "since": self._since,
            "windows": [list(window) for window in self._windows],
        }

    def load_state_dict(
        self, state: Mapping[str, Any], at_rollback: Mapping[str, Any] | None = None
    ) -> None:
        """Go on where a ladder of the same settings was.

        Args:
            state: of the checkpoint.
            at_rollback: state saved at the last rollback. It counts where it has more rollbacks:
                the checkpoint is from before.
        """
        if at_rollback is not None and len(at_rollback["windows"]) > len(state["windows"]):
            state = at_rollback
        self._skipped, self._since = state["skipped"], state["since"]
        self._windows = [(first, last) for first, last in state["windows"]]


def _rollback_cause(reading: Reading) -> tuple[int, str] | None:
    """Start and cause of the event that has ruined the weights; None where they are sound."""
    step = reading.step
    loss_events = [event for event in reading.events if event.of == "loss"]
    if reading.loss is None:
        return None
    if not math.isfinite(reading.loss):
        start = min([event.start for event in loss_events], default=step)
        return start, f"step {step}: loss {reading.loss:g}"
    for event in loss_events:
        if event.kind in ("divergence", "creep"):
            level = "" if event.baseline is None else f" to {event.baseline:.4g}"
            text = f"loss {reading.loss:.4g} not back{level}, {event.steps} steps after"
            return event.start, f"step {step}: {text} step {event.start}"
    return None
