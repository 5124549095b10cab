"""What `launch top` shows, as values: nothing here reads a file or knows of a terminal."""

from dataclasses import dataclass

Series = tuple[float | None, ...]
"""Of the latest steps, the last one last; None where a step has no value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A trial that runs."""

    label: str
    """What tells it from the others."""
    attempt: int
    place: str
    """Its job and its nodes; "" on this machine."""
    step: int | None
    """The last one that is done; None before the first."""
    last: int
    """The step it ends with."""
    losses: Series
    speeds: Series
    """Tokens per second, over all ranks."""
    memory_gib: float | None
    """Peak of the rank that took most, GiB."""
    silent: float | None
    """Seconds since its last step; before the first one, since its start."""
    stuck: bool
    """That is much more than its steps take."""
    limit: float | None
    """Seconds until its time limit."""
    events: str
    """Spikes, skipped updates, rollbacks, failed saves; "" where there were none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A trial that has not begun."""

    label: str
    queued: bool
    """A batch system has it."""
    since: float | None = None
    """Seconds it has been queued."""
    said: str = ""
    """Its job, and what the batch system says of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An attempt that did not end well."""

    label: str
    outcome: str
    cause: str
    log: str
    """Folder of what its ranks printed, below the one that is shown."""
    ago: float | None
    """Seconds since it ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How far a run is, by itself or in stages."""

    stage: str
    """Its name and number; "" of a run by itself."""
    step: int
    steps: int
    """To be done in all stages."""
    tokens: int
    total_tokens: int
    left: float | None
    """Seconds at the speed of the latest steps; None while nothing runs."""
    checkpoint: int | None
    """Step of the newest one."""
    checkpoint_ago: float | None
    """Seconds since it was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a sweep has spent, and what it may. None is "no limit", or "not known"."""

    gpu_hours: float
    """Of all attempts, those that run included."""
    most_gpu_hours: float | None = None
    trials: int = 0
    """Trials that ended."""
    most_trials: int | None = None
    left: float | None = None
    """Seconds that the points left take, by those that ended."""
    may_stop: bool = False
    """The strategy may end before, so that this is the most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at a folder."""

    folder: str
    time: float
    """Seconds since the epoch."""
    unit: str
    """What one of the points is, in a word."""
    points: int
    outcomes: tuple[tuple[str, int], ...]
    """Points that ended, by outcome, ok first and the most frequent next."""
    running: tuple[Running, ...]
    waiting: tuple[Waiting, ...]
    """The queued ones first."""
    queued: int
    not_started: int
    """Those that nothing is known of but that they are points included."""
    failures: tuple[Failure, ...]
    """The newest first."""
    budget: Budget
    best: tuple[str, float] | None = None
    """Label and tokens per second of the fastest point."""
    training: Training | None = None
    remarks: tuple[str, ...] = ()
    """What could not be read, a line each."""

    @property
    def ended(self) -> int:
        """Points that ended."""
        return sum(count for _, count in self.outcomes)
