"""The sweep's loop: reject, propose, run, record, propose again.

The folders of the trials are the truth. ``records.jsonl`` beside them holds what no folder
does (the rejected points, the order of the rows) and can be made again by the same command.
"""

import importlib.util
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from launcher import record
from launcher.backends import BACKENDS, check
from launcher.cli.interrupt import deferred
from launcher.cli.request import Request
from launcher.decode import one_of
from launcher.errors import ConfigError, LayoutError, RequestError
from launcher.folder import RunFolder
from launcher.outcome import NEXT_ACTION
from launcher.planner import PLANNERS
from launcher.record import Planned, RunRecord
from launcher.schedulers import Job, Scheduler
from launcher.schedulers.local import Local, end_survivors
from launcher.spec import RunSpec
from sweeps import STRATEGIES, expand

POLL = 0.1
"""Seconds between two looks at what runs."""

RANK_BYTES = 400 * 2**20
"""Resident memory of a rank before it holds a model: Python, torch and megatron-core."""

SCHEDULERS: dict[str, Callable[[Request], Scheduler]] = {
    "local": lambda request: Local(parallel=_parallel_here(request)),
}


class Watch:
    """Told what happens; this one says nothing. See `launcher.cli.progress`."""

    def start(self, loop: "Loop") -> None:
        """Everything is sorted out, nothing has been submitted."""

    def tick(self, loop: "Loop") -> None:
        """Another look at what runs."""

    def ended(self, loop: "Loop", found: RunRecord, again: bool) -> None:
        """A trial ended; ``again`` where it will be started once more."""


