"""Folders of imported runs: each has its source's name, and is replaced whole or left alone."""

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
from launcher.foreign.logs import text
from launcher.foreign.source import GENERIC, SourceRun
from launcher.results import imported
from launcher.results.imported import Imported
from launcher.results.run_folder import RunFolder

ROW = "row-{:04d}"
"""The folder of a sheet's row."""


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """The folder that a source is imported to."""

    folder: Path
    state: Literal["there", "grown", "new"]
    """There: the same source was read to it. Grown: an earlier state of it was. New: neither."""


def target(parent: Path, path: Path, sha256: str) -> ImportTarget:
    """Folder of a source below another: the one it was read to before, else a name that is free.

    Raises:
        ReadError: it has no name.
    """
    stem = _stem(path)
    source_path, candidates = str(path.resolve()), []
    for number in itertools.count(1):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            candidates.append(ImportTarget(folder, "new"))
            break
        earlier = _earlier_import(folder)
        if earlier and earlier.sha256 == sha256:
            return ImportTarget(folder, "there")
        if earlier and earlier.path == source_path:
            candidates.insert(0, ImportTarget(folder, "grown"))
    return candidates[0]


def _stem(path: Path) -> str:
    """Name of its folder: not hidden, and not as every run's folder of events is."""
    source = path.resolve() if path.name in ("", "..") else path
    if source.is_dir() and source.name.lower() in GENERIC:
        source = source.resolve().parent
    stem = (source.name if source.is_dir() else text.stem(source)).lstrip(".")
    if not stem:
        raise ReadError(f"{path}: no folder can be called after it: name a folder below it")
    return stem


def _earlier_import(folder: Path) -> Imported | None:
    """Run that was imported to a folder; None where it is something else."""
    for path in (folder, folder / ROW.format(1)):
        try:
            return imported.read(path)
        except ReadError:
            continue
    return None


def put(folder: Path, runs: Sequence[SourceRun]) -> None:
    """Write the runs of a source, one of a log in the folder itself: all of them or nothing.

    Raises:
        WorkError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise WorkError(f"{folder}: {error.strerror}") from error
    try:
        _write(temporary, runs)
        temporary.chmod(0o777 & ~UMASK)  # mkdtemp lets nobody else in
        _replace(folder, temporary)
    except OSError as error:
        raise WorkError(f"{folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(parent: Path, runs: Sequence[SourceRun]) -> None:
    of_sheet = any(run.imported.format == "sheet" for run in runs)
    for number, run in enumerate(runs, 1):
        folder = parent / ROW.format(number) if of_sheet else parent
        folder.mkdir(exist_ok=True)
        lines = [json.dumps(line, allow_nan=False) for line in run.lines]
        if lines:
            write_text(RunFolder(folder).metrics, "\n".join(lines) + "\n", durable=False)
        imported.write(folder, run.imported)


def _replace(folder: Path, temporary: Path) -> None:
    """Move a folder to where another may be: none is renamed over one that has files."""
    aside = temporary.with_name(f"{temporary.name}.old")
    if folder.exists():
        os.rename(folder, aside)
    try:
        os.rename(temporary, folder)
    except OSError:
        if aside.exists():  # what was there is better than nothing
            os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
