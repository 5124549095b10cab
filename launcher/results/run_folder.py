"""A run's folder: the one place where its truth is kept. Files appear whole or not at all.

spec.json      the RunSpec; written before anything starts
status.json    Status; written by the scheduler
exits/A/N      exit code of rank N of attempt A, on a batch system
metrics.jsonl  one line per optimizer step; written by rank 0
events.jsonl   what happened in between: spikes, rollbacks, saves, resumes; never set aside
result.json    written by rank 0 when the last step is done; its presence means success
log/rank*.txt  what each rank printed
link.json      what the all-reduce between the ranks did, where one was asked for; by rank 0
heartbeat/N    Beat of rank N, rewritten every few seconds while it lives
tracking.json  how it is shown in W&B and TensorBoard; written with the spec
wandb/         what W&B keeps of it here; tensorboard/, the event files; written by the tracker
checkpoints/   what a later attempt continues from; not of one attempt, so never set aside
samples/       what was generated from them; see `launcher.results.samples`
attempts/N/    the files of attempt N, once there is a later one
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError, WorkError
from launcher.files import append, read_json, read_jsonl, write_json
from launcher.spec.run import RunSpec, decode_spec

T = TypeVar("T")

Stopped = Literal["timeout", "cancelled", "preempted", "node", "oom", "disk", "hang", "failed"]
"""Each is an Outcome of its own name; see `launcher.results.record`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where a run stands, as its scheduler knows it. Times are seconds since the epoch."""

    state: Literal["queued", "running", "ended"]
    attempt: int = 1
    """1 for the first start of this spec."""
    submission: str | None = None
    """The one submission that may run it, where a batch system does; of any other job that still
    turns up for this folder, nothing may start."""
    job_id: str | None = None
    """The scheduler's own name for it; None on this machine."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes it runs on, in the order of the ranks; a batch system's only."""
    bad_nodes: tuple[str, ...] = ()
    """Those of them that a check before the start found unfit."""
    host: str | None = None
    pids: tuple[int, ...] = ()
    """One process per rank, on ``host``; the local scheduler only."""
    started: float | None = None
    ended: float | None = None
    exit_codes: tuple[int | None, ...] = ()
    """One per rank, negative for a signal; None where the scheduler itself ended the rank."""
    time_limit: float | None = None
    """Seconds it was allowed."""
    stopped: Stopped | None = None
    """Why the scheduler ended it, where it did."""
    reason: str | None = None
    """What there is to say about that, in one line."""
    kernel_oom: bool = False
    """The kernel's memory killer was at work on the host while this ran."""
    commit: str | None = None
    """Commit of this project that ran it."""
    code: str | None = None
    """Digest of the copy of the code that ran it; None where it was the checkout itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """A rank's sign of life."""

    attempt: int
    step: int
    """The last finished one."""
    host: str
    pid: int
    time: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths below one run's folder, and the only code that reads and writes them."""

    path: Path

    @property
    def metrics(self) -> Path:
        """One JSON line per optimizer step."""
        return self.path / "metrics.jsonl"

    @property
    def event_log(self) -> Path:
        """One JSON line for each thing that happened in any attempt: its kind, its step."""
        return self.path / "events.jsonl"

    def add_event(self, kind: str, step: int, **figures: Any) -> None:
        """Append an event; the caller is the only one that writes. Raises OSError."""
        line = {"kind": kind, "step": step, "time": time.time()} | figures
        append(self.event_log, f"{json.dumps(line, allow_nan=False)}\n")

    @property
    def logs(self) -> Path:
        """The folder of what each rank printed."""
        return self.path / "log"

    def log(self, rank: int) -> Path:
        """What one rank printed."""
        return self.logs / f"rank{rank}.txt"

    def exit_code(self, attempt: int, rank: int) -> Path:
        """The file of how one rank of an attempt ended, on a batch system."""
        return self.path / "exits" / str(attempt) / str(rank)

    def exit_codes(self, attempt: int, ranks: int) -> tuple[int | None, ...]:
        """How the ranks of an attempt ended; None for one that did not, or was ended."""
        out: list[int | None] = []
        for rank in range(ranks):
            try:
                out.append(read_json(self.exit_code(attempt, rank)))
            except ReadError:
                out.append(None)
        return tuple(out)

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's checkpoints, of all attempts."""
        return self.path / "checkpoints"

    def newest_checkpoint(self) -> str | None:
        """The name of the last one that is complete, as far as its name says; None without one."""
        steps = self.checkpoint_steps()
        return self.checkpoint(steps[-1]).name if steps else None

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.checkpoints / f"step-{step:08d}"

    def checkpoint_steps(self) -> list[int]:
        """Of those that are complete, as far as their names say, the first one first."""
        steps = (step_of(path.name) for path in self.checkpoints.glob("step-*"))
        return sorted(step for step in steps if step is not None)

    def heartbeat(self, rank: int) -> Path:
        """The file of one rank's signs of life."""
        return self.path / "heartbeat" / str(rank)

    def beats(self) -> dict[int, Beat]:
        """The last sign of life of each rank that gave one and is readable."""
        out = {}
        for path in self.path.glob("heartbeat/*"):
            with suppress(ReadError, ValueError):
                out[int(path.name)] = _decoded(Beat, path)
        return out

    def create(self, spec: RunSpec) -> None:
        """Make the folder and write what it is for. Raises WorkError where that cannot be."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{self.logs}: {error.strerror}") from error
        path, status = self.path / "spec.json", self.readable_status()
        if path.exists():
            with suppress(ReadError):
                if self.spec() == spec:
                    return
            if status and status.started:  # a stage that goes on at another layout
                aside = self.path / "attempts" / str(status.attempt)
                aside.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, aside / path.name)
        write_json(path, encode(spec))

    def spec(self) -> RunSpec:
        """The spec this folder is for. Raises ReadError."""
        return _read(decode_spec, self.path / "spec.json")

    def status(self) -> Status | None:
        """What the scheduler last wrote; None before it did. Raises ReadError."""
        path = self.path / "status.json"
        return _decoded(Status, path) if path.exists() else None

    def write_status(self, status: Status) -> None:
        """Replace the status."""
        write_json(self.path / "status.json", encode(status))

    def result(self) -> dict[str, Any] | None:
        """What rank 0 wrote at the end; None unless every step was done. Raises ReadError."""
        path = self.path / "result.json"
        result = read_json(path) if path.exists() else None
        if not isinstance(result, dict | None):
            raise ReadError(f"{path}: is no mapping")
        return result

    def write_result(self, result: dict[str, Any]) -> None:
        """Mark the run as done."""
        write_json(self.path / "result.json", result)

    def steps(self) -> list[dict[str, Any]]:
        """The metrics, one dict per whole line; a line cut short by a kill is left out."""
        return list(read_jsonl(self.metrics))

    def events(self) -> list[dict[str, Any]]:
        """What happened so far; as `steps`. Raises ReadError."""
        events = list(read_jsonl(self.event_log))
        for number, event in enumerate(events, 1):
            if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
                raise ReadError(f"{self.event_log}:{number}: is no event")
            if type(event.get("step")) is not int:
                raise ReadError(f"{self.event_log}:{number}: {event['kind']} at no step")
        return events

    def next_attempt(self) -> int:
        """Set the files of the attempt before aside, and return the number of the next one.

        The status goes first: a kill in between leaves files that the next call moves after it.
        """
        status = self.readable_status()  # one damaged from outside goes aside like the rest
        if status and status.state == "queued" and not (status.started or status.stopped):
            (self.path / "status.json").unlink()  # it never began: no batch system has it
            return status.attempt
        last = status.attempt if status else self._last_attempt()
        aside = self.path / "attempts" / str(last)
        for name in ("status.json", "result.json", "metrics.jsonl", "log"):
            if (self.path / name).exists() and not _is_empty(self.path / name):
                aside.mkdir(parents=True, exist_ok=True)
                _make_room(aside / name)
                os.replace(self.path / name, aside / name)
        self.logs.mkdir(exist_ok=True)
        return 1 + self._last_attempt()

    def readable_status(self) -> Status | None:
        """`status`, and None where it cannot be read."""
        try:
            return self.status()
        except ReadError:
            return None

    def attempts(self) -> list[Path]:
        """The folders of the attempts set aside, the last one first."""
        return sorted(self.path.glob("attempts/*"), key=lambda path: -int(path.name))

    def _last_attempt(self) -> int:
        return max((int(path.name) for path in self.attempts()), default=0)


def step_of(name: str) -> int | None:
    """The step of a checkpoint's name; None where it is none."""
    found = re.fullmatch(r"step-(\d{8,})", name)
    return int(found[1]) if found else None


def _make_room(path: Path) -> None:
    """What a superseded attempt wrote where its own files are by now."""
    if path.is_dir():
        shutil.rmtree(path)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _decoded(kind: type[T], path: Path) -> T:
    return _read(lambda data: decode(kind, data), path)


def _read(make: Callable[[Any], T], path: Path) -> T:
    try:
        return make(read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error