class Loop:
    """One sweep on its way. `run` may be left at any moment and made again from the folders."""

    def __init__(self, request: Request, watch: Watch | None = None) -> None:
        self.request = request
        self.watch = watch or Watch()
        self.folder = Path(request.output).resolve() / (request.name or request.points.name)
        self.points = expand(request.points, request.spec)
        self.rows = {spec.id: row for row, spec in enumerate(self.points, 1)}
        self.records: dict[str, RunRecord] = {}
        self.running: dict[str, RunSpec] = {}
        self.stop_reason: str | None = None

    def plan(self) -> list[Planned]:
        """Every point before anything runs."""
        predict = PLANNERS[self.request.planner]
        return [
            Planned(row=row, spec=spec, reason=_refusal(spec), prediction=predict(spec, []))
            for row, spec in enumerate(self.points, 1)
        ]

    def ready(self) -> Scheduler:
        """The scheduler, once it is known that it can run this.

        Raises:
            RequestError: no such scheduler, an engine that is not installed here, or one run
                (not a sweep) that is impossible.
        """
        make = one_of(self.request.scheduler.name, SCHEDULERS, "scheduler.name")
        refused = {spec.id: _refusal(spec) for spec in self.points}
        if len(self.points) == 1 and (reason := refused[self.points[0].id]):
            raise LayoutError(reason)
        for backend in {spec.backend for spec in self.points if not refused[spec.id]}:
            _check_installed(backend)
        return make(self.request)

    def run(self, scheduler: Scheduler) -> list[RunRecord]:
        """Run what is left of the sweep; the records of all its points, in their order.

        Raises:
            ConfigError: the folder cannot be written, or another launcher is at work in it.
            KeyboardInterrupt: somebody asked for it, and what ran has been ended.
        """
        with lock(self.folder), deferred() as interrupt, scheduler:
            candidates = self._sort_out()
            self.watch.start(self)
            while self._submit(scheduler, candidates) or self.running:
                for job in scheduler.poll():
                    self._ended(job)
                self.watch.tick(self)
                interrupt.check()
                time.sleep(POLL)
        return self.finished()

    def finished(self) -> list[RunRecord]:
        """The records so far, in the order of the points."""
        return [self.records[spec.id] for spec in self.points if spec.id in self.records]

    def _sort_out(self) -> list[RunSpec]:
        """Reject, take over what is done, and return the points that can run."""
        candidates = []
        for spec in self.points:
            reason = _refusal(spec)
            if reason is not None:
                self._keep(RunRecord(spec=spec, outcome="rejected", cause=reason))
                continue
            candidates.append(spec)
            if (known := self._known(spec)) is not None:
                self._keep(known)
        self._write()
        return candidates

    def _known(self, spec: RunSpec) -> RunRecord | None:
        """The record of an earlier start; None where the spec is to run, again or at last."""
        folder = RunFolder(self.folder / spec.id)
        status = folder.status()
        if status is None:
            return None
        if status.state != "ended":  # its launcher died
            end_survivors(status, str(folder.path))
            if folder.result() is None:
                return None
            done = (folder.path / "result.json").stat().st_mtime
            folder.write_status(replace(status, state="ended", ended=done))
        found = BACKENDS[spec.backend].record(spec, folder.path)
        return None if self._again(found, continued=True) else found

    def _again(self, found: RunRecord, continued: bool = False) -> bool:
        """Whether a record is to be replaced by another attempt; ``continued`` by a new command."""
        action = NEXT_ACTION[found.outcome]
        if continued and (action == "stop" or found.outcome in ("cancelled", *self.request.retry)):
            return True
        if action not in ("requeue", "elsewhere") or found.outcome == "cancelled":
            return False
        failures = 1 + RunFolder(self.folder / found.spec.id).failures()
        return failures < self.request.max_attempts

    def _submit(self, scheduler: Scheduler, candidates: Sequence[RunSpec]) -> bool:
        """Ask the strategy and submit what there is room for; whether anything was."""
        if self.stop_reason:
            return False
        propose = STRATEGIES[self.request.points.strategy]
        wanted = propose(self.request.points, candidates, list(self.records.values()))
        fresh = [spec for spec in wanted if spec.id not in self.running]
        if self.request.parallel is not None:
            fresh = fresh[: max(self.request.parallel - len(self.running), 0)]
        scheduler.submit([self._job(spec) for spec in fresh])
        self.running.update({spec.id: spec for spec in fresh})
        return bool(fresh)

    def _job(self, spec: RunSpec) -> Job:
        folder = RunFolder(self.folder / spec.id)
        folder.create(spec)
        cache = Path(self.request.cache or Path(self.request.output) / ".cache").resolve()
        backend = BACKENDS[spec.backend]
        return Job(
            name=spec.id,
            command=backend.command(folder.path, cache, self.request.hang_after),
            folder=folder.path,
            nodes=spec.cluster.nodes,
            ranks_per_node=spec.cluster.gpus_per_node,
            attempt=folder.next_attempt(),
            time_limit=self.request.time_limit,
            memory=spec.cluster.gpus * RANK_BYTES + 16 * spec.model.params,
            commit=commit(),
        )

    def _ended(self, job: Job) -> None:
        spec = self.running.pop(job.name)
        found = BACKENDS[spec.backend].record(spec, job.folder)
        if self._again(found):
            self.watch.ended(self, found, again=True)
            return
        self._keep(found)
        record.append(self.folder / "records.jsonl", self.records[spec.id])
        if NEXT_ACTION[found.outcome] == "stop":
            self.stop_reason = f"{found.outcome}: {found.cause}"
        self.watch.ended(self, found, again=False)

    def _keep(self, found: RunRecord) -> None:
        predicted = PLANNERS[self.request.planner](found.spec, list(self.records.values()))
        row = self.rows[found.spec.id]
        self.records[found.spec.id] = replace(found, row=row, prediction=predicted)

    def _write(self) -> None:
        """Replace records.jsonl; records of points that are not of this request are kept."""
        path = self.folder / "records.jsonl"
        others = [r for r in record.read(path) if r.spec.id not in self.rows]
        record.write(path, [*self.finished(), *others])


def lock(folder: Path) -> FileLock:
    """A lock only one launcher at a time can hold on a folder; it is free once that one is gone.

    Raises:
        ConfigError: the folder cannot be written, or another launcher is at work in it.
    """
    held = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"output: another launch is at work in {folder}") from error
    except OSError as error:
        raise ConfigError(f"output: {folder}: {error.strerror}") from error
    return held


@cache
def commit() -> str | None:
    """Commit of this project's checkout, ``-dirty`` where files differ; None outside of one."""
    here = ["git", "-C", str(Path(__file__).parent)]
    try:
        done = subprocess.run([*here, "describe", "--always", "--dirty", "--exclude=*"],
                              capture_output=True, text=True, check=True)  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _refusal(spec: RunSpec) -> str | None:
    try:
        check(spec)
    except RequestError as error:
        return str(error)
    return None


def _check_installed(backend: str) -> None:
    missing = [name for name in BACKENDS[backend].packages if not _found(name)]
    if missing:
        raise RequestError(f"backend: {backend} needs {', '.join(missing)} on this machine:"
                           " pip install 'megalaunch[train]'")  # fmt: skip


def _found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package above it
        return False


def _parallel_here(request: Request) -> int | None:
    """Trials at once on this machine: cards are not shared between trials, cores are."""
    if request.cluster.accelerator.name != "cpu":
        return 1
    return request.parallel
