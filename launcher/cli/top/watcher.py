"""From the folders that are watched to what is shown of them."""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.campaign import jobs
from launcher.cli.top.snapshot import Look
from launcher.cli.top.summary import (
    LIVE,
    Point,
    best,
    budget,
    failures,
    outcomes,
    running,
    training,
    waiting,
)
from launcher.cli.top.tail import Signature, signature
from launcher.cli.top.watched_sweep import Sweep
from launcher.cli.top.watched_trial import Trial
from launcher.errors import ConfigError
from launcher.results import find
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from slurm.states import State

SCAN = 30.0
"""Seconds after which all folders are listed again, whether or not they seem to have changed."""
ASK = 30.0
"""Seconds between two questions to SLURM, which has others to answer."""
PATIENCE = 25.0
"""Seconds for an answer where there is but one look."""


class Asked:
    """What SLURM says, asked in a thread: it may take its time."""

    def __init__(self) -> None:
        self.about: frozenset[str] = frozenset()
        """Submissions that the answer is about."""
        self.answer: dict[str, State] | None = {}
        self._when = float("-inf")
        self._thread: threading.Thread | None = None

    def ask(self, live: dict[str, RunFolder], now: float, wait: float) -> None:
        """Ask again where it is time to, and wait for the answer so many seconds."""
        if not live or now - self._when < ASK or (self._thread and self._thread.is_alive()):
            return
        self._when = now
        self._thread = threading.Thread(target=self._run, args=(live,), daemon=True)
        self._thread.start()
        self._thread.join(wait)

    def _run(self, live: dict[str, RunFolder]) -> None:
        self.about, self.answer = frozenset(), jobs.ask_slurm(live)
        self.about = frozenset(live)

    def of(self, trial: Trial) -> State | None:
        """What it says of a trial; None where it was not asked."""
        token = trial.status.submission if trial.status else None
        name = trial.job
        return jobs.state_of_job(name, self.answer) if token in self.about and name else None


class Watcher:
    """Looks at a folder again and again; what has not changed is not read again."""

    def __init__(self, path: Path, once: bool = False) -> None:
        """``once`` is for one look that has to have all in it.

        Raises:
            ConfigError: there are no runs below the folder.
        """
        self.path, self._given = path.resolve(), str(path)
        self._wait = PATIENCE if once else 0.0
        self._composes = once
        """Not in the first of many looks: Hydra takes a second, for which nothing would be seen."""
        self._sweeps: dict[Path, Sweep] = {}
        self._runs: dict[Path, list[RunFolder]] = {}
        self._alone = RunFolder(self.path).has_spec
        self._scanned = float("-inf")
        self._seen: dict[Path, Signature | None] = {}
        self._asked = Asked()
        self._closed: tuple[str, ...] = ()
        """Folders that cannot be looked into, a line each."""
        self._scan()
        self._check(path)

    def _check(self, path: Path) -> None:
        own = any(SweepFolder(folder).is_own for folder in self._sweeps)
        if own or any(self._runs.values()):
            return
        if find.runs(self.path, foreign=True):
            raise ConfigError(f"{path}: nothing of this project runs there: all of it was imported")
        if not self._sweeps:
            raise ConfigError("; ".join([f"{path}: no runs below this folder", *self._closed]))

    def look(self, now: float) -> Look:
        """What there is to see; ``now`` is in seconds since the epoch."""
        problem = self._again(now)
        for folder, sweep in self._sweeps.items():
            sweep.update(self._runs[folder], self._composes and len(self._sweeps) == 1)
        self._composes = True
        trials = [trial for sweep in self._sweeps.values() for trial in sweep.trials.values()]
        found = [(trial.folder, trial.status) for trial in trials if trial.live]
        self._asked.ask(jobs.submitted(found), now, self._wait)
        points = list(self._points())
        silent = "SLURM does not answer" if self._asked.answer is None else None
        said = [problem, silent, *self._closed, *(sweep.problem for sweep in self._sweeps.values())]
        remarks = [*said, *(trial.problem for trial in trials)]
        return self._made(points, now, tuple(filter(None, remarks)))

    def _again(self, now: float) -> str | None:
        """List the folders again where any of them has changed; what went wrong with it."""
        try:
            seen = {path: signature(path) for path in self._seen}
            if seen != self._seen or now - self._scanned > SCAN:
                self._scan()
                self._scanned = now
        except (OSError, ConfigError) as error:
            return str(error)
        return None

    def _scan(self) -> None:
        sweeps = [self.path.parent] if self._alone else list(find.sweeps(_folder(self.path)))
        # Looked at first: what changes meanwhile is then seen to have changed.
        self._seen = {path: signature(path) for path in {self.path, *sweeps}}
        runs: dict[Path, list[RunFolder]] = {path: [] for path in sweeps}
        for run in find.runs(self.path):
            runs.setdefault(run.path.parent, []).append(run)
        inside = {child for path in {self.path, *sweeps} for child in find.children(path)}
        self._closed = tuple(f"{one}: cannot be read" for one in sorted(inside)
                             if not os.access(one, os.R_OK | os.X_OK))  # fmt: skip
        self._sweeps = {path: self._sweeps.get(path) or Sweep(path, self.path) for path in runs}
        self._runs = runs

    def _points(self) -> Iterator[Point]:
        for folder, sweep in self._sweeps.items():
            above = f"{folder.relative_to(self.path)}: " if len(self._sweeps) > 1 else ""
            for name in sweep.names:
                yield self._point(sweep, name, above)

    def _point(self, sweep: Sweep, name: str, above: str) -> Point:
        found, record = sweep.state(name)
        state: str = found
        slurm = self._asked.of(sweep.trials[name]) if state in LIVE else None
        if slurm and not slurm.active and slurm is not jobs.SILENT:
            trial = sweep.trials[name]
            state, _ = jobs.standing(trial.folder, trial.status, slurm)
        return Point(
            sweep=sweep,
            name=name,
            label=f"{above}{sweep.label(name)}",
            state=state,
            record=record,
            said=jobs.describe(slurm) if slurm else "",
        )

    def _made(self, points: Sequence[Point], now: float, remarks: tuple[str, ...]) -> Look:
        specs = [spec for point in points if (spec := point.spec)]
        staged = bool(specs) and all(spec.stage for spec in specs)
        one_run = len(points) == 1 or (staged and len(self._sweeps) == 1)
        states = Counter(point.state for point in points)
        return Look(
            folder=self._given,
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
            training=training(points, now) if one_run else None,
            remarks=remarks,
        )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    return path
