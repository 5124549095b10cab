"""A source of runs that this project did not start, and the runs that were read from it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import ReadError
from launcher.results.imported import Imported
from launcher.sheets import aliases
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.shape import ModelShape

BLOCK = 1 << 20

EVENTS = "*tfevents*"
"""Files of TensorBoard."""

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

    @property
    def name(self) -> str:
        """Name for messages and tables."""
        return source_name(self.path)

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


def source_name(path: Path) -> str:
    """The name of a source; with its folder's where that alone tells it from others."""
    path = path.resolve() if path.name in ("", "..") else path
    generic = path.name.lower() in GENERIC
    return f"{path.resolve().parent.name}/{path.name}" if generic else path.name


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all event files of a folder. Raises ReadError."""
    sha256 = hashlib.sha256()
    try:
        for file in sorted(path.rglob(EVENTS)) if path.is_dir() else [path]:
            for block in _blocks(file):
                sha256.update(block)
    except OSError as error:
        raise ReadError(f"{error.filename or path}: {error.strerror}") from error
    return sha256.hexdigest()


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block
