"""Folder of a run: the one place where its truth is kept. Files appear whole or not at all.

spec.json      the RunSpec; written before anything starts
imported.json  `launcher.results.imported.Imported`, in place of it, of a run of another program
prediction.json  what the planner expected of it; written with the spec
status.json    Status; written by the scheduler
exits/A/N      exit code of rank N of attempt A, on a batch system
metrics.jsonl  one line per optimizer step; written by rank 0
events.jsonl   what happened in between: spikes, rollbacks, saves, resumes; never set aside
guard.json     state of the spike guard; written by rank 0
rolled_back/   lines of metrics.jsonl that a rollback gave up
result.json    written by rank 0 when the last step is done; its presence means success
log/rank*.txt  what each rank printed
log/collectives*.json, log/trace*.json  collectives that a rank which hung had come to
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

SPEC, IMPORTED = "spec.json", "imported.json"
STATUS, RESULT = "status.json", "result.json"
METRICS, EVENTS = "metrics.jsonl", "events.jsonl"
PREDICTION, TRACKING = "prediction.json", "tracking.json"
LINK, GUARD = "link.json", "guard.json"

SPECS = (SPEC, IMPORTED)
"""A run's folder has one of them."""

TRACES = (STATUS, METRICS, RESULT)
"""Files that show a folder to be a run's where neither of `SPECS` is there."""

RECORDED = (*SPECS, STATUS, RESULT, METRICS, EVENTS, PREDICTION)
"""Files that decide the record of a run: while none of them changes, it is the same."""

LOG = "log"

OF_ATTEMPT = (STATUS, RESULT, METRICS, LOG)
"""Files and folders that belong to one attempt, and are set aside before the next."""

