"""One trial of a folder that is watched: of its files only those that have changed are read."""

import math
from collections import Counter, deque
from dataclasses import dataclass
from statistics import median
from typing import Any

from launcher.campaign import jobs, retry
from launcher.cli.top.snapshot import Running
from launcher.cli.top.tail import Signature, Tail, signature
from launcher.errors import ReadError
from launcher.results import summary
from launcher.results.record import RunRecord
from launcher.results.run_folder import TRACES, RunFolder, Status
from launcher.results.summary import SPIKES
from launcher.spec.run import RunSpec

KEPT = 120
"""Steps of which the figures are kept."""
READ = 2**18
"""Bytes of metrics that are read of a trial that runs already: some hundred steps."""
USUAL = 20
"""Steps that tell what is usual."""
STUCK, AT_LEAST = 8, 15.0
"""A trial looks stuck after so many usual steps without one, and so many seconds."""

TOLD = {"skip": "skip", "rollback": "rollback", "save_failed": "failed save"}
"""Kinds of events besides spikes, and what they are called."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is kept of a line of metrics."""

    step: int
    loss: float | None
    tokens_per_s: float | None
    seconds: float | None
    memory_gib: float | None


class Trial:
    """A run's folder and what is known of it by now."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.spec: RunSpec | None = None
        self.status: Status | None = None
        self.written: float | None = None
        """When the status was, in seconds since the epoch."""
        self.problem: str | None = None
        """What could not be read."""
        self.steps: deque[Step] = deque(maxlen=KEPT)
        self._path = str(folder.status_file)  # it is asked for all the time
        self._seen: Signature | None = None
        self._metrics = Tail(folder.metrics, most=READ)
        self._events = Tail(folder.event_log)
        self._happened: set[tuple[str, Any, int]] = set()
        self._record: RunRecord | None = None
        self._left: tuple[Signature | None, ...] = ()
        """What it had of `tree.TRACES` at the last look, while it has no status."""
        self._earlier: list[RunRecord] | None = None
        self._job: tuple[str, str] | None = None

    def update(self) -> None:
        """Look at it again."""
        try:
            seen = signature(self._path)
            if seen != self._seen or self.spec is None:
                self._look(seen)
            if self.status is None:
                self._look_without()
            elif self.status.state == "running":
                self._follow()
                self.problem = self._damage()
        except OSError as error:
            self.problem, self._seen = f"{self.folder.path}: {error.strerror}", None
        except ReadError as error:
            self.problem = str(error)

    def _look(self, seen: Signature | None) -> None:
        """Read the status, and where another attempt or a first one has begun, the spec."""
        before, self._seen, self._record = self.status, seen, None
        self.status = self.folder.status()
        self.written = seen[1] / 1e9 if seen else None
        attempt = self.status.attempt if self.status else None
        if self.spec is None or attempt != (before.attempt if before else None):
            self._earlier = self.spec = None  # which it stays where it cannot be read
            self.spec = self.folder.spec()
        self.problem = None

    def _look_without(self) -> None:
        """Where no status was copied with it, what it left says that it ended."""
        left = tuple(signature(self.folder.path / name) for name in TRACES)
        if left != self._left and self.spec:
            found = summary.record_of(self.spec, self.folder) if any(left) else None
            self._left, self._record = left, found

    def _follow(self) -> None:
        metrics, events = self._metrics.read(), self._events.read()
        if metrics.fresh:
            self.steps.clear()
        if events.fresh:
            self._happened.clear()
        self.steps.extend(step for line in metrics.lines if (step := _step(line)))
        # What a resumed run trains once more happens once more.
        self._happened.update(_happened(line) for line in events.lines)

    def _damage(self) -> str | None:
        """That lines of its files are no lines."""
        for tail in (self._metrics, self._events):
            if tail.damaged:
                lines = "line is" if tail.damaged == 1 else "lines are"
                return f"{tail.path}: {tail.damaged} {lines} damaged"
        return None

    @property
    def live(self) -> bool:
        """Whether it is queued or runs, as far as its folder says."""
        return self.status is not None and self.status.state != "ended"

    @property
    def job(self) -> str | None:
        """The batch system's name for it."""
        status = self.status
        if status is None or status.submission is None:
            return status.job_id if status else None
        if self._job is None or self._job[0] != status.submission:
            name = jobs.job_name(self.folder, status)
            self._job = (status.submission, name) if name else None
        return status.job_id or (self._job[1] if self._job else None)

    def record(self, known: RunRecord | None) -> RunRecord | None:
        """How it ended: as the launcher wrote it down, where that is of this attempt."""
        status = self.status
        if status is None:
            return known or self._record
        if known and known.attempt in (None, status.attempt):
            return known
        if self._record is None and self.spec:
            self._record = summary.record_of(self.spec, self.folder)
        return self._record

    def earlier(self) -> list[RunRecord]:
        """How the attempts before this one ended, the last one first."""
        if self._earlier is None:
            several = self.status is not None and self.status.attempt > 1
            found = retry.earlier_ends(self.folder, self.spec) if several and self.spec else ()
            self._earlier = list(found)
        return self._earlier

    def elapsed(self, now: float) -> float:
        """Seconds that it has been running; 0 where it does not."""
        status = self.status
        if status is None or status.state != "running" or status.started is None:
            return 0.0
        return max(now - status.started, 0.0)

    def speed(self) -> float | None:
        """Tokens per second of its latest steps, all ranks together; None where they have none."""
        found = [s.tokens_per_s for s in list(self.steps)[-USUAL:] if s.tokens_per_s]
        return median(found) if found else None

    def running(self, label: str, now: float) -> Running:
        """It as it is shown; it runs."""
        assert self.spec and self.status
        last, status = self.steps[-1] if self.steps else None, self.status
        since = self._metrics.written if last else status.started
        silent = None if since is None else max(now - since, 0.0)
        limit = None if status.time_limit is None else status.time_limit - self.elapsed(now)
        return Running(
            label=label,
            attempt=status.attempt,
            place=" ".join(filter(None, [self.job, _shown(status.nodes)])),
            step=last.step if last else None,
            last=self.spec.last,
            losses=tuple(step.loss for step in self.steps),
            speeds=tuple(step.tokens_per_s for step in self.steps),
            memory_gib=max((s.memory_gib for s in self.steps if s.memory_gib), default=None),
            silent=silent,
            stuck=self._stuck(silent),
            limit=limit if limit is None or limit > 0 else 0.0,
            events=self._told(),
        )

    def _stuck(self, silent: float | None) -> bool:
        usual = [step.seconds for step in list(self.steps)[-USUAL:] if step.seconds]
        if silent is None or not usual:
            return False
        return silent > max(STUCK * median(usual), AT_LEAST)

    def _told(self) -> str:
        """What happened in between, in words."""
        kinds = Counter(kind for kind, *_ in self._happened)
        counts = {"spike": sum(kinds[kind] for kind in SPIKES)}
        counts |= {name: kinds[kind] for kind, name in TOLD.items()}
        return ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n)

    def newest_checkpoint(self) -> tuple[int, float | None] | None:
        """Step of the newest one, and when it was written; None without one."""
        steps = self.folder.checkpoint_steps()
        if not steps:
            return None
        found = signature(self.folder.checkpoint(steps[-1]))
        return steps[-1], found[1] / 1e9 if found else None


def _step(line: dict[str, Any]) -> Step | None:
    number, ms = line.get("step"), _number(line.get("step_ms"))
    if not isinstance(number, int):
        return None
    return Step(
        step=number,
        loss=_number(line.get("loss")),
        tokens_per_s=_number(line.get("tokens_per_s")),
        seconds=None if ms is None else ms / 1000,
        memory_gib=_number(line.get("mem_max_gib")),
    )


def _happened(line: dict[str, Any]) -> tuple[str, Any, int]:
    step = line.get("step")
    return str(line.get("kind")), str(line.get("of")), step if isinstance(step, int) else 0


def _number(value: Any) -> float | None:
    """A value that can be drawn."""
    good = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if good else None


def _shown(nodes: tuple[str, ...]) -> str:
    """The first node, and how many more."""
    more = f" +{len(nodes) - 1}" if len(nodes) > 1 else ""
    return f"{nodes[0]}{more}" if nodes else ""
