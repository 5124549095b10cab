"""Find the runs below a folder: of one run, of a sweep, or of many."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from launcher.errors import ConfigError
from launcher.results.run_folder import SPECS, RunFolder
from launcher.results.sweep_folder import SweepFolder

DEPTH = 4
"""Levels of folders below the given one in which sweeps are looked for."""


def is_run(path: Path) -> bool:
    """Return True if a folder is that of one run."""
    return any(os.path.exists(f"{path}/{name}") for name in SPECS)


def runs(path: Path, foreign: bool = False) -> list[RunFolder]:
    """Find the folders of all runs below one; with ``foreign`` also of those that were imported.

    Raises:
        ConfigError: it is no folder.
    """
    check(path)
    paths = [path] if is_run(path) else [run for sweep in sweeps(path) for run in in_order(sweep)]
    if foreign:
        return [RunFolder(run) for run in paths if is_run(run)]
    return [folder for run in paths if (folder := RunFolder(run)).has_spec]


def some_runs(path: Path) -> list[RunFolder]:
    """Find the folders of all runs below one. Raises ConfigError where there are none."""
    folders = runs(path)
    if not folders:
        raise ConfigError(f"{path}: no runs below this folder")
    return folders


def check(path: Path) -> None:
    """Raise ConfigError where a path is no folder that can be read."""
    if not os.path.isdir(path):
        raise ConfigError(f"{path} is not a folder")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ConfigError(f"{path}: Permission denied")


def in_order(sweep: Path) -> list[Path]:
    """List the folders in a sweep's: its points in their order, so that stage 10 follows 9."""
    positions = SweepFolder(sweep).positions()
    return sorted(children(sweep), key=lambda child: positions.get(child.name, len(positions)))


def sweeps(path: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Find the sweeps at and below a folder.

    A folder of records or of runs is a sweep's; that of an imported sheet may stand beside runs.
    """
    folders = children(path)
    no_runs = [child for child in folders if not is_run(child)]
    if SweepFolder(path).is_sweep or len(no_runs) < len(folders):
        yield path
    if depth:
        for child in no_runs:
            yield from sweeps(child, depth - 1)


def children(path: Path) -> list[Path]:
    """List the folders in one that are not hidden, by name; none where it cannot be read."""
    names: list[str] = []
    with suppress(OSError), os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry)]
    return [path / name for name in sorted(names)]  # paths take ten times as long to sort


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False
