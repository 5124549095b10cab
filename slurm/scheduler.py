"""Run jobs on SLURM: same-shaped ones as one array, watched through their folders."""

import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

from launcher.errors import ConfigError, ReadError, RequestError, WorkError
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job, Setting
from launcher.spec.cluster import Cluster
from slurm import accounting, code, states, submission
from slurm.closing import LOST, close
from slurm.handover import find_job_id, groups, hand_over, prepare
from slurm.refusals import NoRoom

LOOK = 1.0
"""Seconds between two looks at the folders."""

PATIENCE = 10
"""Intervals after which SLURM is asked even though folders have news."""

SETTLED = 5.0
"""Seconds for a job's last writes to be visible here, after SLURM says that it has ended."""

LEAVES = 30.0
"""Seconds for which SLURM may count a job that has written its end."""

CANCELLED_AT_ONCE = 1000
"""Jobs named in one call of scancel."""

NO_NODES = re.compile(r"node configuration is not available|Invalid node name", re.I)
"""Messages of sbatch where too few nodes are left."""

NEVER = {"BadConstraints", "DependencyNeverSatisfied", "PartitionNodeLimit", "PartitionTimeLimit"}
"""Reasons for which a job waits for ever."""


@dataclass(slots=True)
class _Watched:
    job: Job
    token: str
    name: str | None
    """SLURM's name for it, ``17_3``; None where it is not known."""
    status_version: Any = None
    """Modification time and inode of the status file that was read last."""
    final: states.State | None = None
    """State in which SLURM says that it ended, though its folder does not."""
    final_at: float = 0.0
    unknown: int = 0
    """Answers in a row that did not have it."""


