"""Reader of the watched folders: makes each `Snapshot` of them."""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.campaign import jobs
from launcher.cli.top.snapshot import Snapshot
from launcher.cli.top.summary import (
    LIVE,
    PointState,
    best,
    budget,
    failures,
    goal,
    outcomes,
    running,
    training,
    waiting,
)
from launcher.cli.top.tail import Signature, signature
from launcher.cli.top.watched_sweep import WatchedSweep
from launcher.cli.top.watched_trial import WatchedTrial
from launcher.errors import ConfigError
from launcher.results import find
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from slurm.states import State

SCAN_SECONDS = 30.0
"""Seconds after which all folders are listed again, whether or not they seem to have changed."""
ASK_SECONDS = 30.0
"""Seconds between two questions to SLURM, which has others to answer."""
ANSWER_SECONDS = 25.0
"""Longest wait for SLURM's answer where only one snapshot is made."""


class SlurmAnswers:
    """SLURM's latest answer on the jobs, asked for in a thread: it may take its time."""

    def __init__(self) -> None:
        self.submissions: frozenset[str] = frozenset()
        """Submissions that the answer is about."""
        self.states: dict[str, State] | None = {}
        """States of their jobs; None where SLURM did not answer."""
        self._asked_at = float("-inf")
        self._thread: threading.Thread | None = None

    def ask(self, live: dict[str, RunFolder], now: float, wait: float) -> None:
        """Ask again where it is time to, and wait at most ``wait`` seconds for the answer."""
        if (
            not live
            or now - self._asked_at < ASK_SECONDS
            or (self._thread and self._thread.is_alive())
        ):
            return
        self._asked_at = now
        self._thread = threading.Thread(target=self._run, args=(live,), daemon=True)
        self._thread.start()
        self._thread.join(wait)

    def _run(self, live: dict[str, RunFolder]) -> None:
        # Emptied first: another thread may read between these two lines, and an answer must not
        # be taken for one about submissions that it does not cover.
        self.submissions, self.states = frozenset(), jobs.ask_slurm(live)
        self.submissions = frozenset(live)

    def state_of(self, trial: WatchedTrial) -> State | None:
        """State of a trial's job; None where SLURM was not asked about it."""
        token = trial.status.submission if trial.status else None
        name = trial.job
        return jobs.state_of_job(name, self.states) if token in self.submissions and name else None


class Watcher:
    """Makes snapshots of a folder, reading only what has changed since the last one."""

    def __init__(self, path: Path, once: bool = False) -> None:
        """Find the runs; ``once`` is for a single snapshot that has to be complete.

        Raises:
            ConfigError: there are no runs below the folder.
        """
        self.path, self._folder_as_given = path.resolve(), str(path)
        self._wait = ANSWER_SECONDS if once else 0.0
        self._composes = once
        """False for the first of many snapshots: the screen would stay empty while Hydra loads."""
        self._sweeps: dict[Path, WatchedSweep] = {}
        self._runs: dict[Path, list[RunFolder]] = {}
        self._is_run = RunFolder(self.path).has_spec
        self._scanned_at = float("-inf")
        self._signatures: dict[Path, Signature | None] = {}
        self._slurm = SlurmAnswers()
        self._unreadable: tuple[str, ...] = ()
        """Messages on folders that cannot be read, a line each."""
        self._scan()
        self._check(path)

    def _check(self, path: Path) -> None:
        if any(SweepFolder(folder).is_own for folder in self._sweeps) or any(self._runs.values()):
            return
        if find.runs(self.path, foreign=True):
            raise ConfigError(f"{path}: nothing of this project runs there: all of it was imported")
        if not self._sweeps:
            raise ConfigError("; ".join([f"{path}: no runs below this folder", *self._unreadable]))

    def snapshot(self, now: float) -> Snapshot:
        """Return the state of the folder; ``now`` is in seconds since the epoch."""
        problem = self._rescan(now)
        for folder, sweep in self._sweeps.items():
            sweep.update(self._runs[folder], self._composes and len(self._sweeps) == 1)
        self._composes = True
        trials = [trial for sweep in self._sweeps.values() for trial in sweep.trials.values()]
        live = [(trial.folder, trial.status) for trial in trials if trial.live]
        self._slurm.ask(jobs.submitted(live), now, self._wait)
        points = list(self._points())
        remarks = [
            problem,
            "SLURM does not answer" if self._slurm.states is None else None,
            *self._unreadable,
            *(sweep.problem for sweep in self._sweeps.values()),
            *(trial.problem for trial in trials),
        ]
        return self._summarize(points, now, tuple(filter(None, remarks)))

    def _rescan(self, now: float) -> str | None:
        """List the folders again where any has changed; the message of an error, or None."""
        try:
            current = {path: signature(path) for path in self._signatures}
            if current != self._signatures or now - self._scanned_at > SCAN_SECONDS:
                self._scan()
                self._scanned_at = now
        except (OSError, ConfigError) as error:
            return str(error)
        return None

    def _scan(self) -> None:
        sweeps = [self.path.parent] if self._is_run else list(find.sweeps(_folder(self.path)))
        # Signatures come first: a change during the scan is then noticed by the next one.
        self._signatures = {path: signature(path) for path in {self.path, *sweeps}}
        runs: dict[Path, list[RunFolder]] = {path: [] for path in sweeps}
        for run in find.runs(self.path):
            runs.setdefault(run.path.parent, []).append(run)
        inside = {child for path in {self.path, *sweeps} for child in find.children(path)}
        self._unreadable = tuple(
            f"{child}: cannot be read"
            for child in sorted(inside)
            if not os.access(child, os.R_OK | os.X_OK)
        )
        self._sweeps = {
            path: self._sweeps.get(path) or WatchedSweep(path, self.path) for path in runs
        }
        self._runs = runs

    def _points(self) -> Iterator[PointState]:
        for folder, sweep in self._sweeps.items():
            prefix = f"{folder.relative_to(self.path)}: " if len(self._sweeps) > 1 else ""
            for name in sweep.names:
                yield self._point(sweep, name, prefix)

    def _point(self, sweep: WatchedSweep, name: str, prefix: str) -> PointState:
        own_state, record = sweep.state(name)
        state: str = own_state
        slurm = self._slurm.state_of(sweep.trials[name]) if state in LIVE else None
        if slurm and not slurm.active and slurm is not jobs.SILENT:
            trial = sweep.trials[name]
            state, _ = jobs.standing(trial.folder, trial.status, slurm)
        return PointState(
            sweep=sweep,
            name=name,
            label=f"{prefix}{sweep.label(name)}",
            state=state,
            record=record,
            job_state=jobs.describe(slurm) if slurm else "",
        )

    def _summarize(
        self, points: Sequence[PointState], now: float, remarks: tuple[str, ...]
    ) -> Snapshot:
        specs = [spec for point in points if (spec := point.spec)]
        staged = bool(specs) and all(spec.stage for spec in specs)
        one_run = len(points) == 1 or (staged and len(self._sweeps) == 1)
        states = Counter(point.state for point in points)
        return Snapshot(
            folder=self._folder_as_given,
            time=now,
            unit="stage" if staged else "run" if len(points) == 1 else "point",
            points=len(points),
            outcomes=outcomes(points),
            running=tuple(running(points, now)),
            waiting=tuple(waiting(points, now)),
            queued=states["queued"],
            not_started=states["not started"],
            failures=tuple(failures(points, now)),
            budget=budget(points, now),
            best=None if staged else best(points),
            goal=goal(points),
            training=training(points, now) if one_run else None,
            remarks=remarks,
        )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    return path
