"""Questions to a strategy, and its answers.

A strategy is a pure function of a `Search`: it starts nothing and reads no files, so continuing a
sweep needs no state of its own, and one strategy serves a cluster and a table of measurements.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from launcher.decode import Count, Fraction, Positive
from launcher.planner.forecast import Forecast, Grid, Observation
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
    """GPU hours that the trials may take together, start-up included."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A grid, the results of its trials so far, and how many more may be started."""

    grid: Grid
    observations: Mapping[int, Observation] = field(default_factory=dict)
    """Results of trials by the number of the point, in the order in which they ended."""
    running: frozenset[int] = frozenset()
    """Points that have been submitted and have not ended."""
    stop: Stop = field(default_factory=Stop)
    gpu_hours: float = 0.0
    """GPU hours that the trials have taken."""
    room: int = 1
    """Trials that may run at once."""
    seed: int = 0
    steps: Array | None = None
    """Optimizer steps of each point's trial; None where all have the same."""
    twins: Array | None = None
    """Points with the same number here differ in their steps alone."""
    merits: Mapping[int, float] | None = None
    """Values of the sweep's goal by point, more being better; None where the goal is speed."""

    @cached_property
    def forecast(self) -> Forecast:
        """Predictions for every point."""
        return Forecast(grid=self.grid, observations=self.observations)

    @property
    def open(self) -> list[int]:
        """Points that have neither run nor been submitted."""
        submitted = self.observations.keys() | self.running
        return [i for i in range(len(self.grid.points)) if i not in submitted]

    @property
    def best(self) -> float | None:
        """Highest speed seen: tokens per second and device."""
        return max((speed for i in self.observations if (speed := self.speed(i))), default=None)

    @property
    def trials_since_best(self) -> int:
        """Trials that have ended since one was better than all before it."""
        best, since = 0.0, 0
        for point in self.observations:
            speed = self.speed(point) or 0.0
            since = 0 if speed > best * (1 + self.stop.tolerance) else since + 1
            best = max(best, speed)
        return since

    def speed(self, point: int) -> float | None:
        """Speed of one that has ended; None where it was not measured."""
        step = self.observations[point].step
        return float(self.grid.tokens_per_device[point] / step) if step else None

    def merit(self, point: int) -> float | None:
        """Value of the goal of one that has ended, more being better; None where it has none."""
        return self.speed(point) if self.merits is None else self.merits.get(point)

    @property
    def free_slots(self) -> int:
        """Trials that may be started now, by the room there is and by the budget of trials."""
        slots, limit = self.room - len(self.running), self.stop.trials
        if limit is not None:
            slots = min(slots, limit - len(self.observations) - len(self.running))
        return max(slots, 0)

    @property
    def exhausted_budget(self) -> str | None:
        """The budget that has been used up; None where none has."""
        trials = len(self.observations) + len(self.running)
        if self.stop.trials is not None and trials >= self.stop.trials:
            return f"sweep.stop.trials={self.stop.trials} have run"
        if self.stop.gpu_hours is not None and self.gpu_hours >= self.stop.gpu_hours:
            return f"sweep.stop.gpu_hours={self.stop.gpu_hours:g} have been spent"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Points to run next, and points not to run at all."""

    next: tuple[int, ...] = ()
    """Points, the most promising first."""
    ended: str | None = None
    """Reason for which a search ends before all has run; None where it goes on."""
    given_up: Mapping[int, str] = field(default_factory=dict)
    """Points that are not worth a trial, and why; one that waits in a queue is taken back."""


Strategy = Callable[[Search], Answer]
