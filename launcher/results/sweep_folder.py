"""Folder of a sweep, a curriculum or a single run, around the folders of its runs.

records.jsonl  one RunRecord a line; made again from the runs' folders, but for rejected points
points.json    names of all points of the last command, in their order
request.json   SavedCommand: the words that started it, for `launch resume`
.lock          held by the launcher at work; .lock.holder names its process and machine
.table.json    the rows of the last table, so that only what has changed is read again
<name>/        `launcher.results.run_folder.RunFolder` of one point

A single run keeps its request.json in its own folder: others may stand beside it.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json, write_text
from launcher.results import record
from launcher.results.columns import GOALS, SPEED
from launcher.results.record import RunRecord
from launcher.results.run_folder import SPEC, RunFolder

RECORDS, POINTS, REQUEST = "records.jsonl", "points.json", "request.json"
TABLE_CACHE, LOCK, LOCK_HOLDER = ".table.json", ".lock", ".lock.holder"

Kind = Literal["curriculum", "sweep", "run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedCommand:
    """Words of a command, to be composed again."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dir: str | None = None
    folder: str
    """Working directory of the command, to which paths in its words are relative."""
    kind: Kind | None = None
    """Kind of what the words started; None where they have started nothing yet."""
    start: str | None = None
    """Folder of the run that this one goes on from, beside its own."""
    goal: str | None = None
    """Column that the sweep looks for the best of; None of anything else."""


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """Paths below a sweep's folder, and the only code that names its files."""

    path: Path

    @property
    def best(self) -> Path:
        """The fastest run, as a file that ``launch --config`` starts the real run from."""
        return self.path / "best.yaml"

    def run(self, name: str) -> RunFolder:
        """Folder of a point, which need not be there."""
        return RunFolder(self.path / name)

    def runs(self) -> list[RunFolder]:
        """List the folders of all runs that this project started here, by name."""
        return [RunFolder(path.parent) for path in sorted(self.path.glob(f"*/{SPEC}"))]

    def single_runs(self) -> list["SweepFolder"]:
        """List the folders in this one that keep a command of their own, by name."""
        return [SweepFolder(path.parent) for path in sorted(self.path.glob(f"*/{REQUEST}"))]

    def make(self) -> None:
        """Make the folder. Raises ConfigError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output: {self.path}: {error.strerror}") from error

    @property
    def is_sweep(self) -> bool:
        """True where this project has kept records of points."""
        return os.path.exists(self.records_file)

    @property
    def is_own(self) -> bool:
        """True where a command of this project has worked here, imports aside."""
        return self.is_sweep or self.points_file.exists()

    # Records.

    @property
    def records_file(self) -> Path:
        """File of one JSON line per record."""
        return self.path / RECORDS

    def records(self) -> list[RunRecord]:
        """Read the records so far; none where there is no file. Raises ReadError."""
        return record.read(self.records_file)

    def write_records(self, records: Iterable[RunRecord]) -> None:
        """Replace the records. Raises WorkError."""
        record.write(self.records_file, records)

    def append_record(self, new: RunRecord) -> None:
        """Add a record. Raises WorkError."""
        record.append(self.records_file, new)

    # Points.

    @property
    def points_file(self) -> Path:
        """JSON list of the names of the points."""
        return self.path / POINTS

    def points(self) -> list[str]:
        """Read the names of the points in their order. Raises ReadError."""
        names = read_json(self.points_file)
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ReadError(f"{self.points_file}: not a list of the names of points")
        return names

    def positions(self) -> dict[str, int]:
        """Read the positions of the points, from 0, by name; none where they cannot be read."""
        try:
            return {name: position for position, name in enumerate(self.points())}
        except ReadError:
            return {}

    def write_points(self, names: Iterable[str]) -> None:
        """Replace the names of the points. Raises WorkError."""
        write_json(self.points_file, list(names))

    # The command that started it.

    @property
    def command_file(self) -> Path:
        """`SavedCommand` of what is here."""
        return self.path / REQUEST

    def command(self) -> SavedCommand:
        """Read the words that started what is here. Raises ReadError, ConfigError."""
        return decode(SavedCommand, read_json(self.command_file))

    @property
    def goal(self) -> str:
        """Column that its command sought the best of; speed where that is not known."""
        with suppress(ConfigError, ReadError):
            goal = self.command().goal
            return goal if goal in GOALS else SPEED
        return SPEED

    def overrides(self) -> dict[str, Any]:
        """Parse the overrides that started it; none where they cannot be read."""
        try:
            overrides = read_json(self.command_file)["overrides"]
            pairs = [str(override).partition("=") for override in overrides]
        except (ReadError, KeyError, TypeError):
            return {}
        values = {}
        for key, _, text in pairs:
            with suppress(yaml.YAMLError):  # a text of Hydra's grammar alone
                values[key.lstrip("+")] = yaml.safe_load(text)
        return values

    @property
    def price_per_gpu_hour(self) -> float | None:
        """Price of one GPU hour, where the command said it."""
        price = self.overrides().get("price_per_gpu_hour")
        return float(price) if isinstance(price, int | float) else None

    def save_command(self, command: SavedCommand) -> None:
        """Replace the words that start this again. Raises WorkError."""
        write_json(self.command_file, encode(command))

    def withdraw_command(self) -> None:
        """Forget the words of an earlier command."""
        self.command_file.unlink(missing_ok=True)

    # The table's cache.

    @property
    def table_cache(self) -> Path:
        """Rows of the last table."""
        return self.path / TABLE_CACHE

    # The lock.

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other launchers out of the folder meanwhile; a kill frees it too.

        Raises:
            ConfigError: the folder cannot be written, or another launcher is at work in it.
        """
        lock, holder = FileLock(self.path / LOCK, mode=0o666), self.path / LOCK_HOLDER
        self.make()
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            message = f"output: another launch is at work in {self.path}{_describe(holder)}"
            raise ConfigError(message) from error
        except OSError as error:
            raise ConfigError(f"output: {self.path}: {error.strerror}") from error
        try:
            write_text(holder, f"process {os.getpid()} on {socket.gethostname()}", durable=False)
            yield
        finally:
            lock.release()


def _describe(holder: Path) -> str:
    """Name the process that has the lock; "" where it has not written itself down yet."""
    try:
        return f": {holder.read_text(encoding='utf-8')}"
    except OSError:
        return ""
