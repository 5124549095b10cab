"""Predictions for every point of a grid: formulas, corrected by what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from launcher.planner import calibration, memory, steptime
from launcher.planner.calibration import Axes, Correction
from launcher.planner.constants import Constants
from launcher.planner.memory import Memory
from launcher.planner.points import Array, Points
from launcher.planner.steptime import StepTime

CERTAIN = 1.5
"""log(memory of the device / memory required) by which a run has to exceed what others failed with
for it to have been certain that it fits: a factor of 4.5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Result of one run, as far as it was measured."""

    fitted: bool | None
    """False where it ran out of memory; None where it failed of something else."""
    step: float | None = None
    """Seconds of a step."""
    memory: float | None = None
    """Bytes, of the kind that the grid's figures are."""


_SIZES = ("tp", "pp", "vpp", "cp", "ep", "micro_batch", "gpus", "shards", "global_batch",
          "sequence", "hidden", "recompute_unit")  # fmt: skip
"""Fields of a point whose logarithms say how near two points are."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Points that are compared with each other, and their predictions by formula alone."""

    points: Points
    constants: Constants
    extra: Array
    """(points, axes): values of axes that no formula knows, as numbers that stand for names."""
    kind: str = "reserved"
    """Kind of the memory figures that are measured: a key of `launcher.planner.memory.KINDS`."""

    @cached_property
    def time(self) -> StepTime:
        """Seconds of a step, itemised."""
        return steptime.step_time(self.points, self.constants.time)

    @cached_property
    def seconds(self) -> Array:
        """Seconds of a step."""
        return self.time.total

    @cached_property
    def tokens_per_device(self) -> Array:
        """Tokens of a step / devices."""
        return self.points.global_batch * self.points.sequence / self.points.gpus

    @cached_property
    def reported_bytes(self) -> Array:
        """Memory, of the kind that is measured."""
        return memory.reported_bytes(
            self.points, self.constants.memory, self.kind, self.fullest_rank
        )

    @cached_property
    def fullest_rank(self) -> Memory:
        """Bytes on the fullest rank, itemised."""
        return memory.fullest_rank(self.points, self.constants.memory)

    @cached_property
    def required_bytes(self) -> Array:
        """Bytes a device must have."""
        return memory.required_bytes(self.points, self.constants.memory, self.fullest_rank)

    @cached_property
    def room(self) -> Array:
        """log(memory of the device / memory required)."""
        return np.log(self.points.memory / self.required_bytes)

    @cached_property
    def time_axes(self) -> Axes:
        """Positions of the points for the correction of step times."""
        return self._axes(
            [
                deviation * getattr(self.time, part) / self.seconds
                for part, deviation in calibration.TIME_PARTS.items()
            ]
        )

    @cached_property
    def memory_axes(self) -> Axes:
        """Positions of the points for the correction of memory."""
        fullest = self.fullest_rank
        return self._axes(
            [
                deviation * getattr(fullest, part) / fullest.allocated
                for part, deviation in calibration.MEMORY_PARTS.items()
            ]
        )

    def _axes(self, parts: Sequence[Array]) -> Axes:
        p = self.points
        sizes = [getattr(p, name) for name in _SIZES]
        logs = [np.log2(np.maximum(size, 1)) for size in sizes]
        choices = [p.zero, p.sp, p.flash, p.engine, p.offload, p.dispatcher]
        choices += [*p.recomputation, p.unevenness]
        # A choice is as far from the next one as a size from 16 times as much.
        columns = [*logs, *(4.0 * choice for choice in choices)]
        varying = [column for column in columns if column.size and np.ptp(column) > 0]
        modelled = np.stack(varying, axis=1) if varying else np.zeros((len(p), 0))
        return Axes(modelled=modelled, unmodelled=self.extra, parts=np.stack(parts, axis=1))


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A grid, corrected by the runs of it that have ended."""

    grid: Grid
    observations: Mapping[int, Observation] = field(default_factory=dict)
    """By the number of the point."""

    @cached_property
    def _times(self) -> Correction:
        timed = {i: run.step for i, run in self.observations.items() if run.step is not None}
        index = np.array([*timed], dtype=int)
        measured = np.array([*timed.values()], dtype=float)
        ratios = np.log(measured / self.grid.seconds[index])
        spread = calibration.TIME
        if self.grid.points.cpu.any():
            spread = replace(spread, noise=calibration.CPU_NOISE)
        return calibration.from_times(self.grid.time_axes[index], ratios, spread)

    @cached_property
    def _memories(self) -> Correction:
        runs = self._informative()
        index = np.array([*runs], dtype=int)
        measured = np.array([run.memory or np.nan for run in runs.values()], dtype=float)
        return calibration.from_memory(
            self.grid.memory_axes[index],
            room=self.grid.room[index],
            fitted=[bool(run.fitted) for run in runs.values()],
            ratios=np.log(measured / self.grid.reported_bytes[index]),
        )

    def _informative(self) -> dict[int, Observation]:
        """Runs that say more of memory than was certain before; the others take time to count."""
        room = self.grid.room  # infinite where the memory of the device is not known
        runs = {
            i: run
            for i, run in self.observations.items()
            if run.fitted is not None and room[i] < np.inf
        }
        failed = max((room[i] for i, run in runs.items() if not run.fitted), default=0.0)
        fitted = min((room[i] for i, run in runs.items() if run.fitted), default=0.0)
        low, high = min(fitted, 0.0) - CERTAIN, max(failed, 0.0) + CERTAIN
        return {
            i: run
            for i, run in runs.items()
            if run.memory is not None or (room[i] < high if run.fitted else room[i] > low)
        }

    @cached_property
    def log_seconds(self) -> Array:
        """Expected logarithm of a step's seconds."""
        return np.log(self.grid.seconds) + self._times.mean(self.grid.time_axes)

    @cached_property
    def deviation(self) -> Array:
        """Standard deviation of `log_seconds`."""
        return self._times.deviation(self.grid.time_axes)

    @cached_property
    def speed(self) -> Array:
        """Tokens per second and device at that time."""
        return self.grid.tokens_per_device / np.exp(self.log_seconds)

    @cached_property
    def required_bytes(self) -> Array:
        """Bytes a device must have."""
        return self.grid.required_bytes * np.exp(self._memories.mean(self.grid.memory_axes))

    @cached_property
    def reported_bytes(self) -> Array:
        """Expected memory, of the kind that is measured."""
        return self.grid.reported_bytes * np.exp(self._memories.mean(self.grid.memory_axes))

    @cached_property
    def oom(self) -> Array:
        """Probability of not fitting."""
        axes = self.grid.memory_axes
        mean, deviation = self._memories.mean(axes), self._memories.deviation(axes)
        chance = calibration.chance_of_oom(mean, deviation, self.grid.room)
        return np.where(np.isfinite(self.grid.room), chance, 0.0)

    def draw(self, chosen: Array, count: int, seed: int) -> Array:
        """Draw speeds of some points together: (count, chosen) tokens per second and device."""
        spread = self._times.joint(self.grid.time_axes[chosen])
        noise = np.random.default_rng(seed).standard_normal((count, len(chosen)))
        root = np.linalg.cholesky(spread + 1e-6 * np.eye(len(chosen)))
        return self.grid.tokens_per_device[chosen] / np.exp(
            self.log_seconds[chosen] + noise @ root.T
        )
