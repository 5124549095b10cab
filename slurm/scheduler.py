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
from slurm.handover import groups, hand_over, number, prepared
from slurm.refusals import NoRoom

LOOK = 1.0
"""Seconds between two looks at the folders."""

PATIENCE = 10
"""Times the interval after which SLURM is asked even though there is progress."""

SETTLED = 5.0
"""Seconds for what a job wrote last to be seen here, after SLURM says that it has ended."""

LEAVES = 30.0
"""Seconds for which SLURM may count a job that has written its end."""

WORDS = 1000
"""Jobs named in one call of scancel."""

NO_NODES = re.compile(r"node configuration is not available|Invalid node name", re.I)
"""What sbatch says where too few nodes are left."""

NEVER = {"BadConstraints", "DependencyNeverSatisfied", "PartitionNodeLimit", "PartitionTimeLimit"}
"""Reasons for which a job waits for ever."""


@dataclass(slots=True)
class _Watched:
    job: Job
    token: str
    name: str | None
    """SLURM's, ``17_3``; None where it is not known."""
    seen: Any = None
    """What tells the last version of the status that was read."""
    final: states.State | None = None
    """How SLURM says it ended, though its folder does not."""
    final_at: float = 0.0
    unknown: int = 0
    """Answers in a row in which SLURM did not know it."""


