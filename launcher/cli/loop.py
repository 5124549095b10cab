"""The sweep's loop: reject, propose, run, record, propose again.

The folders of the trials are the truth. ``records.jsonl`` beside them holds what no folder
does (the rejected points, the order of the rows) and is made again by the same command.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

from launcher import record, tracking
from launcher.action import NEXT_ACTION
from launcher.backends import BACKENDS
from launcher.backends.trained_here import Conduct
from launcher.cli import history, preflight
from launcher.cli.interrupt import deferred
from launcher.cli.labels import labels, remarks
from launcher.cli.request import Request
from launcher.cli.watch import Watch
from launcher.errors import LayoutError, ReadError, WorkError
from launcher.folder import RunFolder, Status, write_json
from launcher.planner import PLANNERS
from launcher.record import Planned, RunRecord
from launcher.schedulers import Job, Scheduler
from launcher.spec import RunSpec
from sweeps import STRATEGIES, expand

POLL = 0.1
"""Seconds between two looks at what runs."""

RANK_BYTES = 400 * 2**20
"""Resident memory of a rank before it holds a model: Python, torch and megatron-core."""

OFFER = 30.0
"""Seconds after which a scheduler is offered again what it had no room for."""


class Loop:
    """One sweep on its way. `run` may be left at any moment and made again from the folders."""

    def __init__(self, request: Request, watch: Watch | None = None) -> None:
        """Raises ConfigError on points that name what there is not."""
        self.request = request
        self.watch = watch or Watch()
        self.folder = request.root / (request.name or request.points.name)
        points = preflight.settled(expand(request.points, request.spec))
        self.points = {spec.id: spec for spec in points}
        self.rows = {spec_id: row for row, spec_id in enumerate(self.points, 1)}
        refusal = preflight.refusals(request)
        self.refused = {i: why for i, spec in self.points.items() if (why := refusal(spec))}
        self.remarks = remarks(list(self.points.values()))
        self.labels = labels(list(self.points.values()))
        self.candidates = [spec for i, spec in self.points.items() if i not in self.refused]
        self.records: dict[str, RunRecord] = {}
        self.running: dict[str, RunSpec] = {}
        self.adopted: set[str] = set()
        """Those of them that an earlier launcher submitted."""
        self.avoid: dict[str, set[str]] = {}
        """For the id of a spec the nodes that earlier attempts of it point at."""
        self.held_back = 0
        """Trials that the scheduler had no room for when they were offered."""
        self.offered = 0.0
        self.stop_reason: str | None = None

    def plan(self) -> list[Planned]:
        """Every point before anything runs."""
        predict = PLANNERS[self.request.planner]
        return [
            Planned(
                row=self.rows[spec_id],
                spec=spec,
                reason=self.refused.get(spec_id),
                remark=self.remarks.get(spec_id),
                prediction=predict(spec, []),
            )
            for spec_id, spec in self.points.items()
        ]

    def ready(self) -> Scheduler:
        """The scheduler, once it is known that it can run this.

        Raises:
            RequestError: see `preflight`; or one run (not a sweep) is impossible.
        """
        self._refuse_alone()
        if self.request.cache:
            preflight.make_cache(self.request)
        return preflight.scheduler(self.request, self.candidates)

    def to_submit(self) -> Iterator[Job]:
        """The jobs of what `run` would submit; nothing is written.

        Raises:
            LayoutError: one run (not a sweep) is impossible.
        """
        self._refuse_alone()
        for spec in self.candidates:
            folder = RunFolder(self.folder / spec.id)
            status = folder.readable_status()
            if status is None or (status.state == "ended" and self._runs_again(spec, status)):
                yield self._job(spec)

    def run(self, scheduler: Scheduler) -> list[RunRecord]:
        """Run what is left of the sweep; the records of all its points, in their order.

        Raises:
            ConfigError: a folder cannot be written, or another launcher is at work in it.
            KeyboardInterrupt: somebody asked for it; what ran on this machine has been ended.
            WorkError: a folder cannot be written; what a batch system held has been taken back.
        """
        with preflight.lock(self.folder), deferred() as interrupt, scheduler:
            preflight.make_cache(self.request)
            try:
                self._sort_out(scheduler)
                self.watch.start(self)
                self._submit(scheduler)
                while self.running and not self.request.detach:
                    late = self.held_back and time.monotonic() - self.offered > OFFER
                    if (ended := scheduler.poll()) or late:
                        self._all_ended(ended, scheduler)
                    self.watch.tick(self)
                    interrupt.check()
                    time.sleep(POLL)
            except WorkError:
                scheduler.cancel(self._waiting())
                raise
        return self.finished()

    def _all_ended(self, jobs: list[Job], scheduler: Scheduler) -> None:
        unfit = history.unfit(self.avoid)
        for job in jobs:
            self._ended(job)
        if history.unfit(self.avoid) > unfit:
            scheduler.avoid(sorted(history.unfit(self.avoid)))
        self._submit(scheduler)
        if self.stop_reason:
            scheduler.cancel(self._waiting())

    def finished(self) -> list[RunRecord]:
        """The records so far, in the order of the points."""
        return [self.records[spec_id] for spec_id in self.points if spec_id in self.records]

    def _refuse_alone(self) -> None:
        if len(self.points) == 1:
            for reason in self.refused.values():
                raise LayoutError(reason)

    def _sort_out(self, scheduler: Scheduler) -> None:
        """Record what is rejected and what is done already, and take over what still runs."""
        for spec_id, reason in self.refused.items():
            spec = self.points[spec_id]
            self._keep(RunRecord(spec=spec, outcome="rejected", cause=reason))
        for spec in self.candidates:
            if (known := self._known(spec, scheduler)) is not None:
                self._keep(known)
        self._write()

    def _known(self, spec: RunSpec, scheduler: Scheduler) -> RunRecord | None:
        """The record of an earlier start; None where the spec is to run, or runs already."""
        folder = RunFolder(self.folder / spec.id)
        try:
            status = folder.status()
        except ReadError:
            return None
        if status is None or (status.state == "ended" and self._has_more_time(status)):
            return None
        if status.state != "ended":  # its launcher died, or left it to a batch system
            if scheduler.adopt(self._job(spec)):
                self.running[spec.id] = spec
                self.adopted.add(spec.id)
                return None
            if folder.result() is None:
                return None
            done = (folder.path / "result.json").stat().st_mtime
            folder.write_status(replace(status, state="ended", ended=done))
        found = BACKENDS[spec.backend].record(spec, folder.path)
        return None if self._again(found, continued=True) else found

    def _runs_again(self, spec: RunSpec, status: Status) -> bool:
        """Whether the same command runs a trial once more that has ended."""
        found = BACKENDS[spec.backend].record(spec, self.folder / spec.id)
        return self._has_more_time(status) or self._again(found, continued=True)

    def _has_more_time(self, status: Status) -> bool:
        """Whether a trial that ran out of time is given more of it now."""
        limit = status.time_limit
        return status.stopped == "timeout" and limit is not None and self.request.time_limit > limit

    def _again(self, found: RunRecord, continued: bool = False) -> bool:
        """Whether a record is to be replaced by another attempt; ``continued`` by a new command."""
        request, action = self.request, NEXT_ACTION[found.outcome]
        if continued and (action == "stop" or found.outcome in ("cancelled", *request.retry)):
            return True
        continues = request.checkpoint_every is not None
        if found.outcome == "timeout" and continues:
            action = "requeue"
        if action not in ("requeue", "elsewhere") or found.outcome == "cancelled":
            return False
        before = self._before(found)
        self.avoid[found.spec.id] = history.blamed([found, *before])
        if found.outcome in history.INNOCENT:
            return True
        most = request.max_hangs if found.outcome == "hang" else request.max_attempts
        return history.failures(found, before, continues) < most

    def _submit(self, scheduler: Scheduler) -> None:
        """Ask the strategy what to run next, and submit what there is room for."""
        if self.stop_reason:
            self.held_back = 0
            return
        propose = STRATEGIES[self.request.points.strategy]
        proposed = propose(self.request.points, self.candidates, list(self.records.values()))
        wanted = [spec for spec in proposed if spec.id not in self.running]
        taken = scheduler.submit(self._jobs(wanted))
        self.running.update((name, self.points[name]) for name in taken)
        self.held_back, self.offered = len(wanted) - len(taken), time.monotonic()

    def _jobs(self, specs: list[RunSpec]) -> Iterator[Job]:
        """The jobs of specs, each with its folder, made as it is asked for."""
        for spec in specs:
            folder = RunFolder(self.folder / spec.id)
            folder.create(spec)
            tracking.write(folder, self.request.tracking, spec, self.labels[spec.id])
            yield self._job(spec)

    def _job(self, spec: RunSpec) -> Job:
        request, cluster, folder = self.request, spec.cluster, self.folder / spec.id
        backend = BACKENDS[spec.backend]
        conduct = Conduct(
            cache=preflight.cache_folder(request),
            hang_after=request.hang_after,
            checkpoint_every=request.checkpoint_every,
            python=preflight.interpreter(request),
        )
        return Job(
            name=spec.id,
            command=backend.command(folder, conduct),
            folder=folder,
            nodes=cluster.nodes,
            ranks_per_node=cluster.gpus_per_node,
            time_limit=request.time_limit,
            memory=cluster.gpus * RANK_BYTES + 16 * spec.model.params,
            cards_per_node=0 if cluster.accelerator.name == "cpu" else cluster.gpus_per_node,
            checkpoint_bytes=backend.checkpoint_bytes(spec) if request.checkpoint_every else 0,
            avoid=tuple(sorted(history.unfit(self.avoid) | self._avoided(spec))),
            commit=preflight.commit(),
        )

    def _before(self, found: RunRecord) -> list[RunRecord]:
        return list(history.earlier(RunFolder(self.folder / found.spec.id), found))

    def _avoided(self, spec: RunSpec) -> set[str]:
        """Nodes that earlier attempts of a trial point at, this launcher's or another's."""
        folder = RunFolder(self.folder / spec.id)
        status = folder.readable_status()
        if spec.id not in self.avoid and (status or folder.attempts()):
            last = BACKENDS[spec.backend].record(spec, folder.path)
            ends = [last] if status and status.state == "ended" else []
            self.avoid[spec.id] = history.blamed([*ends, *self._before(last)])
        return self.avoid.get(spec.id, set())

    def _waiting(self) -> list[str]:
        """Trials that a batch system holds and has not started."""
        statuses = {i: RunFolder(self.folder / i).readable_status() for i in self.running}
        return [i for i, status in statuses.items() if status and status.state == "queued"]

    def _ended(self, job: Job) -> None:
        spec = self.running.pop(job.name)
        found = BACKENDS[spec.backend].record(spec, job.folder)
        before = spec.id in self.adopted  # what stopped it may have been mended since
        self.adopted.discard(spec.id)
        stopped_before = before and NEXT_ACTION[found.outcome] == "stop"
        if not self.stop_reason and (stopped_before or self._again(found)):
            self.watch.ended(self, found, again=True)
            return
        if self.stop_reason and found.outcome == "cancelled" and found.seconds is None:
            return  # taken back from the queue: it has not been tried
        self._keep(found)
        record.append(self.folder / "records.jsonl", self.records[spec.id])
        if NEXT_ACTION[found.outcome] == "stop":
            self.stop_reason = f"{found.outcome}: {found.cause}"
        self.watch.ended(self, found, again=False)

    def _keep(self, found: RunRecord) -> None:
        predicted = PLANNERS[self.request.planner](found.spec, list(self.records.values()))
        spec_id = found.spec.id
        row, remark = self.rows[spec_id], self.remarks.get(spec_id)
        self.records[spec_id] = replace(found, row=row, remark=remark, prediction=predicted)

    def _write(self) -> None:
        """Replace records.jsonl; records of points that are not of this request are kept."""
        path = self.folder / "records.jsonl"
        try:
            earlier = [r for r in record.read(path) if r.spec.id not in self.rows]
        except ReadError:
            earlier = []  # the folders still have what ran; only rejected points are forgotten
        others = [replace(found, row=None) for found in earlier]  # rows of another grid
        record.write(path, [*self.finished(), *others])
        write_json(self.folder / "points.json", list(self.points))
