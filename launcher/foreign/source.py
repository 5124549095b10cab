"""A source of runs that this project did not start, and the runs that were read from it."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import ReadError
from launcher.foreign.logs.text import COMPRESSED
from launcher.results.imported import Imported
from launcher.sheets import aliases
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.shape import ModelShape

BLOCK = 1 << 20

EVENTS = "*tfevents*"
"""Files of TensorBoard."""

LOG_NAME = re.compile(
    r"\.(?:log|out|err|txt|stdout|stderr|[oe]?\d+)$|\.log\."
    r"|^(?:[^.]*(?:log|out|err|rank|node|task)[^.]*|\d+)$"
)
"""Names of logs: of torchrun, SLURM, PBS, and of one for each rank, with a suffix or without."""
NO_LOG = re.compile(r"core\.|readme|requirements|license|notice|changelog")
"""Names of other files that lie beside logs: of dumps, and of texts that may quote errors."""

GENERIC = ("tensorboard", "tb", "tb_logs")
"""Names that folders of events have in every run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file or a folder."""

    path: Path
    sha256: str
    clusters: Mapping[str, Cluster]
    """By name: a card that a log names has the peaks of the cluster with that card."""
    models: Mapping[str, ModelShape]
    """By name, for sheets that name a model."""
    hardware: str | None = None
    """The card, where the user says so."""
    of: tuple[Path, ...] = ()
    """Files that it is made of, where these are several that were named one by one."""

    @property
    def name(self) -> str:
        """Name for messages and tables."""
        return source_name(self.path, *self.of[1:])

    @property
    def files(self) -> Sequence[Path]:
        """The files of a log."""
        return self.of or (log_files(self.path) if self.path.is_dir() else [self.path])

    def accelerator(self, card: str | None) -> Accelerator | None:
        """The card that a log names; None where its peaks are not known."""
        name = self.hardware or card
        if name is None:
            return None
        machine = aliases.machine(name, self.clusters)
        return machine.cluster.accelerator if machine.assumed is None else None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRun:
    """A run of a source."""

    imported: Imported
    lines: list[dict[str, Any]]
    """Its metrics."""
    total: int | None = None
    """Steps it was to do."""
    remarks: tuple[str, ...] = ()
    """Parts of the whole source that were not read, one line each; with its first run."""
    unread: int = 0
    """Lines that look like one of a step, and cannot be read."""
    first_unread: str | None = None


def source_name(path: Path, *others: Path) -> str:
    """The name of a source; with its folder's where that alone tells it from others."""
    path = path.resolve() if path.name in ("", "..") else path
    generic = path.name.lower() in GENERIC
    name = f"{path.resolve().parent.name}/{path.name}" if generic else path.name
    return " + ".join([name, *(other.name for other in others)])


def has_events(folder: Path) -> bool:
    """Return True for a folder in or below which TensorBoard has written."""
    return next(folder.rglob(EVENTS), None) is not None


def log_files(folder: Path) -> list[Path]:
    """Files in and below a folder that are called as logs are, but for empty and hidden ones."""
    files = (file for file in sorted(folder.rglob("*")) if not _hidden(file.relative_to(folder)))
    return [file for file in files if _called_as_logs_are(file) and file.stat().st_size]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _called_as_logs_are(file: Path) -> bool:
    name = file.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return bool(LOG_NAME.search(name)) and not NO_LOG.match(name) and file.is_file()


def digest(path: Path, *others: Path) -> str:
    """SHA-256 of files, or of all event files of a folder, else of its logs. Raises ReadError."""
    sha256 = hashlib.sha256()
    try:
        for file in _content(path) if path.is_dir() else [path, *others]:
            for block in _blocks(file):
                sha256.update(block)
    except OSError as error:
        raise ReadError(f"{error.filename or path}: {error.strerror}") from error
    return sha256.hexdigest()


def _content(folder: Path) -> list[Path]:
    return sorted(folder.rglob(EVENTS)) or log_files(folder)


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block
