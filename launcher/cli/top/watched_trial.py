"""One trial of a watched folder: only the files that have changed are read again."""

import math
from collections import Counter, deque
from dataclasses import dataclass
from statistics import median
from typing import Any

from launcher.campaign import jobs, retry
from launcher.cli.top.snapshot import Running
from launcher.cli.top.tail import Signature, Tail, signature
from launcher.errors import ReadError
from launcher.results import metrics, summary
from launcher.results.record import RunRecord
from launcher.results.run_folder import TRACES, RunFolder, Status
from launcher.results.summary import SPIKES
from launcher.spec.run import RunSpec

MAX_STEPS = 120
"""Latest steps whose figures are retained."""
MAX_BYTES = 2**18
"""Bytes of metrics that are read of a trial that runs already: some hundred steps."""
MEDIAN_STEPS = 20
"""Latest steps whose median is the usual speed or step time."""
STUCK_STEPS, STUCK_SECONDS = 8, 15.0
"""A trial looks stuck after so many usual step times without a step, and so many seconds."""

EVENT_NAMES = {"skip": "skip", "rollback": "rollback", "save_failed": "failed save"}
"""Kinds of events besides spikes, and their names on the screen."""


@dataclass(frozen=True, slots=True)
class Step:
    """Figures of one line of metrics."""

    step: int
    loss: float | None
    tokens_per_s: float | None
    seconds: float | None
    memory_gib: float | None


