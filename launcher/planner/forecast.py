"""What is expected of every point of a grid: formulas, corrected by what was measured."""

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
"""log(memory of the device / memory wanted) by which a run has to exceed what others failed with
for it to have been certain that it fits: a factor of 4.5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What one run showed. None is "not measured"."""

    fitted: bool | None
    """False where it ran out of memory; None where it failed of something else."""
    step: float | None = None
    """Seconds of a step."""
    memory: float | None = None
    """Bytes, of the kind that the grid's figures are."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Points that are compared with each other, and their predictions by formula alone."""

    points: Points
    constants: Constants
    extra: Array
    """(points, axes): values of axes that no formula knows, as numbers that stand for names."""
    kind: str = "reserved"
    """What measured memory is: a key of `launcher.planner.memory.KINDS`."""

    @cached_property
    def time(self) -> StepTime:
        """Seconds of a step, itemised."""
        return steptime.step_time(self.points, self.constants.time)

    @cached_property
    def seconds(self) -> Array:
        """Of a step."""
        return self.time.total

    @cached_property
    def tokens(self) -> Array:
        """Tokens of a step and device."""
        return self.points.global_batch * self.points.sequence / self.points.gpus

    @cached_property
    def bytes(self) -> Array:
        """Memory, of the kind that is measured."""
        return memory.figure(self.points, self.constants.memory, self.kind, self.fullest)

    @cached_property
    def fullest(self) -> Memory:
        """Bytes on the fullest rank, itemised."""
        return memory.fullest(self.points, self.constants.memory)

    @cached_property
    def wanted(self) -> Array:
        """Bytes a device must have."""
        return memory.wanted(self.points, self.constants.memory, self.fullest)

    @cached_property
    def room(self) -> Array:
        """log(memory of the device / memory wanted)."""
        return np.log(self.points.memory / self.wanted)

    @cached_property
    def time_axes(self) -> Axes:
        """Where the points lie, for what time says of them."""
        whole = self.seconds
        parts = [d * getattr(self.time, n) / whole for n, d in calibration.TIME_PARTS.items()]
        return self._axes(parts)

    @cached_property
    def memory_axes(self) -> Axes:
        """The same for memory."""
        found, whole = self.fullest, self.fullest.allocated
        parts = [d * getattr(found, n) / whole for n, d in calibration.MEMORY_PARTS.items()]
        return self._axes(parts)

    def _axes(self, parts: Sequence[Array]) -> Axes:
        p = self.points
        sizes = (p.tp, p.pp, p.vpp, p.cp, p.ep, p.micro_batch, p.gpus, p.shards, p.global_batch,
                 p.sequence, p.hidden)  # fmt: skip
        logs = [np.log2(np.maximum(size, 1)) for size in sizes]
        names = (p.zero, p.recompute, p.sp, p.flash, p.engine, p.offload)
        columns = [*logs, *(4.0 * name for name in names)]
        varying = [column for column in columns if column.size and np.ptp(column) > 0]
        known = np.stack(varying, axis=1) if varying else np.zeros((len(p), 0))
        return Axes(known=known, unknown=self.extra, parts=np.stack(parts, axis=1))


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A grid, and what has been seen of it."""

    grid: Grid
    seen: Mapping[int, Seen] = field(default_factory=dict)
    """By the number of the point."""

    @cached_property
    def _times(self) -> Correction:
        timed = [i for i, one in self.seen.items() if one.step is not None]
        measured = np.array([self.seen[i].step for i in timed], dtype=float)
        ratios = np.log(measured / self.grid.seconds[timed])
        spread = calibration.TIME
        if self.grid.points.cpu.any():
            spread = replace(spread, noise=calibration.CPU_NOISE)
        return calibration.from_times(
            self.grid.time_axes[np.array(timed, dtype=int)], ratios, spread
        )

    @cached_property
    def _memories(self) -> Correction:
        known = self._telling()
        measured = np.array([self.seen[i].memory or np.nan for i in known], dtype=float)
        return calibration.from_memory(
            self.grid.memory_axes[np.array(known, dtype=int)],
            room=self.grid.room[known],
            fitted=[bool(self.seen[i].fitted) for i in known],
            ratios=np.log(measured / self.grid.bytes[known]),
        )

    def _telling(self) -> list[int]:
        """Runs that say more of memory than was certain before; the others take time to count."""
        room = self.grid.room  # without end where nobody says what there is
        known = {i: s for i, s in self.seen.items() if s.fitted is not None and room[i] < np.inf}
        most = max((room[i] for i, s in known.items() if not s.fitted), default=0.0)
        least = min((room[i] for i, s in known.items() if s.fitted), default=0.0)
        low, high = min(least, 0.0) - CERTAIN, max(most, 0.0) + CERTAIN
        return [
            i for i, s in known.items()
            if s.memory is not None or (room[i] < high if s.fitted else room[i] > low)
        ]  # fmt: skip

    @cached_property
    def log_seconds(self) -> Array:
        """Expected logarithm of a step's seconds."""
        return np.log(self.grid.seconds) + self._times.mean(self.grid.time_axes)

    @cached_property
    def deviation(self) -> Array:
        """Standard deviation of that."""
        return self._times.deviation(self.grid.time_axes)

    @cached_property
    def speed(self) -> Array:
        """Tokens per second and device at that time."""
        return self.grid.tokens / np.exp(self.log_seconds)

    @cached_property
    def wanted(self) -> Array:
        """Bytes a device must have."""
        return self.grid.wanted * np.exp(self._memories.mean(self.grid.memory_axes))

    @cached_property
    def bytes(self) -> Array:
        """Expected memory."""
        return self.grid.bytes * np.exp(self._memories.mean(self.grid.memory_axes))

    @cached_property
    def oom(self) -> Array:
        """Probability of not fitting."""
        axes = self.grid.memory_axes
        mean, deviation = self._memories.mean(axes), self._memories.deviation(axes)
        chance = calibration.chance_of_oom(mean, deviation, self.grid.room)
        return np.where(np.isfinite(self.grid.room), chance, 0.0)

    def draw(self, chosen: Array, count: int, seed: int) -> Array:
        """(count, chosen): tokens per second and device that may be, with what they share."""
        spread = self._times.joint(self.grid.time_axes[chosen])
        noise = np.random.default_rng(seed).standard_normal((count, len(chosen)))
        root = np.linalg.cholesky(spread + 1e-6 * np.eye(len(chosen)))
        return self.grid.tokens[chosen] / np.exp(self.log_seconds[chosen] + noise @ root.T)
