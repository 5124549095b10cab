"""Values that `launch top` shows: nothing here reads a file or knows of a terminal."""

from dataclasses import dataclass

from launcher.results.columns import SPEED

Series = tuple[float | None, ...]
"""Figures of the latest steps, the last one last; None where a step has no value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A trial that runs."""

    label: str
    """Values that tell it from the other points."""
    attempt: int
    """Its number, from 1."""
    place: str
    """Its job and its nodes; "" on this machine."""
    step: int | None
    """The last one that is done; None before the first."""
    last: int
    """The step it ends with."""
    losses: Series
    """Losses of the latest steps, the last one last; None where a step has none."""
    speeds: Series
    """Tokens per second, over all ranks."""
    memory_gib: float | None
    """Peak of the rank that took most, GiB."""
    silent: float | None
    """Seconds since its last step; before the first one, since its start."""
    stuck: bool
    """True where `silent` is much more than its steps take."""
    limit: float | None
    """Seconds until its time limit."""
    events: str
    """Spikes, skipped updates, rollbacks, failed saves; "" where there were none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A trial that has not begun."""

    label: str
    """Values that tell it from the other points."""
    queued: bool
    """True where a batch system has it."""
    since: float | None = None
    """Seconds it has been queued."""
    job_state: str = ""
    """Its job, and the state of that in the batch system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An attempt that did not end well."""

    label: str
    """Values that tell it from the other points, and the attempt where it is not the latest."""
    outcome: str
    """How it ended."""
    cause: str
    """Why, in one line."""
    log: str
    """Folder of what its ranks printed, below the one that is shown."""
    ago: float | None
    """Seconds since it ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Progress of a run, by itself or in stages."""

    stage: str
    """Its name and number; "" of a run by itself."""
    step: int
    """The last one that is done."""
    steps: int
    """Steps of all stages together."""
    tokens: int
    """Tokens trained on so far."""
    total_tokens: int
    """Tokens of all stages together."""
    seconds_left: float | None
    """Seconds to the end at the speed of the latest steps; None while nothing runs."""
    checkpoint: int | None
    """Step of the newest one."""
    checkpoint_ago: float | None
    """Seconds since it was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Spending of a sweep, and its limits. None is "no limit", or "not known"."""

    gpu_hours: float
    """Sum over all attempts, those that run included."""
    max_gpu_hours: float | None = None
    """Limit of the sweep on these."""
    trials: int = 0
    """Trials that ended."""
    max_trials: int | None = None
    """Limit of the sweep on these."""
    seconds_left: float | None = None
    """Seconds that the open points take, estimated from those that ended."""
    may_stop: bool = False
    """True where the strategy may end earlier: `seconds_left` is then an upper bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """State of a folder at one moment."""

    folder: str
    """Folder that is shown, as it was given."""
    time: float
    """Seconds since the epoch."""
    unit: str
    """Word for one of the points: run, stage or point."""
    points: int
    """Points of all sweeps below it."""
    outcomes: tuple[tuple[str, int], ...]
    """Points that ended, by outcome, ok first and the most frequent next."""
    running: tuple[Running, ...]
    """Trials that run."""
    waiting: tuple[Waiting, ...]
    """The queued ones first."""
    queued: int
    """Points that a batch system has."""
    not_started: int
    """Points that have not begun; of some nothing but the name is known."""
    failures: tuple[Failure, ...]
    """The newest first."""
    budget: Budget
    """Spending, and its limits."""
    best: tuple[str, float] | None = None
    """Label of the best point, and its value of ``goal``."""
    goal: str = SPEED
    """Column of which the best is sought."""
    training: Training | None = None
    """Progress, where there is one run or one curriculum."""
    remarks: tuple[str, ...] = ()
    """Messages on files that could not be read, a line each."""

    @property
    def ended(self) -> int:
        """Points that ended."""
        return sum(count for _, count in self.outcomes)
