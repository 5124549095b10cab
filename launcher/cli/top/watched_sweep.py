"""One folder of trials that is watched: a sweep's, a curriculum's, or that of one run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.cli.top.tail import Signature, Tail, signature
from launcher.cli.top.watched_trial import Trial
from launcher.decode import decode
from launcher.errors import ConfigError, LaunchError, ReadError
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec
from sweeps.labels import labels

State = Literal["running", "queued", "not started", "ended"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the words that started a sweep say of its end. None is "no limit", or "not known"."""

    gpu_hours: float | None = None
    trials: int | None = None
    may_stop: bool = True
    """The strategy may leave points out, or nobody knows."""


class Sweep:
    """What is known of a folder by now. Points are those of the command that was last given."""

    def __init__(self, folder: Path, shown: Path) -> None:
        """``shown`` is the folder that is asked for: this one, one above, or that of one run."""
        alone = None if folder.is_relative_to(shown) else shown.name
        self.folder, self.shown = folder, shown
        self.trials: dict[str, Trial] = {}
        self.records: dict[str, RunRecord] = {}
        self.labels: Mapping[str, str] = {}
        self.problem: str | None = None
        """What could not be read."""
        self.limits = Limits()
        self._alone = alone
        self._listed: list[str] | None = [alone] if alone else None
        self._records = Tail(SweepFolder(folder).records_file)
        self._damaged = 0
        self._seen: Signature | None = None
        self._composed: Signature | None = None
        self._labelled: dict[str, int] = {}

    def update(self, found: Iterable[RunFolder], composes: bool = True) -> None:
        """Look again at these runs, which are all there are; with ``composes`` at limits too."""
        self.trials = {run.path.name: self.trials.get(run.path.name) or Trial(run) for run in found}
        for trial in self.trials.values():
            trial.update()
        self.problem = None
        if self._alone is None:
            try:
                self._read()
                command = signature(SweepFolder(self.folder).command_file)
                if composes and command != self._composed:
                    self._composed, self.limits = command, limits(self.folder)
            except (OSError, ReadError) as error:
                self.problem = str(error)
        self._label()

    def _read(self) -> None:
        """The records and the points."""
        grown = self._records.read()
        if grown.fresh:
            self.records, self._damaged = {}, 0
        for line in grown.lines:
            try:
                record = decode(RunRecord, line)
                self.records[record.spec.name] = record
            except ConfigError:  # of another version
                self._damaged += 1
        if damaged := self._damaged + self._records.damaged:
            self.problem = f"{self._records.path}: {damaged} of its records cannot be read"
        sweep = SweepFolder(self.folder)
        if (seen := signature(sweep.points_file)) != self._seen:
            self._listed = sweep.points() if seen else None
            self._seen = seen

    def _label(self) -> None:
        specs = {name: self.records[name].spec for name in self.names if name in self.records}
        specs |= {name: one.spec for name, one in self.trials.items() if one.spec}
        now = {name: id(spec) for name, spec in specs.items()}
        if now != self._labelled:
            self._labelled, self.labels = now, labels(list(specs.values()))

    @property
    def names(self) -> list[str]:
        """The points in their order, and what runs of others."""
        if self._listed is None:
            return list(dict.fromkeys([*self.records, *self.trials]))
        others = (name for name, trial in self.trials.items() if trial.live)
        return list(dict.fromkeys([*self._listed, *others]))

    def state(self, name: str) -> tuple[State, RunRecord | None]:
        """Where a point stands, and how it ended where it did."""
        trial, known = self.trials.get(name), self.records.get(name)
        if trial and trial.status and trial.status.state != "ended":
            return trial.status.state, None
        record = trial.record(known) if trial else known
        return ("ended", record) if record else ("not started", None)

    def label(self, name: str) -> str:
        """What tells a point from the others."""
        return self.labels.get(name, name)

    def spec(self, name: str) -> RunSpec | None:
        """What a point is; None where nobody has written it down yet."""
        trial, known = self.trials.get(name), self.records.get(name)
        return (trial.spec if trial else None) or (known.spec if known else None)

    def ends(self, name: str, record: RunRecord | None) -> Iterator[tuple[RunRecord, Path]]:
        """All attempts of a point that ended, the last one first, and the folders of their logs."""
        folder = SweepFolder(self.folder).run(name)
        if record:
            yield record, folder.logs
        trial = self.trials.get(name)
        for one in trial.earlier() if trial else ():
            yield one, folder.attempt(one.attempt or 0).logs


def limits(folder: Path) -> Limits:
    """What the words in a sweep's folder say, composed once more; nothing where they do not."""
    # Hydra takes half a second, which a folder without such words is not to wait for.
    from launcher.request.compose import compose
    from sweeps import LEARNING

    try:
        command = SweepFolder(folder).command()
        if command.kind != "sweep":
            return Limits()
        place = Path(command.folder, command.config_dir) if command.config_dir else None
        request = compose(command.overrides, command.multirun, str(place) if place else None)
    except LaunchError:  # none, of another version, or of files that are no longer there
        return Limits()
    sweep = request.points
    return Limits(
        gpu_hours=sweep.stop.gpu_hours,
        trials=sweep.stop.trials,
        may_stop=sweep.strategy is None or sweep.strategy in LEARNING,
    )