Stopped = Literal["timeout", "cancelled", "preempted", "node", "oom", "disk", "hang", "failed"]
"""Outcomes that a scheduler itself decides; see `launcher.results.outcomes`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """State of a run, as its scheduler knows it. Times are seconds since the epoch."""

    state: Literal["queued", "running", "ended"]
    attempt: int = 1
    """Number of the start of this spec, from 1."""
    submission: str | None = None
    """Token of the one submission that may run it, where a batch system does; any other job that
    still turns up for this folder starts nothing."""
    job_id: str | None = None
    """Name of the job in the batch system; None on this machine."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes it runs on, in the order of the ranks; a batch system's only."""
    bad_nodes: tuple[str, ...] = ()
    """Nodes among them that a check before the start found unfit."""
    host: str | None = None
    pids: tuple[int, ...] = ()
    """Processes of the ranks, on ``host``; the local scheduler only."""
    started: float | None = None
    ended: float | None = None
    exit_codes: tuple[int | None, ...] = ()
    """Exit codes of the ranks, negative for a signal; None where the scheduler ended the rank."""
    time_limit: float | None = None
    """Seconds that it may take."""
    stopped: Stopped | None = None
    """Outcome, where the scheduler itself ended the run."""
    reason: str | None = None
    """Cause of that in one line; of a run that waits, the reason."""
    kernel_oom: bool = False
    """True where the kernel's memory killer was at work on the host while this ran."""
    commit: str | None = None
    """Commit of this project that ran it."""
    code: str | None = None
    """Digest of the copy of the code that ran it; None where it was the checkout itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """Sign of life of a rank."""

    attempt: int
    step: int
    """Last finished step."""
    host: str
    pid: int
    time: float
    """Time of this, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths below one run's folder, and the only code that names its files."""

    path: Path

    # Files, and folders of files.

    @property
    def spec_file(self) -> Path:
        """RunSpec of the run; there is none where another program trained it."""
        return self.path / SPEC

    @property
    def imported_file(self) -> Path:
        """Facts of a run that another program trained; see `launcher.results.imported`."""
        return self.path / IMPORTED

    @property
    def status_file(self) -> Path:
        """`Status` of the run."""
        return self.path / STATUS

    @property
    def result_file(self) -> Path:
        """Summary of a run whose every step was done."""
        return self.path / RESULT

    @property
    def metrics(self) -> Path:
        """File of one JSON line per optimizer step."""
        return self.path / METRICS

    @property
    def event_log(self) -> Path:
        """File of one JSON line for each event of any attempt: its kind, its step."""
        return self.path / EVENTS

    @property
    def prediction_file(self) -> Path:
        """Expectation of the planner; see `launcher.results.record`."""
        return self.path / PREDICTION

    @property
    def tracking_file(self) -> Path:
        """Settings of W&B and TensorBoard; see `launcher.results.tracking`."""
        return self.path / TRACKING

    @property
    def link_file(self) -> Path:
        """Figures of the all-reduce before training."""
        return self.path / LINK

    @property
    def guard_file(self) -> Path:
        """State of the spike guard."""
        return self.path / GUARD

    @property
    def rolled_back(self) -> Path:
        """Folder of the lines of metrics that rollbacks gave up."""
        return self.path / "rolled_back"

    @property
    def wandb(self) -> Path:
        """Folder of W&B's own files."""
        return self.path / "wandb"

    @property
    def wandb_lock(self) -> Path:
        """Lock that the tracker holds while it writes to `wandb`."""
        return self.wandb / ".lock"

    @property
    def wandb_temporary(self) -> Path:
        """Folder of what W&B leaves behind, for the tracker to remove."""
        return self.wandb / ".tmp"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def logs(self) -> Path:
        """Folder of the output of the ranks."""
        return self.path / LOG

    def log(self, rank: int) -> Path:
        """Output of one rank."""
        return self.logs / f"rank{rank}.txt"

    def collectives(self, rank: int) -> Path:
        """Collectives that a rank which hung had come to, by process group."""
        return self.logs / f"collectives{rank}.json"

    def trace(self, rank: int) -> Path:
        """Dump of torch's flight recorder, of a rank which hung."""
        return self.logs / f"trace{rank}.json"

    def rank_logs(self) -> list[Path]:
        """Output of all ranks that printed anything, by name."""
        return sorted(self.logs.glob("rank*.txt"))

    @property
    def srun_log(self) -> Path:
        """Output of srun itself."""
        return self.logs / "srun.txt"

    def heartbeat(self, rank: int) -> Path:
        """File of one rank's signs of life."""
        return self.path / "heartbeat" / str(rank)

    def exit_code(self, attempt: int, rank: int) -> Path:
        """File of one rank's exit code in an attempt, on a batch system."""
        return self.path / "exits" / str(attempt) / str(rank)

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints, of all attempts."""
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """Folder that the checkpoint of a step has, or would have."""
        return self.checkpoints / f"step-{step:08d}"

    @property
    def samples(self) -> Path:
        """Folder of the texts generated from checkpoints, of all attempts."""
        return self.path / "samples"

    def sample_file(self, step: int) -> Path:
        """Texts from the checkpoint of a step; named as the checkpoint is."""
        return self.samples / f"{self.checkpoint(step).name}.json"

    def sample_files(self) -> list[Path]:
        """Texts from all checkpoints, the first step first."""
        return sorted(self.samples.glob("step-*.json"))

    # The spec.

    @property
    def has_spec(self) -> bool:
        """True where this project started the run, or is about to."""
        return os.path.exists(self.spec_file)  # False also where the folder may not be looked into

    @property
    def is_imported(self) -> bool:
        """True where another program trained the run."""
        return os.path.exists(self.imported_file)

    def create(self, spec: RunSpec) -> None:
        """Make the folder and write its spec. Raises WorkError where that cannot be."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{self.logs}: {error.strerror}") from error
        status = self.readable_status()
        if self.has_spec:
            with suppress(ReadError):
                if self.spec() == spec:
                    return
            if status and status.started:  # a stage that goes on at another layout
                aside = self.attempt(status.attempt).path
                aside.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.spec_file, aside / SPEC)
        write_json(self.spec_file, encode(spec))

    def spec(self) -> RunSpec:
        """Read the spec. Raises ReadError."""
        return _read(decode_spec, self.spec_file)

    # The status.

    def status(self) -> Status | None:
        """Read the status; None before the scheduler's first. Raises ReadError."""
        return _decode_file(Status, self.status_file) if self.status_file.exists() else None

    def readable_status(self) -> Status | None:
        """Read the status; None also where it cannot be read."""
        try:
            return self.status()
        except ReadError:
            return None

    def write_status(self, status: Status) -> None:
        """Replace the status."""
        write_json(self.status_file, encode(status))

    def withdraw_status(self) -> None:
        """Take back the status of an attempt that has not been submitted after all."""
        self.status_file.unlink()

    # The result.

    @property
    def is_done(self) -> bool:
        """True where rank 0 has written the result: every step was done."""
        return self.result_file.exists()

    def result(self) -> dict[str, Any] | None:
        """Read the summary of rank 0; None unless every step was done. Raises ReadError."""
        result = read_json(self.result_file) if self.is_done else None
        if not isinstance(result, dict | None):
            raise ReadError(f"{self.result_file}: is no mapping")
        return result

    def result_time(self) -> float:
        """Time at which the result was written, in seconds since 1970. Raises OSError."""
        return self.result_file.stat().st_mtime

    def write_result(self, result: dict[str, Any]) -> None:
        """Mark the run as done."""
        write_json(self.result_file, result)

    def withdraw_result(self) -> None:
        """Take back the result of an attempt that was given up."""
        self.result_file.unlink(missing_ok=True)

    # Metrics and events.

    def steps(self) -> list[dict[str, Any]]:
        """Read the metrics, one dict per whole line; one cut short by a kill is left out.

        Raises:
            ReadError: a line is damaged.
        """
        lines = list(read_jsonl(self.metrics))
        for number, line in enumerate(lines, 1):
            if not isinstance(line, dict):
                raise ReadError(f"{self.metrics}:{number}: is no step")
        return lines

    def events(self) -> list[dict[str, Any]]:
        """Read the events of all attempts, one dict per whole line. Raises ReadError."""
        events = list(read_jsonl(self.event_log))
        for number, event in enumerate(events, 1):
            if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
                raise ReadError(f"{self.event_log}:{number}: is no event")
            if type(event.get("step")) is not int:
                raise ReadError(f"{self.event_log}:{number}: {event['kind']} at no step")
        return events

    def add_event(self, kind: str, step: int, **figures: Any) -> None:
        """Append an event; the caller is the only one that writes. Raises OSError."""
        line = {"kind": kind, "step": step, "time": time.time()} | figures
        append(self.event_log, f"{json.dumps(line, allow_nan=False)}\n")

    # Ranks.

    def beats(self) -> dict[int, Beat]:
        """Read the last sign of life of each rank that gave one and is readable."""
        beats = {}
        for path in self.path.glob("heartbeat/*"):
            with suppress(ReadError, ValueError):
                beats[int(path.name)] = _decode_file(Beat, path)
        return beats

    def exit_codes(self, attempt: int, ranks: int) -> tuple[int | None, ...]:
        """Read the exit codes of an attempt's ranks; None for one that has none, or was ended."""
        codes: list[int | None] = []
        for rank in range(ranks):
            try:
                codes.append(read_json(self.exit_code(attempt, rank)))
            except ReadError:
                codes.append(None)
        return tuple(codes)

    # Checkpoints.

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints that are complete, as far as their names say, in order."""
        steps = (step_of(path.name) for path in self.checkpoints.glob("step-*"))
        return sorted(step for step in steps if step is not None)

    def newest_checkpoint(self) -> str | None:
        """Name of the last complete checkpoint, as far as its name says; None without one."""
        steps = self.checkpoint_steps()
        return self.checkpoint(steps[-1]).name if steps else None

    # Attempts.

    def attempt(self, number: int) -> "RunFolder":
        """Folder of the files of an attempt that was set aside."""
        return RunFolder(self.path / "attempts" / str(number))

    def attempts(self) -> list["RunFolder"]:
        """Folders of the attempts that were set aside, the last one first."""
        numbers = sorted((int(path.name) for path in self.path.glob("attempts/*")), reverse=True)
        return [self.attempt(number) for number in numbers]

    def next_attempt(self) -> int:
        """Set the files of the attempt before aside, and return the number of the next one.

        The status goes first: a kill in between leaves files that the next call moves after it.
        """
        status = self.readable_status()  # one damaged from outside goes aside like the rest
        if status and status.state == "queued" and not (status.started or status.stopped):
            self.withdraw_status()  # it never began: no batch system has it
            return status.attempt
        aside = self.attempt(status.attempt if status else self._last_attempt()).path
        for name in OF_ATTEMPT:
            if (self.path / name).exists() and not _is_empty(self.path / name):
                aside.mkdir(parents=True, exist_ok=True)
                _remove_folder(aside / name)
                os.replace(self.path / name, aside / name)
        self.logs.mkdir(exist_ok=True)
        return 1 + self._last_attempt()

    def _last_attempt(self) -> int:
        return max((int(attempt.path.name) for attempt in self.attempts()), default=0)


def step_of(name: str) -> int | None:
    """Parse the step in a checkpoint's name; None where it is no such name."""
    match = re.fullmatch(r"step-(\d{8,})", name)
    return int(match[1]) if match else None


def _remove_folder(path: Path) -> None:
    """Remove a folder of a superseded attempt, in whose place another is to be put."""
    if path.is_dir():
        shutil.rmtree(path)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _decode_file(kind: type[T], path: Path) -> T:
    return _read(lambda data: decode(kind, data), path)


def _read(make: Callable[[Any], T], path: Path) -> T:
    try:
        return make(read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error
