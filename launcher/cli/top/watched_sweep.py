"""One watched folder of trials: a sweep's, a curriculum's, or that of one run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.cli.top.tail import Signature, Tail, signature
from launcher.cli.top.watched_trial import WatchedTrial
from launcher.decode import decode
from launcher.errors import ConfigError, LaunchError, ReadError
from launcher.results.columns import SPEED
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec
from sweeps.labels import labels

State = Literal["running", "queued", "not started", "ended"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits in the command that started a sweep. None is "no limit", or "not known"."""

    gpu_hours: float | None = None
    trials: int | None = None
    may_stop: bool = True
    """True where the strategy may leave points out, or is not known."""


class WatchedSweep:
    """Trials and records of a folder as last read. Points are those of its latest command."""

    def __init__(self, folder: Path, root: Path) -> None:
        """``root`` is the folder that `launch top` was given: this, one above, or one run's."""
        single_run = None if folder.is_relative_to(root) else root.name
        self.folder, self.root = folder, root
        self.trials: dict[str, WatchedTrial] = {}
        self.records: dict[str, RunRecord] = {}
        self.labels: Mapping[str, str] = {}
        self.problem: str | None = None
        """Message on a file that could not be read."""
        self.limits = Limits()
        self.goal = SPEED
        """Column of which the best is sought."""
        self._single_run = single_run
        self._listed: list[str] | None = [single_run] if single_run else None
        """Points of the latest command; None where it has written none."""
        self._records = Tail(SweepFolder(folder).records_file)
        self._damaged = 0
        self._points_signature: Signature | None = None
        self._command_signature: Signature | None = None
        self._labelled: dict[str, int] = {}

    def update(self, folders: Iterable[RunFolder], composes: bool = True) -> None:
        """Read these runs again, which are all of this folder; with ``composes`` its limits too."""
        self.trials = {
            folder.path.name: self.trials.get(folder.path.name) or WatchedTrial(folder)
            for folder in folders
        }
        for trial in self.trials.values():
            trial.update()
        self.problem = None
        if self._single_run is None:
            try:
                self._read()
                sweep = SweepFolder(self.folder)
                command, self.goal = signature(sweep.command_file), sweep.goal
                if composes and command != self._command_signature:
                    self._command_signature, self.limits = command, limits(self.folder)
            except (OSError, ReadError) as error:
                self.problem = str(error)
        self._label()

    def _read(self) -> None:
        """Read the new records, and the points where they have changed."""
        new = self._records.read()
        if new.fresh:
            self.records, self._damaged = {}, 0
        for line in new.lines:
            try:
                record = decode(RunRecord, line)
                self.records[record.spec.name] = record
            except ConfigError:  # of another version
                self._damaged += 1
        if damaged := self._damaged + self._records.damaged:
            self.problem = f"{self._records.path}: {damaged} of its records cannot be read"
        sweep = SweepFolder(self.folder)
        if (current := signature(sweep.points_file)) != self._points_signature:
            self._listed = sweep.points() if current else None
            self._points_signature = current

    def _label(self) -> None:
        specs = {name: self.records[name].spec for name in self.names if name in self.records}
        specs |= {name: trial.spec for name, trial in self.trials.items() if trial.spec}
        spec_ids = {name: id(spec) for name, spec in specs.items()}
        if spec_ids != self._labelled:
            self._labelled, self.labels = spec_ids, labels(list(specs.values()))

    @property
    def names(self) -> list[str]:
        """The points in their order; after them runs of earlier commands that still go on."""
        if self._listed is None:
            return list(dict.fromkeys([*self.records, *self.trials]))
        live = (name for name, trial in self.trials.items() if trial.live)
        return list(dict.fromkeys([*self._listed, *live]))

    def state(self, name: str) -> tuple[State, RunRecord | None]:
        """Return the state of a point, and the record of one that ended."""
        trial, written = self.trials.get(name), self.records.get(name)
        if trial and trial.status and trial.status.state != "ended":
            return trial.status.state, None
        record = trial.record(written) if trial else written
        return ("ended", record) if record else ("not started", None)

    def label(self, name: str) -> str:
        """Values that tell a point from the others."""
        return self.labels.get(name, name)

    def spec(self, name: str) -> RunSpec | None:
        """Spec of a point; None where none has been written yet."""
        trial, record = self.trials.get(name), self.records.get(name)
        return (trial.spec if trial else None) or (record.spec if record else None)

    def ends(self, name: str, record: RunRecord | None) -> Iterator[tuple[RunRecord, Path]]:
        """All attempts of a point that ended, the last one first, and the folders of their logs."""
        folder = SweepFolder(self.folder).run(name)
        if record:
            yield record, folder.logs
        trial = self.trials.get(name)
        for earlier in trial.earlier_records() if trial else ():
            yield earlier, folder.attempt(earlier.attempt or 0).logs


def limits(folder: Path) -> Limits:
    """Limits of the command in a sweep's folder, composed again; none where that fails."""
    # Imported here: Hydra takes half a second, and most folders need none of it.
    from launcher.request.compose import compose
    from sweeps import LEARNING

    try:
        command = SweepFolder(folder).command()
        if command.kind != "sweep":
            return Limits()
        config_dir = Path(command.folder, command.config_dir) if command.config_dir else None
        request = compose(
            command.overrides, command.multirun, str(config_dir) if config_dir else None
        )
    except LaunchError:  # none, of another version, or of files that are no longer there
        return Limits()
    sweep = request.points
    return Limits(
        gpu_hours=sweep.stop.gpu_hours,
        trials=sweep.stop.trials,
        may_stop=sweep.strategy is None or sweep.strategy in LEARNING,
    )
