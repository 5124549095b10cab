"""Spikes of loss and gradient norm, found step by step from what came before alone.

The baseline is the median of the newer half of the window, the noise the median distance of its
values from the median of their half, so that single values move neither. Norms are compared as
logarithms. docs/spikes.md has the formulas and how well they do.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from launcher.spec.spike_guard import SpikeGuard

Kind = Literal[
    "loss_spike",
    "norm_spike",
    "nan",
    "inf",
    "creep",  # of the baseline itself: a rise too slow for a spike that has lasted `patience` steps
    "divergence",  # not back within `patience` steps
    "recovery",
]
Quantity = Literal["loss", "grad_norm"]

SIGMA = 1.4826
"""Standard deviation of a normal distribution / its median absolute deviation."""

BACK = 0.5
"""Share of the jump that makes an event, within which of the baseline it is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened to one quantity. Losses are nats per token."""

    kind: Kind
    of: Quantity
    step: int
    """Step at which it was seen."""
    start: int
    """Step at which the deviation began: its own, unless it ends or worsens an earlier one."""
    value: float | None
    """Value at ``step``; None where it is not finite."""
    baseline: float | None
    """Baseline from before ``start``; None where it was not known yet."""
    size: float | None
    """Excess of the worst value since ``start`` over the baseline: nats of a loss, times of a norm.
    None where there is no finite value or no baseline."""

    @property
    def steps(self) -> int:
        """Steps since it began."""
        return self.step - self.start


@dataclass(frozen=True, slots=True)
class Reading:
    """One step as the detector reads it."""

    step: int
    loss: float | None
    """None where none is logged."""
    norm_ratio: float | None
    """Gradient norm / its baseline; infinite where the norm is not finite, None where there is
    no norm or no baseline."""
    events: tuple[Event, ...] = ()


class Detector:
    """Finds spikes; sees each step once, in order.

    The state is plain data: a run that goes on from it finds what an unbroken one would have.
    """

    def __init__(self, guard: SpikeGuard) -> None:
        self._loss = _Watch(guard, "loss", guard.loss_nats)
        self._norm = _Watch(guard, "grad_norm", math.log(guard.norm_factor))
        self._step: int | None = None
        self._shift: int | None = None

    def update(self, step: int, loss: float | None, grad_norm: float | None = None) -> Reading:
        """Look at a step; None is a figure that is not logged.

        A step that is not above the last one is a log that was resumed: an event that was open
        there has no end. A norm of 0 or below is ignored: some engines log it without filling it.
        """
        if self._step is not None and step <= self._step:
            self._loss.open = self._norm.open = None
        if self._shift is not None and step >= self._shift:
            self._loss.forget()
            self._norm.forget()
            self._shift = None
        self._step = step
        loss_event = None if loss is None else self._loss.update(step, loss)
        if grad_norm is None or grad_norm <= 0:
            return Reading(step, loss, None, () if loss_event is None else (loss_event,))
        norm_event = self._norm.update(step, grad_norm)
        events = tuple(event for event in (loss_event, norm_event) if event is not None)
        return Reading(step, loss, self._norm.ratio(grad_norm), events)

    def expect_shift(self, step: int) -> None:
        """Learn the baselines anew from ``step`` on, because the data changes there.

        An event that is open then has no end, and until half a window is learnt only values that
        are not finite are events.
        """
        self._shift = step

    def state_dict(self) -> dict[str, Any]:
        """State of the detector as plain JSON data."""
        return {
            "step": self._step,
            "shift": self._shift,
            "loss": self._loss.state_dict(),
            "grad_norm": self._norm.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a detector of the same settings was."""
        self._step, self._shift = state["step"], state["shift"]
        self._loss.load_state_dict(state["loss"])
        self._norm.load_state_dict(state["grad_norm"])


@dataclass(slots=True)
class _OpenEvent:
    """An event that has not ended."""

    start: int
    baseline: float | None
    """Baseline on the scale of its watch."""
    back: float | None
    """Value at or below which it is over, on that scale; None is any finite one."""
    worst: float | None
    finite: bool
    """True while all its values were finite."""