class WatchedTrial:
    """A run's folder, and its contents as they were read last."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.spec: RunSpec | None = None
        self.status: Status | None = None
        self.written: float | None = None
        """Time of the last change of the status, in seconds since the epoch."""
        self.problem: str | None = None
        """Message on a file that could not be read."""
        self.steps: deque[Step] = deque(maxlen=MAX_STEPS)
        self._path = str(folder.status_file)  # made once: `update` takes it many times a second
        self._status_signature: Signature | None = None
        self._metrics = Tail(folder.metrics, max_bytes=MAX_BYTES)
        self._events = Tail(folder.event_log)
        self._event_keys: set[tuple[str, str, int]] = set()
        self._record: RunRecord | None = None
        self._traces: tuple[Signature | None, ...] = ()
        """Signatures of `run_folder.TRACES` at the last look, while it has no status."""
        self._earlier_records: list[RunRecord] | None = None
        self._job: tuple[str, str] | None = None

    def update(self) -> None:
        """Read again the files that have changed."""
        try:
            current = signature(self._path)
            if current != self._status_signature or self.spec is None:
                self._read_status(current)
            if self.status is None:
                self._read_traces()
            elif self.status.state == "running":
                self._read_new_lines()
                self.problem = self._damage()
        except OSError as error:
            self.problem, self._status_signature = f"{self.folder.path}: {error.strerror}", None
        except ReadError as error:
            self.problem = str(error)

    def _read_status(self, current: Signature | None) -> None:
        """Read the status, and where another attempt or a first one has begun, the spec."""
        previous, self._status_signature, self._record = self.status, current, None
        self.status = self.folder.status()
        self.written = current[1] / 1e9 if current else None
        attempt = self.status.attempt if self.status else None
        if self.spec is None or attempt != (previous.attempt if previous else None):
            self._earlier_records = self.spec = None  # it stays None where it cannot be read
            self.spec = self.folder.spec()
        self.problem = None

    def _read_traces(self) -> None:
        """Make the record of a run that was copied without its status: its files show its end."""
        traces = tuple(signature(self.folder.path / name) for name in TRACES)
        if traces != self._traces and self.spec:
            record = summary.record_of(self.spec, self.folder) if any(traces) else None
            self._traces, self._record = traces, record

    def _read_new_lines(self) -> None:
        steps, events = self._metrics.read(), self._events.read()
        if steps.fresh:
            self.steps.clear()
        if events.fresh:
            self._event_keys.clear()
        self.steps.extend(step for line in steps.lines if (step := _step(line)))
        # A set: a resumed run trains some steps again, and logs their events again.
        self._event_keys.update(_event_key(line) for line in events.lines)

    def _damage(self) -> str | None:
        """Message on lines of its files that cannot be parsed; None without any."""
        for tail in (self._metrics, self._events):
            if tail.damaged:
                lines = "line is" if tail.damaged == 1 else "lines are"
                return f"{tail.path}: {tail.damaged} {lines} damaged"
        return None

    @property
    def live(self) -> bool:
        """True where it is queued or runs, by its folder."""
        return self.status is not None and self.status.state != "ended"

    @property
    def job(self) -> str | None:
        """Name of its job in the batch system."""
        status = self.status
        if status is None or status.submission is None:
            return status.job_id if status else None
        if self._job is None or self._job[0] != status.submission:
            name = jobs.job_name(self.folder, status)
            self._job = (status.submission, name) if name else None
        return status.job_id or (self._job[1] if self._job else None)

    def record(self, written: RunRecord | None) -> RunRecord | None:
        """Record of its end: the one the launcher has written, where that is of this attempt."""
        status = self.status
        if status is None:
            return written or self._record
        if written and written.attempt in (None, status.attempt):
            return written
        if self._record is None and self.spec:
            self._record = summary.record_of(self.spec, self.folder)
        return self._record

    def earlier_records(self) -> list[RunRecord]:
        """Records of the attempts before this one, the last one first."""
        if self._earlier_records is None:
            retried = self.status is not None and self.status.attempt > 1
            ends = retry.earlier_ends(self.folder, self.spec) if retried and self.spec else ()
            self._earlier_records = list(ends)
        return self._earlier_records

    def elapsed(self, now: float) -> float:
        """Seconds that it has been running; 0 where it does not."""
        status = self.status
        if status is None or status.state != "running" or status.started is None:
            return 0.0
        return max(now - status.started, 0.0)

    def speed(self) -> float | None:
        """Tokens per second of its latest steps, all ranks together; None where they have none."""
        speeds = [s.tokens_per_s for s in list(self.steps)[-MEDIAN_STEPS:] if s.tokens_per_s]
        return median(speeds) if speeds else None

    def running(self, label: str, now: float) -> Running:
        """Return the figures to show; it must be running."""
        assert self.spec and self.status
        last, status = self.steps[-1] if self.steps else None, self.status
        since = self._metrics.written if last else status.started
        silent = None if since is None else max(now - since, 0.0)
        limit = None if status.time_limit is None else status.time_limit - self.elapsed(now)
        return Running(
            label=label,
            attempt=status.attempt,
            place=" ".join(filter(None, [self.job, _describe_nodes(status.nodes)])),
            step=last.step if last else None,
            last=self.spec.last,
            losses=tuple(step.loss for step in self.steps),
            speeds=tuple(step.tokens_per_s for step in self.steps),
            memory_gib=max((s.memory_gib for s in self.steps if s.memory_gib), default=None),
            silent=silent,
            stuck=self._stuck(silent),
            limit=limit if limit is None or limit > 0 else 0.0,
            events=self._describe_events(),
        )

    def _stuck(self, silent: float | None) -> bool:
        step_times = [step.seconds for step in list(self.steps)[-MEDIAN_STEPS:] if step.seconds]
        if silent is None or not step_times:
            return False
        return silent > max(STUCK_STEPS * median(step_times), STUCK_SECONDS)

    def _describe_events(self) -> str:
        """Count the spikes and other events, in words."""
        kinds = Counter(kind for kind, *_ in self._event_keys)
        counts = {"spike": sum(kinds[kind] for kind in SPIKES)}
        counts |= {name: kinds[kind] for kind, name in EVENT_NAMES.items()}
        return ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n)

    def newest_checkpoint(self) -> tuple[int, float | None] | None:
        """Step of the newest one, and the time it was written; None without one."""
        steps = self.folder.checkpoint_steps()
        if not steps:
            return None
        checkpoint = signature(self.folder.checkpoint(steps[-1]))
        return steps[-1], checkpoint[1] / 1e9 if checkpoint else None


def _step(line: dict[str, Any]) -> Step | None:
    number, ms = line.get("step"), _number(line.get("step_ms"))
    if not isinstance(number, int):
        return None
    return Step(
        step=number,
        loss=metrics.number(line.get("loss")),
        tokens_per_s=_number(line.get("tokens_per_s")),
        seconds=None if ms is None else ms / 1000,
        memory_gib=_number(line.get("mem_max_gib")),
    )


def _event_key(line: dict[str, Any]) -> tuple[str, str, int]:
    """Kind, series and step of an event."""
    step = line.get("step")
    return str(line.get("kind")), str(line.get("of")), step if isinstance(step, int) else 0


def _number(value: Any) -> float | None:
    """Return a value that can be drawn; None for any other."""
    drawable = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if drawable else None


def _describe_nodes(nodes: tuple[str, ...]) -> str:
    """Name the first node, and count the others."""
    more = f" +{len(nodes) - 1}" if len(nodes) > 1 else ""
    return f"{nodes[0]}{more}" if nodes else ""
