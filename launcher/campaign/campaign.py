"""Campaign: a plan on its way. Reject, propose, run, record, propose again.

The folders of the trials are the truth. ``records.jsonl`` beside them holds what no folder
does (the rejected points, the order of the rows) and is made again by the same command.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from launcher.campaign import preflight, stage_plan, workspace
from launcher.campaign.chooser import Chooser
from launcher.campaign.interrupt import deferred
from launcher.campaign.observer import Observer
from launcher.campaign.plan import Plan
from launcher.campaign.resume import save_command
from launcher.campaign.retry import RetryPolicy
from launcher.campaign.trials import Trials
from launcher.errors import ConfigError, ReadError, WorkError
from launcher.results.outcomes import NEXT_STEP
from launcher.results.record import Planned, Prediction, RunRecord
from launcher.results.summary import record_of, started_spec
from launcher.schedulers import Job, Scheduler
from launcher.spec.run import RunSpec

POLL = 0.1
"""Seconds between two looks at the scheduler."""

OFFER = 30.0
"""Seconds after which a scheduler is offered again the trials it had no room for."""


class Campaign:
    """Moving part of a plan. `run` may be left at any moment and made again from the folders.

    Every mapping is by the name of a point.
    """

    def __init__(self, plan: Plan, observer: Observer | None = None) -> None:
        """Raises ConfigError: constants that are not there, a strategy without its axis."""
        self.plan = plan
        self.observer = observer or Observer()
        self.chooser = Chooser(plan)
        self.records: dict[str, RunRecord] = {}
        self.running: dict[str, RunSpec] = {}
        self.adopted: set[str] = set()
        """Points among them that an earlier launcher submitted."""
        self.given_up: dict[str, str] = {}
        """Candidates that the strategy does not want to run, and the reasons."""
        self.held_back = 0
        """Trials that the scheduler had no room for when they were offered."""
        self.stop_reason: str | None = None
        """Failure that every other trial would meet too."""
        self._retry = RetryPolicy(plan.request, plan.folder)
        self._trials = Trials(plan=plan, retry=self._retry)
        self._offered_at = 0.0

    def planned(self) -> list[Planned]:
        """List every point before anything runs."""
        plan, choice = self.plan, self.chooser.choose(self.records, ())
        return [
            Planned(
                row=plan.rows[name],
                spec=spec,
                rejected=plan.refusals.get(name),
                pruned=choice.given_up.get(name),
                remark=plan.remarks.get(name),
                prediction=plan.predictions.get(name, Prediction()),
                price_per_gpu_hour=plan.request.price_per_gpu_hour,
            )
            for name, spec in plan.points.items()
        ]

    def check_stages(self) -> list[Planned]:
        """Refuse a curriculum that is bound to fail; return its stages as planned.

        Raises:
            LayoutError: a stage is impossible.
            ConfigError: it reads a source too often, or its checkpoints need more disk than there
                is.
        """
        planned = self.planned()
        stage_plan.check(self.plan, planned)
        if message := stage_plan.too_little_disk(self.plan):
            raise ConfigError(message)
        return planned

    def ready(self) -> Scheduler:
        """Check all that can be checked, and return the scheduler.

        Raises:
            RequestError: see `check_stages` and `open_scheduler`.
        """
        if self.plan.request.curriculum:
            self.check_stages()
        return self.open_scheduler()

    def open_scheduler(self) -> Scheduler:
        """Return the scheduler, once it is known that it can run these points.

        Raises:
            RequestError: one run (not a sweep) is impossible; see `preflight.scheduler`.
        """
        self.plan.refuse_alone()
        if self.plan.request.cache:
            workspace.make_cache(self.plan.request)
        return preflight.scheduler(self.plan.request, self.plan.candidates)

    def to_submit(self) -> Iterator[Job]:
        """Yield the jobs that `run` would submit first; nothing is written.

        Raises:
            LayoutError: one run (not a sweep) is impossible.
        """
        self.plan.refuse_alone()
        ended, running = {}, []
        for spec in self.plan.candidates:
            folder = self.plan.folder.run(spec.name)
            status = folder.readable_status()
            if status is not None and status.state != "ended":
                running.append(spec.name)
            elif status is not None and not self._retry.runs_again(spec, status):
                ended[spec.name] = record_of(started_spec(folder, spec), folder)
        yield from map(self._trials.job, self.chooser.choose(ended, running).next_specs)

    def run(self, scheduler: Scheduler) -> list[RunRecord]:
        """Run the points that are left; return the records of all points, in their order.

        Raises:
            ConfigError: a folder cannot be written, or another launcher is at work in it.
            KeyboardInterrupt: somebody asked for it; ranks on this machine have been ended.
            WorkError: a folder cannot be written; jobs that waited have been taken back.
        """
        plan = self.plan
        with plan.folder.locked(), deferred() as interrupt, scheduler:
            workspace.make_cache(plan.request)
            save_command(plan)
            try:
                self._sort_out(scheduler)
                self._trials.prepare_stages(self.records.keys() | self.running.keys())
                self.observer.started(self)
                self._submit(scheduler)
                while self.running and not plan.request.detach:
                    late = self.held_back and time.monotonic() - self._offered_at > OFFER
                    if (ended := scheduler.poll()) or late:
                        self._jobs_ended(ended, scheduler)
                    self.observer.refreshed(self)
                    interrupt.check()
                    time.sleep(POLL)
            except WorkError:
                scheduler.cancel(self._queued())
                raise
            if not self.running and not self.stop_reason:
                self._record_pruned()
        return self.ordered_records()

    def ordered_records(self) -> list[RunRecord]:
        """The records so far, in the order of the points."""
        return [self.records[name] for name in self.plan.points if name in self.records]

    @property
    def succeeded(self) -> bool:
        """True where the work is done: any point of a sweep went well, or every stage did."""
        went_well = [record.outcome == "ok" for record in self.records.values()]
        if self.stop_reason:
            return False
        if self.plan.request.curriculum is None:
            return any(went_well)
        return len(went_well) == len(self.plan.points) and all(went_well)

    def _sort_out(self, scheduler: Scheduler) -> None:
        """Record the rejected points and those that have ended, and adopt those that still run."""
        for name, reason in self.plan.refusals.items():
            self._keep(RunRecord(spec=self.plan.points[name], outcome="rejected", cause=reason))
        for spec in self.plan.candidates:
            if (record := self._earlier_record(spec, scheduler)) is not None:
                self._keep(record)
        self._rewrite_records()

    def _earlier_record(self, spec: RunSpec, scheduler: Scheduler) -> RunRecord | None:
        """Return the record of an earlier start; None where the spec is to run, or runs already."""
        folder = self.plan.folder.run(spec.name)
        try:
            status = folder.status()
        except ReadError:
            return None
        if status is None or (status.state == "ended" and self._retry.has_more_time(status)):
            return None
        went_well = status.exit_codes and not any(status.exit_codes) and not status.stopped
        if went_well and folder.result() is None:
            return None  # somebody has taken the result away, for it to run again
        if status.state != "ended":  # its launcher died, or left it to a batch system
            if scheduler.adopt(self._trials.job(started_spec(folder, spec))):
                self.running[spec.name] = spec
                self.adopted.add(spec.name)
                return None
            if folder.result() is None:
                return None
            folder.write_status(replace(status, state="ended", ended=folder.result_time()))
        record = record_of(started_spec(folder, spec), folder)
        return None if self._retry.again(record, by_command=True) else record

    def _submit(self, scheduler: Scheduler) -> None:
        """Ask the strategy for the next points, and submit those that there is room for."""
        if self.stop_reason:
            self.held_back = 0
            return
        choice = self.chooser.choose(self.records, self.running)
        self.given_up = choice.given_up
        if self.running.keys() & self.given_up.keys():
            scheduler.cancel([name for name in self._queued() if name in self.given_up])
        jobs = self._trials.prepared(choice.next_specs, self.chooser.prediction)
        submitted = scheduler.submit(jobs)
        self.running.update((name, self.plan.points[name]) for name in submitted)
        self.held_back = len(choice.next_specs) - len(submitted)
        self._offered_at = time.monotonic()

    def _jobs_ended(self, jobs: list[Job], scheduler: Scheduler) -> None:
        unfit = self._retry.unfit
        for job in jobs:
            self._job_ended(job)
        if self._retry.unfit > unfit:
            scheduler.avoid(sorted(self._retry.unfit))
        self._submit(scheduler)
        if self.stop_reason:
            scheduler.cancel(self._queued())

    def _job_ended(self, job: Job) -> None:
        spec = self.running.pop(job.name)
        folder = self.plan.folder.run(spec.name)
        with suppress(ReadError):  # changed while it ran: the next command refuses it by name
            spec = started_spec(folder, spec)
        record = record_of(spec, folder)
        stops = NEXT_STEP[record.outcome] == "stop"
        # What stopped one of an earlier launcher may have been mended since.
        stopped_earlier = stops and spec.name in self.adopted
        self.adopted.discard(spec.name)
        if not self.stop_reason and (stopped_earlier or self._retry.again(record)):
            self.observer.trial_ended(self, record, again=True)
            return
        unwanted = self.stop_reason or spec.name in self.given_up
        if unwanted and record.outcome == "cancelled" and record.seconds is None:
            return  # taken back from the queue: it has not been tried
        self._keep(record)
        self.plan.folder.append_record(self.records[spec.name])
        if stops:
            self.stop_reason = f"{record.outcome}: {record.cause}"
        self.observer.trial_ended(self, record, again=False)

    def _queued(self) -> list[str]:
        """Trials that a batch system holds and has not started."""
        statuses = {name: self.plan.folder.run(name).readable_status() for name in self.running}
        return [name for name, status in statuses.items() if status and status.state == "queued"]

    def _record_pruned(self) -> None:
        """Record the points that the strategy did not want to run."""
        for spec in self.plan.candidates:
            if spec.name in self.given_up and spec.name not in self.records:
                reason = self.given_up[spec.name]
                self._keep(RunRecord(spec=spec, outcome="pruned", cause=reason))
        self._rewrite_records()

    def _keep(self, record: RunRecord) -> None:
        """Keep a record, with its row, all remarks, and a prediction."""
        name = record.spec.name
        remarks = filter(None, (self.plan.remarks.get(name), record.remark))
        self.records[name] = replace(
            record,
            row=self.plan.rows[name],
            remark="; ".join(remarks) or None,
            prediction=record.prediction or self.chooser.prediction(record.spec),
        )

    def _rewrite_records(self) -> None:
        """Replace records.jsonl, but for the records of points that are not of this request."""
        folder = self.plan.folder
        try:
            records = folder.records()
        except ReadError:
            records = []  # the folders still have what ran; only rejected points are forgotten
        # Their rows were positions in another grid.
        of_other_plans = [
            replace(record, row=None)
            for record in records
            if record.spec.name not in self.plan.rows
        ]
        folder.write_records([*self.ordered_records(), *of_other_plans])
        folder.write_points(self.plan.points)
