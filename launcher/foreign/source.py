"""What is to be read, and what was found in it."""

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
"""What folders of events are called in every run."""


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
        """What it is called where it is shown."""
        return called(self.path)

    def accelerator(self, named: str | None) -> Accelerator | None:
        """The card that a log names; None where its peaks are not known."""
        name = self.hardware or named
        if name is None:
            return None
        machine = aliases.machine(name, self.clusters)
        return machine.cluster.accelerator if machine.assumed is None else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A run of a source."""

    imported: Imported
    lines: list[dict[str, Any]]
    """Its metrics."""
    total: int | None = None
    """Steps it was to do."""
    remarks: tuple[str, ...] = ()
    """What of the whole source was not read, one line each; with its first run."""
    unread: int = 0
    """Lines that look like one of a step, and cannot be read."""
    first_unread: str | None = None


def called(path: Path) -> str:
    """The name of a source; with its folder's where that alone tells it from others."""
    whole = path.resolve() if path.name in ("", "..") else path
    generic = whole.name.lower() in GENERIC
    return f"{whole.resolve().parent.name}/{whole.name}" if generic else whole.name


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all event files of a folder. Raises ReadError."""
    found = hashlib.sha256()
    try:
        for file in sorted(path.rglob(EVENTS)) if path.is_dir() else [path]:
            for block in _blocks(file):
                found.update(block)
    except OSError as error:
        raise ReadError(f"{error.filename or path}: {error.strerror}") from error
    return found.hexdigest()


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block