class _Watch:
    """One quantity on the scale on which its noise is even: losses as they are, norms as logs."""

    def __init__(self, guard: SpikeGuard, quantity: Quantity, floor: float) -> None:
        self._guard, self._quantity, self._floor = guard, quantity, floor
        self._history: list[float] = []
        self._level: float | None = None
        self._lowest: float | None = None
        self._left = 0
        """Last step at which the baseline was at its lowest, or within `BACK` floors of it."""
        self.open: _OpenEvent | None = None

    def update(self, step: int, value: float) -> Event | None:
        """Take a value in, and return the event that it begins, worsens or ends."""
        if self.open is not None:
            return self._during(self.open, step, value)
        self._level = self._median()
        if not math.isfinite(value) or self._is_jump(self._scaled(value)):
            return self._begin(step, value)
        crept = self._creep(step, value) if self._quantity == "loss" else None
        if crept is None:
            self._learn(value)
        return crept

    def ratio(self, value: float) -> float | None:
        """A norm / the baseline it was compared with."""
        if not math.isfinite(value):
            return math.inf
        return None if self._level is None else value / math.exp(self._level)

    def forget(self) -> None:
        """Learn the baseline anew."""
        self._history.clear()
        self._level = self._lowest = self.open = None

    def _median(self) -> float | None:
        """Median of the newer half of the window; None before half of it is filled."""
        values = self._history
        if len(values) < self._guard.window // 2:
            return None
        return _median(values[len(values) // 2 :])

    def _is_jump(self, value: float) -> bool:
        level = self._level
        # The floor comes first: the noise costs most and is hardly ever asked for.
        return level is not None and value - level > self._floor and value - level > self._limit()

    def _limit(self) -> float:
        """Distance above the baseline at which a spike begins."""
        half = len(self._history) // 2
        distances: list[float] = []
        for part in (self._history[:half], self._history[half:]):
            middle = _median(part)
            distances += [abs(value - middle) for value in part]
        return max(self._floor, self._guard.sigmas * SIGMA * _median(distances))

    def _creep(self, step: int, value: float) -> Event | None:
        """Return an event where the baseline has left its lowest for good, and learn it anew."""
        level = self._level
        if level is None:
            return None
        if self._lowest is None or level < self._lowest:
            self._lowest = level
        recovered, rise = self._lowest + BACK * self._floor, level - self._lowest
        if level <= recovered:
            self._left = step
        # The baseline lags behind the loss, which may be back already. The noise costs most: last.
        lasting = step - self._left >= self._guard.patience and value > recovered
        if not lasting or rise <= self._floor or rise <= self._limit():
            return None
        since = _OpenEvent(self._left, self._lowest, None, value, True)
        self.forget()
        return self._event(since, "creep", step, value)

    def _begin(self, step: int, value: float) -> Event:
        finite, level = math.isfinite(value), self._level
        back = None if level is None else level + BACK * self._limit()
        self.open = _OpenEvent(step, level, back, value if finite else None, finite)
        return self._event(self.open, self._kind(value), step, value)

    def _during(self, event: _OpenEvent, step: int, value: float) -> Event | None:
        finite = math.isfinite(value)
        if finite and (event.back is None or self._scaled(value) <= event.back):
            self.open = None
            self._learn(value)
            return self._event(event, "recovery", step, value)
        if finite:
            event.worst = value if event.worst is None else max(event.worst, value)
        if event.finite and not finite:
            event.finite = False
            return self._event(event, self._kind(value), step, value)
        if step - event.start >= self._guard.patience:
            self.forget()
            return self._event(event, "divergence", step, value)
        return None

    def _kind(self, value: float) -> Kind:
        if not math.isfinite(value):
            return "nan" if math.isnan(value) else "inf"
        return "loss_spike" if self._quantity == "loss" else "norm_spike"

    def _event(self, event: _OpenEvent, kind: Kind, step: int, value: float) -> Event:
        baseline, size = event.baseline, None
        if baseline is not None and self._quantity == "grad_norm":
            baseline = math.exp(baseline)
        if baseline is not None and event.worst is not None:
            worst = event.worst
            size = worst - baseline if self._quantity == "loss" else worst / baseline
        return Event(
            kind=kind,
            of=self._quantity,
            step=step,
            start=event.start,
            value=value if math.isfinite(value) else None,
            baseline=baseline,
            size=size,
        )

    def _learn(self, value: float) -> None:
        self._history.append(self._scaled(value))
        if len(self._history) > self._guard.window:
            del self._history[0]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._quantity == "grad_norm" else value

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        open_event = None if self.open is None else asdict(self.open)
        return {
            "history": list(self._history),
            "level": self._level,
            "lowest": self._lowest,
            "left": self._left,
            "open": open_event,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._history, self._level = list(state["history"]), state["level"]
        self._lowest, self._left = state["lowest"], state["left"]
        self.open = None if state["open"] is None else _OpenEvent(**state["open"])


def _median(values: list[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
