"""The records below a folder: what a launcher wrote, and trials that ended without one."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launcher import record
from launcher.backends import BACKENDS
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json
from launcher.folder import RunFolder
from launcher.record import RunRecord

DEPTH = 4
"""Folders below the one that is asked for in which sweeps are looked for."""


def collect(path: Path) -> list[RunRecord]:
    """The records of a run's folder, of a sweep's, or of all the sweeps below a folder.

    Of several sweeps the remark says which one a record is from. What cannot be read is said on
    stderr, and does not keep the rest away.

    Raises:
        ConfigError: there are no runs below the folder.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    if (path / "spec.json").exists():
        found = _ended([path], known=set())
    else:
        records = {folder: _sweep(folder) for folder in sweeps(path)}
        several = len(records) > 1
        found = [_from(r, f, path) if several else r for f, rs in records.items() for r in rs]
    if not found and not runs(path):
        raise ConfigError(f"{path}: no runs below this folder")
    return found


def runs(path: Path) -> list[RunFolder]:
    """The folders of all runs below one. Raises ConfigError."""
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    if (path / "spec.json").exists():
        return [RunFolder(path)]
    return [
        RunFolder(child)
        for sweep in sweeps(path)
        for child in _in_order(sweep)
        if (child / "spec.json").exists()
    ]


def _in_order(sweep: Path) -> list[Path]:
    """What is in a sweep's folder: its points as they were listed, so that stage 10 follows 9."""
    try:
        numbers = {name: number for number, name in enumerate(read_json(sweep / "points.json"))}
    except ReadError:
        numbers = {}
    return sorted(sweep.iterdir(), key=lambda child: (numbers.get(child.name, len(numbers)), child))


def _from(found: RunRecord, folder: Path, above: Path) -> RunRecord:
    place = str(folder.relative_to(above))
    return replace(found, remark=f"{place}: {found.remark}" if found.remark else place)


def sweeps(path: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folder itself where it is a sweep's, else those below it that are. Raises OSError."""
    children = [c for c in sorted(path.iterdir()) if c.is_dir() and not c.name.startswith(".")]
    if (path / "records.jsonl").exists() or any((c / "spec.json").exists() for c in children):
        yield path
    elif depth:
        for child in children:
            yield from sweeps(child, depth - 1)


def _sweep(folder: Path) -> list[RunRecord]:
    """The records file, and the trials that ended without a launcher to write them down."""
    try:
        written = record.read(folder / "records.jsonl")
    except ReadError as error:
        written = []
        _warn(f"{error}; the same launch makes it again, until then only its folders are shown")
    paths = sorted(child for child in folder.iterdir() if (child / "spec.json").exists())
    found = written + _ended(paths, known={one.spec.name for one in written})
    _say_what_is_missing(folder, found)
    return found


def _say_what_is_missing(folder: Path, found: list[RunRecord]) -> None:
    try:
        points = read_json(folder / "points.json")
    except ReadError:
        return
    outcomes = {one.spec.name: one.outcome for one in found}
    left = Counter(_state(folder / name) for name in points if name not in outcomes)
    if left:
        states = ", ".join(f"{count} {state}" for state, count in left.most_common())
        ends = f"{left.total()} of {len(points)} points have not been run to their end yet"
        _warn(f"{folder}: {ends}: {states}")
    cancelled = sum(outcomes.get(name) == "cancelled" for name in points)
    if cancelled:
        ends = f"{cancelled} of {len(points)} points were cancelled"
        _warn(f"{folder}: {ends}; the same launch runs them again")


def _state(path: Path) -> str:
    """Where a run that has not ended stands."""
    status = RunFolder(path).readable_status()
    return status.state if status else "not started"


def _ended(paths: list[Path], known: set[str]) -> list[RunRecord]:
    out = []
    for path in paths:
        folder = RunFolder(path)
        try:
            spec, status = folder.spec(), folder.status()
        except ReadError as error:
            _warn(str(error))
            continue
        if spec.name not in known and status is not None and status.state == "ended":
            out.append(BACKENDS[spec.backend].record(spec, path))
    return out


def _warn(text: str) -> None:
    print(f"launch: {text}", file=sys.stderr)
