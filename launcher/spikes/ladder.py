"""What is done about a spike: nothing, skip updates, roll back, stop. A state machine without I/O.

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
class Action:
    """What the trainer must do about a step."""

    kind: Literal["apply", "skip", "roll_back", "stop"]
    """apply: update the weights. skip: leave them and go on with the next step. roll_back: see
    ``to``. stop: end the run."""
    reason: str | None = None
    """Why it is not apply, in one line."""
    to: int | None = None
    """Of roll_back: load the newest checkpoint of this step or an earlier one that verifies, the
    detector's state included and the ladder's not; 0 is the start. Checkpoints of later steps
    belong to what is given up."""


APPLY = Action(kind="apply")


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
        """How many there have been."""
        return len(self._windows)

    def decide(self, reading: Reading) -> Action:
        """What to do about a step, before its update."""
        cause = _lost(reading)
        if cause is not None:
            return self._roll_back(reading.step, *cause)
        ratio, guard = reading.norm_ratio, self._guard
        if ratio is None or ratio < guard.skip_factor:
            self._skipped, self._since = 0, None
            return APPLY
        self._since = reading.step if self._since is None else self._since
        finite = math.isfinite(ratio)
        what = f"{ratio:.3g} times its baseline" if finite else "not finite"
        if self._skipped < guard.max_skips:
            self._skipped += 1
            return Action(kind="skip", reason=f"step {reading.step}: gradient norm {what}")
        if finite:
            return APPLY
        start = self._since
        text = f"gradient norm {what}, after {self._skipped} skipped updates"
        return self._roll_back(reading.step, start, f"step {reading.step}: {text}")

    def passes_over(self, step: int) -> bool:
        """Whether a step's data is taken from the stream and nothing is done with it.

        The step counts, so that the data of a step stays a function of its number.
        """
        return any(first <= step <= last for first, last in self._windows)

    def lr_factor(self, step: int) -> float:
        """What the learning rate of the plan is multiplied by."""
        guard = self._guard
        lowered = any(step <= last + guard.lr_steps for _, last in self._windows)
        return guard.lr_factor if lowered else 1.0

    def _roll_back(self, step: int, start: int, why: str) -> Action:
        guard = self._guard
        self._skipped, self._since = 0, None
        if self.rollbacks >= guard.budget:
            spent = f"; all {guard.budget} rollbacks of spike_guard.budget are spent"
            return Action(kind="stop", reason=why + spent)
        # Of a creep, and of a long row of insane norms, nobody knows where it began; checkpoints
        # are kept for what began `patience` steps ago.
        to = max(max(start, step - guard.patience) - 1 - guard.margin, 0)
        self._windows.append((to + 1, step))
        return Action(kind="roll_back", reason=why, to=to)

    def state_dict(self) -> dict[str, Any]:
        """All there is to go on from, as JSON can hold it."""
        return {
            "skipped": self._skipped,
            "since": self._since,
            "windows": [list(window) for window in self._windows],
        }

    def load_state_dict(
        self, state: Mapping[str, Any], kept: Mapping[str, Any] | None = None
    ) -> None:
        """Go on where a ladder of the same settings was.

        Args:
            state: of the checkpoint.
            kept: what was kept at the last rollback. It holds where it has more rollbacks: the
                checkpoint is from before.
        """
        if kept is not None and len(kept["windows"]) > len(state["windows"]):
            state = kept
        self._skipped, self._since = state["skipped"], state["since"]
        self._windows = [(first, last) for first, last in state["windows"]]


def _lost(reading: Reading) -> tuple[int, str] | None:
    """Since when and why the weights are of no use any more; None where they are."""
    step = reading.step
    mine = [event for event in reading.events if event.of == "loss"]
    if not math.isfinite(reading.loss):
        start = min([event.start for event in mine], default=step)
        return start, f"step {step}: loss {reading.loss:g}"
    for event in mine:
        if event.kind in ("divergence", "creep"):
            known = "" if event.baseline is None else f" to {event.baseline:.4g}"
            text = f"loss {reading.loss:.4g} not back{known}, {event.steps} steps after"
            return event.start, f"step {step}: {text} step {event.start}"
    return None
