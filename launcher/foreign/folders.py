"""Where imported runs are kept: a folder of the source's name, replaced whole or left alone."""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.errors import ReadError, WorkError
from launcher.files import UMASK, write_text
from launcher.foreign.source import GENERIC, Found
from launcher.results import imported
from launcher.results.imported import Imported
from launcher.results.run_folder import RunFolder

ROW = "row-{:04d}"
"""The folder of a sheet's row."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a source."""

    folder: Path
    state: Literal["there", "grown", "new"]
    """The same source was read before; an earlier state of it was; neither."""


def place(parent: Path, path: Path, sha256: str) -> Place:
    """Where a source belongs: where it was read to before, else a name that is free.

    Raises:
        ReadError: it has no name.
    """
    stem = _stem(path)
    here, candidates = str(path.resolve()), []
    for number in itertools.count(1):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            candidates.append(Place(folder, "new"))
            break
        kept = _kept(folder)
        if kept and kept.sha256 == sha256:
            return Place(folder, "there")
        if kept and kept.path == here:
            candidates.insert(0, Place(folder, "grown"))
    return candidates[0]


def _stem(path: Path) -> str:
    """What its folder is called: not hidden, and not as every run's folder of events is."""
    whole = path.resolve() if path.name in ("", "..") else path
    if whole.is_dir() and whole.name.lower() in GENERIC:
        whole = whole.resolve().parent
    stem = (whole.name if whole.is_dir() else whole.stem).lstrip(".")
    if not stem:
        raise ReadError(f"{path}: no folder can be called after it: name a folder below it")
    return stem


def _kept(folder: Path) -> Imported | None:
    """What was imported to a folder; None where it is something else."""
    for path in (folder, folder / ROW.format(1)):
        try:
            return imported.read(path)
        except ReadError:
            continue
    return None


def put(folder: Path, runs: Sequence[Found]) -> None:
    """Write the runs of a source, one of a log in the folder itself: all of them or nothing.

    Raises:
        WorkError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise WorkError(f"{folder}: {error.strerror}") from error
    try:
        _write(made, runs)
        made.chmod(0o777 & ~UMASK)
        _replace(folder, made)
    except OSError as error:
        raise WorkError(f"{folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(made: Path, runs: Sequence[Found]) -> None:
    of_sheet = any(run.imported.format == "sheet" for run in runs)
    for number, run in enumerate(runs, 1):
        folder = made / ROW.format(number) if of_sheet else made
        folder.mkdir(exist_ok=True)
        lines = [json.dumps(line, allow_nan=False) for line in run.lines]
        if lines:
            write_text(RunFolder(folder).metrics, "\n".join(lines) + "\n", durable=False)
        imported.write(folder, run.imported)


def _replace(folder: Path, made: Path) -> None:
    """A folder cannot be renamed over one with files: the old one steps aside first."""
    aside = made.with_name(f"{made.name}.old")
    if folder.exists():
        os.rename(folder, aside)
    try:
        os.rename(made, folder)
    except OSError:
        if aside.exists():  # what was there is better than nothing
            os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
