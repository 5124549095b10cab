"""What a strategy is asked, and what it answers.

A strategy is a pure function of a `Search`: it starts nothing and reads no files, so continuing a
sweep needs no state of its own, and one strategy serves a cluster and a table of measurements.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from launcher.decode import Count, Fraction, Positive
from launcher.planner.forecast import Forecast, Grid, Seen
from launcher.planner.points import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """When a search ends by itself, whichever comes first. None is never."""

    tolerance: Positive = 0.01
    """A layout counts as better if it is faster by this share."""
    chance: Fraction = 0.05
    """Chance that anything left is better below which the search ends."""
    patience: Count | None = 10
    """Trials in a row of which none is better, once a few have been measured."""
    trials: Count | None = None
    """Trials, failed ones included."""
    gpu_hours: Positive | None = None
    """What the trials may take together, start-up included."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A grid, what is known of it, and how much may be asked for."""

    grid: Grid
    seen: Mapping[int, Seen] = field(default_factory=dict)
    """What has ended, by the number of the point, in the order in which it did."""
    running: frozenset[int] = frozenset()
    """What has been submitted and has not ended."""
    stop: Stop = field(default_factory=Stop)
    gpu_hours: float = 0.0
    """What has been spent."""
    room: int = 1
    """Trials that may run at once."""
    seed: int = 0
    steps: Array | None = None
    """Optimizer steps of each point's trial; None where all have the same."""
    twins: Array | None = None
    """Points with the same number here differ in their steps alone."""

    @cached_property
    def forecast(self) -> Forecast:
        """What is expected of every point."""
        return Forecast(grid=self.grid, seen=self.seen)

    @property
    def open(self) -> list[int]:
        """Points that have neither run nor been submitted."""
        taken = self.seen.keys() | self.running
        return [i for i in range(len(self.grid.points)) if i not in taken]

    @property
    def best(self) -> float | None:
        """Highest speed seen: tokens per second and device."""
        return max((speed for i in self.seen if (speed := self.speed(i))), default=None)

    @property
    def in_vain(self) -> int:
        """Trials that have ended since one was better than all before it."""
        best, since = 0.0, 0
        for point in self.seen:
            speed = self.speed(point) or 0.0
            since = 0 if speed > best * (1 + self.stop.tolerance) else since + 1
            best = max(best, speed)
        return since

    def speed(self, point: int) -> float | None:
        """Speed of one that has ended; None where it was not measured."""
        step = self.seen[point].step
        return float(self.grid.tokens[point] / step) if step else None

    @property
    def free(self) -> int:
        """Trials that may be started now: what there is room for, and what the budget has left."""
        room, most = self.room - len(self.running), self.stop.trials
        left = room if most is None else most - len(self.seen) - len(self.running)
        return max(min(room, left), 0)

    @property
    def spent(self) -> str | None:
        """Which budget has been used up; None where none has."""
        trials = len(self.seen) + len(self.running)
        if self.stop.trials is not None and trials >= self.stop.trials:
            return f"sweep.stop.trials={self.stop.trials} have run"
        if self.stop.gpu_hours is not None and self.gpu_hours >= self.stop.gpu_hours:
            return f"sweep.stop.gpu_hours={self.stop.gpu_hours:g} have been spent"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What to run next, and what not to run at all."""

    next: tuple[int, ...] = ()
    """Points, the most promising first."""
    ended: str | None = None
    """Why there is nothing to run next, where a search ends before all has run."""
    given_up: Mapping[int, str] = field(default_factory=dict)
    """Points that are not worth a trial, and why; one that waits in a queue is taken back."""


Strategy = Callable[[Search], Answer]