class Slurm:
    """Submits all that SLURM takes; leaving the context leaves the jobs to SLURM."""

    queues: ClassVar[bool] = True
    several_nodes: ClassVar[bool] = True

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.watched: dict[str, _Watched] = {}
        self.absent: set[str] = set()
        """Submissions that SLURM said it does not know."""
        self.at_once: int | None = None
        """Jobs to submit together, where SLURM does not take all."""
        self.looked = self.asked = self.moved = 0.0
        """When the folders were looked at, SLURM was asked, and a folder had news."""

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
        """Submit jobs, those of one shape together; the names of those that SLURM takes.

        Once it has not taken all, the next call tries one of them, then two, then four.

        Raises:
            RequestError: SLURM refuses, or takes none while it has none.
            WorkError: SLURM or a folder cannot be reached.
        """
        left, taken = iter(jobs), list[str]()
        while batch := list(islice(left, self.at_once)):
            for same in groups(batch, self._largest):
                names = self._submit_some(same)
                taken += names
                if len(names) < len(same):
                    self.at_once = 1
                    return taken
            self.at_once = self.at_once and 2 * self.at_once
        return taken

    def adopt(self, job: Job) -> bool:
        """Watch a job that an earlier launcher submitted; False where SLURM never got it."""
        status = RunFolder(job.folder).status()
        if status is None or status.submission is None:
            return False
        token = status.submission
        name = status.job_id or submission.job_name(job.folder, token)
        name = name or self._found(job.folder, token)
        if name is None:
            return False
        self.watched[job.name] = _Watched(job=job, token=token, name=name)
        return True

    def poll(self) -> list[Job]:
        """The jobs that ended since the last call: their folders say so, or SLURM does."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return []
        self.looked = now
        ended = [watched for watched in self.watched.values() if self._has_ended(watched)]
        if self._is_time_to_ask(now) and len(ended) < len(self.watched):
            self._ask()
        for watched in ended:
            del self.watched[watched.job.name]
        if ended:
            self.moved = now
        return [watched.job for watched in ended]

    def cancel(self, names: Sequence[str]) -> None:
        """End jobs; `poll` returns them as ended once SLURM says so."""
        chosen = [self.watched[name].name for name in names if name in self.watched]
        ids = [name for name in chosen if name]
        for start in range(0, len(ids), WORDS):
            states.cancel(ids[start : start + WORDS])
        self.moved = self.asked = 0.0

    def avoid(self, nodes: Sequence[str]) -> None:
        """Keep what is still queued off some nodes: one that fails at once would get them all."""
        excluded: dict[str, set[str]] = {}
        for watched in self.watched.values():
            if watched.name:
                named = excluded.setdefault(watched.name.split("_")[0], set())
                named |= {*self.setting.options.exclude, *watched.job.avoid, *nodes}
        for main, names in excluded.items():
            states.exclude(main, sorted(names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The jobs stay SLURM's."""

    @cached_property
    def _largest(self) -> int:
        return states.largest_array()

    def _submit_some(self, jobs: list[Job]) -> list[str]:
        """The first of them, as many as there is room for; SLURM does not say how many."""
        if self.at_once and self.setting.parallel:  # several arrays: each would let as many run
            jobs = jobs[: max(self.setting.parallel - len(self.watched), 0)]
        if not jobs:
            return []
        try:
            self._submit(jobs)
            return [job.name for job in jobs]
        except NoRoom:
            self.at_once = 1
            if len(jobs) == 1 and self.watched:
                return []
            if len(jobs) == 1 and time.monotonic() - self.moved > LEAVES:
                raise
        if len(jobs) == 1:  # the last one of ours may be on its way out
            time.sleep(LOOK)
            return self._submit_some(jobs)
        half = len(jobs) // 2
        taken = self._submit_some(jobs[:half])
        return taken if len(taken) < half else taken + self._submit_some(jobs[half:])

    def _submit(self, jobs: list[Job]) -> None:
        """One call of sbatch. Whoever kills us in between finds what `adopt` needs."""
        digest = code.snapshot(self.setting.code).name
        planned, folder = prepared(self.setting, jobs, digest)
        folder.mkdir(parents=True)
        submission.write(folder, planned)
        for job in jobs:
            run = RunFolder(job.folder)
            run.write_status(Status(
                state="queued", attempt=run.next_attempt(), submission=planned.token,
                time_limit=job.time_limit, commit=job.commit, code=planned.code,
            ))  # fmt: skip
        try:
            main = hand_over(self.setting, planned, folder)
        except RequestError as error:
            nowhere = jobs[0].avoid and NO_NODES.search(str(error))
            if nowhere and not jobs[0].checkpoint_bytes:
                self._refused(jobs, planned.token, str(error))
                return
            for job in jobs:
                (job.folder / "status.json").unlink()  # nothing was submitted
            shutil.rmtree(folder, ignore_errors=True)
            if not nowhere:
                raise
            # A long run goes back to where it once failed before it ends for good.
            self._submit([replace(job, avoid=()) for job in jobs])
            return
        submission.write_job_id(folder, main)
        for index, job in enumerate(jobs):
            name = submission.name_of(planned, main, index)
            self.watched[job.name] = _Watched(job=job, token=planned.token, name=name)
        self.asked = self.moved = time.monotonic()

    def _refused(self, jobs: list[Job], token: str, why: str) -> None:
        """A trial that may not go where it failed, and has nowhere else to go."""
        for job in jobs:
            run = RunFolder(job.folder)
            reason = f"no other nodes than {', '.join(job.avoid)}: {why}"
            status = run.status() or Status(state="queued")
            run.write_status(replace(status, state="ended", ended=time.time(), reason=reason))
            self.watched[job.name] = _Watched(job=job, token=token, name=None)

    def _found(self, run: Path, token: str) -> str | None:
        """SLURM's name for a job whose launcher was killed before writing it down."""
        folder = submission.place(run, token)
        if token in self.absent or not (folder / "submission.json").exists():
            return None
        try:
            main = number(submission.read(folder))
        except ReadError as error:  # perhaps of another version; its jobs may run all the same
            raise WorkError(f"{error}; first: launch cancel, or scancel") from error
        if main is None:
            self.absent.add(token)
            return None
        submission.write_job_id(folder, main)
        return submission.job_name(run, token)

    def _has_ended(self, watched: _Watched) -> bool:
        run = RunFolder(watched.job.folder)
        try:
            stat = (run.path / "status.json").stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen != watched.seen:
                status = run.status()
                watched.seen, self.moved = seen, time.monotonic()
                if status is not None and status.state == "ended":
                    return True
        except (OSError, ReadError):
            return False  # a file system that is away for a moment
        if watched.final is None or time.monotonic() - watched.final_at < SETTLED:
            return False
        close(watched.job, watched.token, watched.name, watched.final)
        return True

    def _is_time_to_ask(self, now: float) -> bool:
        """As long as folders have news, SLURM has none that could not wait."""
        interval = self.setting.options.interval
        quiet = now - self.moved >= interval or now - self.asked >= PATIENCE * interval
        return quiet and now - self.asked >= interval

    def _ask(self) -> None:
        """At most one sacct and one squeue for everything that is watched."""
        self.asked = time.monotonic()
        live = [w for w in self.watched.values() if w.name and w.final is None]
        ids = sorted({(w.name or "").split("_")[0] for w in live})
        if not ids:
            return
        known = accounting.states_of(ids)
        if known and all(w.name in known and known[w.name].name == "RUNNING" for w in live):
            for watched in live:
                watched.unknown = 0
            return
        queue = states.queue(ids)
        for watched in live if queue is not None else ():
            self._judge(watched, known or {}, queue or {})

    def _judge(
        self, watched: _Watched, known: dict[str, states.State], queue: dict[str, states.State]
    ) -> None:
        """A job is over when the queue does not hold it for one that may still run.

        sacct alone may be of an incarnation before: NODE_FAIL, while the job is queued again.
        """
        name = watched.name or ""
        state = states.of(name, queue, known)
        watched.unknown = watched.unknown + 1 if state is None else 0
        if state is None and watched.unknown >= 2:
            state = LOST
        if state is not None and state.name == "PENDING" and state.reason in NEVER:
            states.cancel([name])
            state = replace(state, name=state.reason)
        if state is not None and not state.active:
            watched.final, watched.final_at = state, time.monotonic()
