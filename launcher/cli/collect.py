"""The records below a folder: what a launcher wrote, and trials that ended without one."""

from pathlib import Path

from launcher import record
from launcher.backends import BACKENDS
from launcher.errors import ConfigError, ReadError
from launcher.folder import RunFolder
from launcher.record import RunRecord


def collect(path: Path) -> list[RunRecord]:
    """The records of a run's folder, of a sweep's, or of a folder of sweeps.

    Raises:
        ConfigError: there are no runs below the folder.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    if (path / "spec.json").exists():
        found = _ended([path], known=set())
    else:
        found = [r for folder in _sweeps(path) for r in _sweep(folder)]
    if not found:
        raise ConfigError(f"{path}: no runs below this folder")
    return found


def _sweeps(path: Path) -> list[Path]:
    """The folder itself where it is a sweep's, else those right below it that are."""
    children = [c for c in sorted(path.iterdir()) if c.is_dir() and not c.name.startswith(".")]
    own = (path / "records.jsonl").exists() or any((c / "spec.json").exists() for c in children)
    return [path] if own else children


def _sweep(folder: Path) -> list[RunRecord]:
    """The records file, and the trials that ended without a launcher to write them down."""
    written = record.read(folder / "records.jsonl")
    paths = sorted(child for child in folder.iterdir() if (child / "spec.json").exists())
    return written + _ended(paths, known={found.spec.id for found in written})


def _ended(paths: list[Path], known: set[str]) -> list[RunRecord]:
    out = []
    for path in paths:
        folder = RunFolder(path)
        try:
            spec, status = folder.spec(), folder.status()
        except ReadError:
            continue
        if spec.id not in known and status is not None and status.state == "ended":
            out.append(BACKENDS[spec.backend].record(spec, path))
    return out
