"""Where the runs are below a folder: of one run, of a sweep, or of many."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from launcher.errors import ConfigError, ReadError
from launcher.files import read_json
from launcher.results import imported
from launcher.results.run_folder import RunFolder

DEPTH = 4
"""Folders below the one that is asked for in which sweeps are looked for."""

SPECS = ("spec.json", imported.NAME)
"""What a run's folder has, one of them."""

TRACES = ("status.json", "metrics.jsonl", "result.json")
"""What shows that a folder was one of a run, where neither is there."""


def is_run(path: Path) -> bool:
    """Whether a folder is that of one run."""
    return any(os.path.exists(f"{path}/{name}") for name in SPECS)


def _is_own(path: Path) -> bool:
    return os.path.exists(path / SPECS[0])


def runs(path: Path, foreign: bool = False) -> list[RunFolder]:
    """The folders of all runs below one; ``foreign``: also of those that were imported.

    Raises:
        ConfigError: it is no folder.
    """
    check(path)
    found = [path] if is_run(path) else [one for sweep in sweeps(path) for one in in_order(sweep)]
    wanted = is_run if foreign else _is_own
    return [RunFolder(one) for one in found if wanted(one)]


def check(path: Path) -> None:
    """Raise ConfigError where a path is no folder that can be read."""
    if not os.path.isdir(path):
        raise ConfigError(f"{path} is not a folder")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ConfigError(f"{path}: Permission denied")


def in_order(sweep: Path) -> list[Path]:
    """The folders in a sweep's: its points as they were listed, so that stage 10 follows 9."""
    numbers = points(sweep)
    return sorted(children(sweep), key=lambda child: numbers.get(child.name, len(numbers)))


def points(sweep: Path) -> dict[str, int]:
    """Names of a sweep's points and their positions, from 0; none where it does not say."""
    try:
        return {name: number for number, name in enumerate(read_json(sweep / "points.json"))}
    except (ReadError, TypeError):
        return {}


def sweeps(path: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folder itself where it is a sweep's, and those below it that are; a sheet that was
    imported is one beside logs that are runs."""
    found = children(path)
    others = [child for child in found if not is_run(child)]
    if os.path.exists(path / "records.jsonl") or len(others) < len(found):
        yield path
    if depth:
        for child in others:
            yield from sweeps(child, depth - 1)


def children(path: Path) -> list[Path]:
    """The folders in one that are not hidden, by name; none where it cannot be read."""
    names: list[str] = []
    with suppress(OSError), os.scandir(path) as entries:
        names = [one.name for one in entries if one.name[0] != "." and _is_folder(one)]
    return [path / name for name in sorted(names)]  # paths take ten times as long to sort


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False
