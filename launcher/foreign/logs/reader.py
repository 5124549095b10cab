"""What a reader of one kind of log gathers while its lines pass by."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

SHOWN = 160
"""Characters of a line that a message quotes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One logged step. None is "the line does not say"."""

    step: int
    """As the source numbers it."""
    loss: float | None = None
    """May be nan or inf, as printed."""
    grad_norm: float | None = None
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

    def finite(self) -> "Step":
        """The step, with what is no number as "the line does not say"; of a loss, that is one."""
        said = (one.name for one in fields(self) if one.name not in ("step", "loss", "skipped"))
        bad = {name: None for name in said if not math.isfinite(getattr(self, name) or 0)}
        skipped = self.skipped if math.isfinite(self.skipped) else 0
        return replace(self, skipped=skipped, **bad)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class LogReader:
    """Fed with every line; one subclass a kind of log."""

    name: ClassVar[str]
    """A key of `launcher.foreign.FORMATS`."""
    looks_like: ClassVar[str]
    """What its step lines look like, for a message."""

    steps: dict[int, Step] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    """Arguments as the source names them."""
    total: int | None = None
    """Steps it was to do."""
    last: int | None = None
    """The step of the last line."""
    finished: str | None = None
    """What the source prints once training is over, where it was."""
    stopped: str | None = None
    """What it prints where it ends itself before that."""
    known: bool = False
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
        """What trained it: a value of `launcher.results.imported.RunFacts.backend`."""
        return self.name

    def add(self, step: Step) -> None:
        """Keep a step; a later line replaces an earlier one. Ranks may print the last one again."""
        self.repeated += step.step in self.steps and step.step != self.last
        self.steps[step.step] = step
        self.last = step.step
        self.finished = self.stopped = None  # a log may hold several starts
        self.known = True

    def give_up(self, line: str) -> None:
        """Count a line that cannot be read."""
        self.unread += 1
        self.first_unread = self.first_unread or line.strip()[:SHOWN]