class Slurm:
    """Submits all that SLURM takes; leaving the context leaves the jobs to SLURM."""

    queues: ClassVar[bool] = True
    several_nodes: ClassVar[bool] = True

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.watched: dict[str, _Watched] = {}
        self.absent: set[str] = set()
        """Submissions that SLURM does not have."""
        self.batch_size: int | None = None
        """Jobs to submit together, once SLURM did not take all; None is no limit."""
        self.looked_at = self.asked_at = self.news_at = 0.0
        """Times of the last look at the folders, question to SLURM, and news in a folder."""

    @classmethod
    def opened(cls, setting: Setting, clusters: Sequence[Cluster]) -> Self:
        """Return it where there is SLURM; it asks nothing of the clusters, which sbatch does.

        Raises:
            RequestError: there is no sbatch, or the folder's path cannot be named to SLURM.
        """
        if shutil.which("sbatch") is None:
            raise RequestError(
                f"scheduler.name: slurm, which cluster={setting.cluster} chooses, but there is no"
                " sbatch here; on the cards of this machine: scheduler.name=local cluster.nodes=1"
            )
        if "\\" in str(setting.folder):
            raise ConfigError(f"output: {setting.folder} holds a backslash, which SLURM drops")
        if setting.options.container and set(",:") & set(str(setting.folder)):
            raise ConfigError(f"output: {setting.folder} holds a , or :, which no mount can name")
        return cls(setting)

    def submit(self, jobs: Iterable[Job]) -> list[str]:
        """Submit jobs, those of one shape together, and return the names of those SLURM takes.

        Once it has not taken all, the next call tries one of them, then two, then four.

        Raises:
            RequestError: SLURM refuses, or takes none while it has none.
            WorkError: SLURM or a folder cannot be reached.
        """
        remaining, submitted = iter(jobs), list[str]()
        while batch := list(islice(remaining, self.batch_size)):
            for group in groups(batch, self._largest):
                submitted_now = self._submit_some(group)
                submitted += submitted_now
                if len(submitted_now) < len(group):
                    self.batch_size = 1
                    return submitted
            self.batch_size = self.batch_size and 2 * self.batch_size
        return submitted

    def adopt(self, job: Job) -> bool:
        """Watch a job that an earlier launcher submitted; False where SLURM never got it."""
        status = RunFolder(job.folder).status()
        if status is None or status.submission is None:
            return False
        token = status.submission
        name = status.job_id or submission.job_name(job.folder, token)
        name = name or self._recover_name(job.folder, token)
        if name is None:
            return False
        self.watched[job.name] = _Watched(job=job, token=token, name=name)
        return True

    def poll(self) -> list[Job]:
        """The jobs that ended since the last call: their folders say so, or SLURM does."""
        now = time.monotonic()
        if now - self.looked_at < LOOK:
            return []
        self.looked_at = now
        ended = [watched for watched in self.watched.values() if self._has_ended(watched)]
        if self._is_time_to_ask(now) and len(ended) < len(self.watched):
            self._ask()
        for watched in ended:
            del self.watched[watched.job.name]
        if ended:
            self.news_at = now
        return [watched.job for watched in ended]

    def cancel(self, names: Sequence[str]) -> None:
        """End jobs; `poll` returns them as ended once SLURM says so."""
        chosen = [self.watched[name].name for name in names if name in self.watched]
        ids = [name for name in chosen if name]
        for start in range(0, len(ids), CANCELLED_AT_ONCE):
            states.cancel(ids[start : start + CANCELLED_AT_ONCE])
        self.news_at = self.asked_at = 0.0

    def avoid(self, nodes: Sequence[str]) -> None:
        """Keep what is still queued off some nodes: one that fails at once would get them all."""
        excluded: dict[str, set[str]] = {}
        for watched in self.watched.values():
            if watched.name:
                excluded_nodes = excluded.setdefault(watched.name.split("_")[0], set())
                excluded_nodes |= {*self.setting.options.exclude, *watched.job.avoid, *nodes}
        for array_id, names in excluded.items():
            states.exclude(array_id, sorted(names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The jobs stay SLURM's."""

    @cached_property
    def _largest(self) -> int:
        return states.largest_array()

    def _submit_some(self, jobs: list[Job]) -> list[str]:
        """Submit the first of some jobs, as many as SLURM has room for, and return their names.

        SLURM does not say how many it has room for: jobs that it does not take together are tried
        in halves. The first job without room ends it, so that jobs keep their order.
        """
        submitted: list[str] = []
        untried = [jobs]  # parts of the jobs, the first ones last
        while untried:
            part = untried.pop()
            allowed = part[: self._allowance(len(part))]
            if len(allowed) < len(part):
                untried.clear()
            if not allowed:
                break
            if self._takes(allowed):
                submitted += [job.name for job in allowed]
            elif len(allowed) == 1:
                break
            else:
                half = len(allowed) // 2
                untried += [allowed[half:], allowed[:half]]
        return submitted

    def _allowance(self, count: int) -> int:
        """Jobs out of so many that may be submitted now."""
        if self.batch_size and self.setting.parallel:
            # Several arrays: each has a throttle of its own, and all together would run too many.
            return min(count, max(self.setting.parallel - len(self.watched), 0))
        return count

    def _takes(self, jobs: list[Job]) -> bool:
        """Submit jobs together; False where SLURM has no room for all of them.

        Raises:
            NoRoom: there is none for a single job, though none of ours is queued or runs.
        """
        while True:
            try:
                self._submit(jobs)
                return True
            except NoRoom:
                self.batch_size = 1
                if len(jobs) > 1 or self.watched:
                    return False
                if time.monotonic() - self.news_at > LEAVES:
                    raise
            time.sleep(LOOK)  # SLURM may still count the last one of ours, which has ended

    def _submit(self, jobs: list[Job]) -> None:
        """Submit jobs by one call of sbatch; a kill at any moment leaves what `adopt` needs."""
        digest = code.snapshot(self.setting.code).name
        planned, folder = prepare(self.setting, jobs, digest)
        folder.mkdir(parents=True)
        submission.write(folder, planned)
        for job in jobs:
            run = RunFolder(job.folder)
            status = Status(
                state="queued",
                attempt=run.next_attempt(),
                submission=planned.token,
                time_limit=job.time_limit,
                commit=job.commit,
                code=planned.code,
            )
            run.write_status(status)
        try:
            array_id = hand_over(self.setting, planned, folder)
        except RequestError as error:
            nowhere_else = jobs[0].avoid and NO_NODES.search(str(error))
            if nowhere_else and not jobs[0].checkpoint_bytes:
                self._end_without_nodes(jobs, planned.token, str(error))
                return
            for job in jobs:
                RunFolder(job.folder).withdraw_status()  # nothing was submitted
            shutil.rmtree(folder, ignore_errors=True)
            if not nowhere_else:
                raise
            # A long run goes back to where it once failed before it ends for good.
            self._submit([replace(job, avoid=()) for job in jobs])
            return
        submission.write_job_id(folder, array_id)
        for index, job in enumerate(jobs):
            name = submission.name_of(planned, array_id, index)
            self.watched[job.name] = _Watched(job=job, token=planned.token, name=name)
        self.asked_at = self.news_at = time.monotonic()

    def _end_without_nodes(self, jobs: list[Job], token: str, message: str) -> None:
        """End trials that may not go where they failed and have no other node to go to."""
        for job in jobs:
            run = RunFolder(job.folder)
            reason = f"no other nodes than {', '.join(job.avoid)}: {message}"
            status = run.status() or Status(state="queued")
            run.write_status(replace(status, state="ended", ended=time.time(), reason=reason))
            self.watched[job.name] = _Watched(job=job, token=token, name=None)

    def _recover_name(self, run: Path, token: str) -> str | None:
        """Return SLURM's name for a job whose launcher was killed before writing it down."""
        folder = submission.folder_of(run, token)
        if token in self.absent or not (folder / "submission.json").exists():
            return None
        try:
            array_id = find_job_id(submission.read(folder))
        except ReadError as error:  # perhaps of another version; its jobs may run all the same
            raise WorkError(f"{error}; first: launch cancel, or scancel") from error
        if array_id is None:
            self.absent.add(token)
            return None
        submission.write_job_id(folder, array_id)
        return submission.job_name(run, token)

    def _has_ended(self, watched: _Watched) -> bool:
        run = RunFolder(watched.job.folder)
        try:
            stat = run.status_file.stat()
            version = (stat.st_mtime_ns, stat.st_ino)
            if version != watched.status_version:
                status = run.status()
                watched.status_version, self.news_at = version, time.monotonic()
                if status is not None and status.state == "ended":
                    return True
        except (OSError, ReadError):
            return False  # a file system that is away for a moment
        if watched.final is None or time.monotonic() - watched.final_at < SETTLED:
            return False
        close(watched.job, watched.token, watched.name, watched.final)
        return True

    def _is_time_to_ask(self, now: float) -> bool:
        """Return True once folders are quiet: while they have news, SLURM's can wait."""
        interval = self.setting.options.interval
        quiet = now - self.news_at >= interval or now - self.asked_at >= PATIENCE * interval
        return quiet and now - self.asked_at >= interval

    def _ask(self) -> None:
        """Ask SLURM about all that is watched, by one sacct and one squeue at most."""
        self.asked_at = time.monotonic()
        live = {w.name: w for w in self.watched.values() if w.name and w.final is None}
        ids = sorted({name.split("_")[0] for name in live})
        if not ids:
            return
        accounted = accounting.states_of(ids)
        if accounted and all(
            name in accounted and accounted[name].name == "RUNNING" for name in live
        ):
            for watched in live.values():
                watched.unknown = 0
            return
        queue = states.queue(ids)
        if queue is not None:
            for watched in live.values():
                self._judge(watched, accounted or {}, queue)

    def _judge(
        self, watched: _Watched, accounted: dict[str, states.State], queue: dict[str, states.State]
    ) -> None:
        """Take a job as ended by its state in the queue, or by accounting where that has none.

        Accounting alone may be of an incarnation before: NODE_FAIL, while the job is queued again.
        """
        name = watched.name or ""
        state = states.find_state(name, queue, accounted)
        watched.unknown = watched.unknown + 1 if state is None else 0
        if state is None and watched.unknown >= 2:
            state = LOST
        if state is not None and state.name == "PENDING" and state.reason in NEVER:
            states.cancel([name])
            state = replace(state, name=state.reason)
        if state is not None and not state.active:
            watched.final, watched.final_at = state, time.monotonic()
