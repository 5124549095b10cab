"""The sweep's loop: reject, propose, run, record, propose again.

The folders of the trials are the truth. ``records.jsonl`` beside them holds what no folder
does (the rejected points, the order of the rows) and is made again by the same command.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from launcher.campaign import preflight, stage_history
from launcher.campaign.chooser import Chooser
from launcher.campaign.interrupt import deferred
from launcher.campaign.labels import remarks
from launcher.campaign.observer import Watch
from launcher.campaign.trials import Trials
from launcher.data import corpora
from launcher.errors import LayoutError, ReadError, WorkError
from launcher.files import write_json
from launcher.request.request import Request
from launcher.results import record, summary
from launcher.results.outcomes import NEXT_ACTION
from launcher.results.record import Planned, RunRecord
from launcher.results.run_folder import RunFolder
from launcher.schedulers import Job, Scheduler
from launcher.spec import cautions
from launcher.spec.curriculum import stage_specs
from launcher.spec.run import RunSpec
from sweeps import specs, unique

POLL = 0.1
"""Seconds between two looks at what runs."""

OFFER = 30.0
"""Seconds after which a scheduler is offered again what it had no room for."""


class Loop:
    """One sweep on its way. `run` may be left at any moment and made again from the folders."""

    def __init__(
        self, request: Request, watch: Watch | None = None, start: Path | None = None
    ) -> None:
        """``start`` is the folder of a run that one run goes on from.

        Raises:
            ConfigError: points that name what there is not; a finished stage that is another now.
        """
        self.request = request
        self.watch = watch or Watch()
        self.folder = request.root / (request.name or request.points.name)
        points = self._all_points()
        self.points = {spec.name: spec for spec in points}
        self.rows = {spec_id: row for row, spec_id in enumerate(self.points, 1)}
        refusal = preflight.refusals(request)
        self.refused = {i: why for i, spec in self.points.items() if (why := refusal(spec))}
        self.remarks = remarks(list(self.points.values()))
        self.candidates = [spec for i, spec in self.points.items() if i not in self.refused]
        self.chooser = Chooser(request=request, specs=self.candidates)
        self.trials = Trials(request=request, folder=self.folder, points=points, start=start)
        self.records: dict[str, RunRecord] = {}
        self.running: dict[str, RunSpec] = {}
        self.adopted: set[str] = set()
        """Those of them that an earlier launcher submitted."""
        self.given_up: dict[str, str] = {}
        """Candidates that the strategy does not want to run, and why."""
        self.held_back = 0
        """Trials that the scheduler had no room for when they were offered."""
        self.offered = 0.0
        self.stop_reason: str | None = None

    def _all_points(self) -> list[RunSpec]:
        """The points of the sweep, or the stages of the curriculum."""
        (base,) = preflight.settled([self.request.spec])
        if self.request.curriculum:
            stages = stage_specs(self.request.curriculum, base, corpora.resolve)
            return list(stage_history.trained_or_to_train(stages, self.folder))
        return unique(preflight.settled(specs(self.request.points, base)))

    def warnings(self) -> list[str]:
        """Settings that have cost others a long run; of a sweep, whose runs are short, none."""
        if self.request.sweep or not self.points:
            return []
        *_, last = self.points.values()
        total = last.tokens_through(last.last) if last.stage else last.train.tokens
        found: dict[str, str] = {}
        for one in self.points.values():
            where = f"curriculum.stages.{one.stage.name}: " if one.stage else ""
            for line in cautions.warnings(one, total):
                found.setdefault(line, f"{where}{line}")
        sampling = self.request.sampling
        if sampling and sampling.validation_sequences and not last.data.held_out:
            found["held_out"] = (
                "sampling.validation_sequences: there are no validation losses,"
                " data.held_out 0 keeps no text apart"
            )
        return list(found.values())

    def plan(self) -> list[Planned]:
        """Every point before anything runs."""
        _, given_up = self.chooser.ask(self.records, ())
        return [
            Planned(
                row=self.rows[spec_id],
                spec=spec,
                rejected=self.refused.get(spec_id),
                pruned=given_up.get(spec_id),
                remark=self.remarks.get(spec_id),
                prediction=self.chooser.prediction(spec),
                price_per_gpu_hour=self.request.price_per_gpu_hour,
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
        done, running = {}, []
        for spec in self.candidates:
            status = RunFolder(self.folder / spec.name).readable_status()
            if status is not None and status.state != "ended":
                running.append(spec.name)
            elif status is not None and not self.trials.runs_again(spec, status):
                done[spec.name] = recorded(spec, RunFolder(self.folder / spec.name))
        wanted, _ = self.chooser.ask(done, running)
        yield from map(self.trials.job, wanted)

    def run(self, scheduler: Scheduler, keep: Callable[[], None] = lambda: None) -> list[RunRecord]:
        """Run what is left of the sweep; the records of all its points, in their order.

        ``keep`` is called once no other launcher can be at work in the folder.

        Raises:
            ConfigError: a folder cannot be written, or another launcher is at work in it.
            KeyboardInterrupt: somebody asked for it; what ran on this machine has been ended.
            WorkError: a folder cannot be written; what a batch system held has been taken back.
        """
        with preflight.lock(self.folder), deferred() as interrupt, scheduler:
            preflight.make_cache(self.request)
            keep()
            try:
                self._sort_out(scheduler)
                self.trials.announce(self.records.keys() | self.running.keys())
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
            if not self.running and not self.stop_reason:
                self._prune()
        return self.finished()

    def _all_ended(self, jobs: list[Job], scheduler: Scheduler) -> None:
        unfit = self.trials.unfit
        for job in jobs:
            self._ended(job)
        if self.trials.unfit > unfit:
            scheduler.avoid(sorted(self.trials.unfit))
        self._submit(scheduler)
        if self.stop_reason:
            scheduler.cancel(self._waiting())

    def finished(self) -> list[RunRecord]:
        """The records so far, in the order of the points."""
        return [self.records[spec_id] for spec_id in self.points if spec_id in self.records]

    def _refuse_alone(self) -> None:
        if len(self.points) == 1 and not self.request.curriculum:
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
        folder = RunFolder(self.folder / spec.name)
        try:
            status = folder.status()
        except ReadError:
            return None
        if status is None or (status.state == "ended" and self.trials.has_more_time(status)):
            return None
        well = status.exit_codes and not any(status.exit_codes) and not status.stopped
        if well and folder.result() is None:
            return None  # somebody has taken the result away, for it to run again
        if status.state != "ended":  # its launcher died, or left it to a batch system
            if scheduler.adopt(self.trials.job(started_as(spec, folder))):
                self.running[spec.name] = spec
                self.adopted.add(spec.name)
                return None
            if folder.result() is None:
                return None
            done = (folder.path / "result.json").stat().st_mtime
            folder.write_status(replace(status, state="ended", ended=done))
        found = recorded(spec, folder)
        return None if self.trials.again(found, continued=True) else found

    def _submit(self, scheduler: Scheduler) -> None:
        """Ask the strategy what to run next, and submit what there is room for."""
        if self.stop_reason:
            self.held_back = 0
            return
        wanted, self.given_up = self.chooser.ask(self.records, self.running)
        if self.running.keys() & self.given_up.keys():
            scheduler.cancel([i for i in self._waiting() if i in self.given_up])
        taken = scheduler.submit(self.trials.started(wanted, self.chooser.prediction))
        self.running.update((name, self.points[name]) for name in taken)
        self.held_back, self.offered = len(wanted) - len(taken), time.monotonic()

    def _prune(self) -> None:
        """Record what the strategy did not want to run."""
        for spec in self.candidates:
            if spec.name in self.given_up and spec.name not in self.records:
                self._keep(RunRecord(spec=spec, outcome="pruned", cause=self.given_up[spec.name]))
        self._write()

    def _waiting(self) -> list[str]:
        """Trials that a batch system holds and has not started."""
        statuses = {i: RunFolder(self.folder / i).readable_status() for i in self.running}
        return [i for i, status in statuses.items() if status and status.state == "queued"]

    def _ended(self, job: Job) -> None:
        spec = self.running.pop(job.name)
        found = recorded(spec, RunFolder(job.folder))
        before = spec.name in self.adopted  # what stopped it may have been mended since
        self.adopted.discard(spec.name)
        stopped_before = before and NEXT_ACTION[found.outcome] == "stop"
        if not self.stop_reason and (stopped_before or self.trials.again(found)):
            self.watch.ended(self, found, again=True)
            return
        unwanted = self.stop_reason or spec.name in self.given_up
        if unwanted and found.outcome == "cancelled" and found.seconds is None:
            return  # taken back from the queue: it has not been tried
        self._keep(found)
        record.append(self.folder / "records.jsonl", self.records[spec.name])
        if NEXT_ACTION[found.outcome] == "stop":
            self.stop_reason = f"{found.outcome}: {found.cause}"
        self.watch.ended(self, found, again=False)

    def _keep(self, found: RunRecord) -> None:
        spec_id = found.spec.name
        row, remark = self.rows[spec_id], self.remarks.get(spec_id)
        remark = "; ".join(filter(None, (remark, found.remark))) or None
        known = found.prediction or self.chooser.prediction(found.spec)
        self.records[spec_id] = replace(found, row=row, remark=remark, prediction=known)

    def _write(self) -> None:
        """Replace records.jsonl; records of points that are not of this request are kept."""
        path = self.folder / "records.jsonl"
        try:
            earlier = [r for r in record.read(path) if r.spec.name not in self.rows]
        except ReadError:
            earlier = []  # the folders still have what ran; only rejected points are forgotten
        others = [replace(found, row=None) for found in earlier]  # rows of another grid
        record.write(path, [*self.finished(), *others])
        write_json(self.folder / "points.json", list(self.points))


def recorded(spec: RunSpec, folder: RunFolder) -> RunRecord:
    """The record of a run as it was started."""
    spec = started_as(spec, folder)
    return summary.record(spec, folder.path)


def started_as(spec: RunSpec, folder: RunFolder) -> RunSpec:
    """What a run was started as: a stage, perhaps at another layout than the one of now."""
    with suppress(ReadError):
        return folder.spec()
    return spec
