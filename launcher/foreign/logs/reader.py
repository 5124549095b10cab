"""Base of the readers of logs: each gathers the steps of one kind while its lines pass by."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

QUOTED = 160
"""Characters of a line that a message quotes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedStep:
    """One logged step. None is "the line does not say"."""

    step: int
    """As the source numbers it."""
    loss: float | None = None
    """May be nan or inf, as printed."""
    grad_norm: float | None = None
    """L2 norm before clipping; may be nan or inf, as printed."""
    lr: float | None = None
    step_ms: float | None = None
    """Mean over the steps since the line before."""
    batch: float | None = None
    """Sequences of the step."""
    samples: float | None = None
    """Sequences up to and with this step."""
    tokens: float | None = None
    """Tokens up to and with this step."""
    tokens_per_s_per_gpu: float | None = None
    samples_per_s: float | None = None
    tflops: float | None = None
    """Per card, as stated."""
    memory_gib: float | None = None
    """Peak reserved of the rank that printed it, GiB."""
    skipped: float = 0
    """Updates that were left out since the line before."""
    nan_steps: float = 0
    """Steps since the line before whose loss was nan or inf."""

    def finite(self) -> "LoggedStep":
        """The step, with what is no number as unknown; of a loss and a norm, nan is a figure."""
        names = (field.name for field in fields(self))
        figures = (name for name in names if name not in ("step", "loss", "grad_norm", *COUNTS))
        unknown = {name: None for name in figures if not math.isfinite(getattr(self, name) or 0)}
        none = {name: 0 for name in COUNTS if not math.isfinite(getattr(self, name))}
        return replace(self, **unknown, **none)  # type: ignore[arg-type]


COUNTS = ("skipped", "nan_steps")
"""Fields of `LoggedStep` that count steps."""


@dataclass(kw_only=True)
class LogReader:
    """Fed with every line; one subclass a kind of log."""

    name: ClassVar[str]
    """A key of `launcher.foreign.FORMATS`."""
    looks_like: ClassVar[str]
    """Examples of its step lines, for a message."""

    steps: dict[int, LoggedStep] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    """Arguments as the source names them."""
    total: int | None = None
    """Steps it was to do."""
    last: int | None = None
    """The step of the last line."""
    finished: str | None = None
    """Line that the source prints once training is over; None where it printed none."""
    stopped: str | None = None
    """Line that it prints where it ends itself before that."""
    recognized: bool = False
    """A line of this kind of log was there, if only before the first step."""
    repeated: int = 0
    """Lines of steps that were there already."""
    starts: int = 0
    """Times the arguments were printed."""
    unread: int = 0
    """Lines that look like one of a step, and cannot be read."""
    first_unread: str | None = None
    memory: dict[str, float] = field(default_factory=dict)
    """Rank -> peak reserved, GiB."""

    def feed(self, line: str) -> bool:
        """Take a line. True where it is one of a step."""
        raise NotImplementedError

    def close(self) -> None:
        """There are no more lines."""

    @property
    def done(self) -> bool:
        """Every step is done."""
        reached = self.total is not None and self.last is not None and self.last >= self.total
        return reached or self.finished is not None

    @property
    def backend(self) -> str | None:
        """Program that trained it: a value of `launcher.results.imported.RunFacts.backend`."""
        return self.name

    def add(self, step: LoggedStep) -> None:
        """Keep a step; a later line replaces an earlier one. Ranks may print the last one again."""
        self.repeated += step.step in self.steps and step.step != self.last
        self.steps[step.step] = step
        self.last = step.step
        self.finished = self.stopped = None  # a log may hold several starts
        self.recognized = True

    def count_unread(self, line: str) -> None:
        """Count a line that cannot be read."""
        self.unread += 1
        self.first_unread = self.first_unread or line.strip()[:QUOTED]
