"""Uploads to W&B: of the runs that it kept in their folders, and of tables."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from launcher.errors import ConfigError, RequestError, WorkError
from launcher.results import tracking
from launcher.results.run_folder import SPEC, RunFolder
from launcher.spec.tracking import Tracking

UPLOAD_SECONDS = 1800.0
"""Longest upload of one run; wandb itself retries a server that is gone for days."""

ANSWER_SECONDS = 10.0
"""Longest wait for the server's answer: the user waits at the terminal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OfflineRun:
    """A W&B run of one run's folder, of which a part has not been uploaded."""

    folder: Path
    parts: tuple[Path, ...]
    """One folder per attempt, uploaded ones too, in the order of their start."""

    @property
    def missing(self) -> int:
        """Number of parts that have not been uploaded."""
        return sum(not _is_uploaded(part) for part in self.parts)

    @property
    def busy(self) -> bool:
        """True while it is being written."""
        try:
            with FileLock(RunFolder(self.folder).wandb_lock, timeout=0):
                return False
        except Timeout:
            return True


def offline_runs(path: Path) -> list[OfflineRun]:
    """Return the runs below a folder to upload. Raises ConfigError where there are no runs."""
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    folders = sorted(_runs(path))
    if not folders:
        raise ConfigError(f"{path}: no runs below this folder")
    # After "run-" or "offline-run-" a part's name begins with the time of its start.
    runs = [
        OfflineRun(
            folder=folder,
            parts=tuple(sorted(_parts(folder), key=lambda part: part.name.split("run-", 1)[1])),
        )
        for folder in folders
    ]
    return [run for run in runs if run.missing]


def check() -> None:
    """Raise LaunchError where nothing could be uploaded from here."""
    _check_installed("sync")
    url = tracking.server()
    if not tracking.has_key(url):
        raise RequestError(f"no key for {url}: wandb login, or set WANDB_API_KEY")
    if not tracking.answers(url, ANSWER_SECONDS):
        raise WorkError(f"{url} does not answer")


def _check_installed(feature: str) -> None:
    if importlib.util.find_spec("wandb") is None:
        raise RequestError(
            f"{feature} needs wandb on this machine: pip install 'megalaunch[train]'"
        )


def upload(run: OfflineRun) -> str | None:
    """Upload a run; return None, or the reason for which it could not be."""
    # All parts in one command: wandb then joins them, in their order, into one run.
    words = [sys.executable, "-P", "-m", "wandb", "sync", "--include-online", "--include-synced"]
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}  # it may be "offline"
    try:
        process = subprocess.run(
            [*words, *map(str, run.parts)],
            cwd=run.folder,
            env=environment,
            timeout=UPLOAD_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {UPLOAD_SECONDS:g} s"
    except OSError as error:
        return str(error)
    if process.returncode == 0 and not run.missing:  # it exits 0 after some failures too
        return None
    lines = [line.strip() for line in process.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"wandb sync ended with {process.returncode}"


def _runs(path: Path) -> Iterator[Path]:
    """Folders of runs; their insides are skipped: a checkpoint may be thousands of files."""
    for folder, subfolders, files in os.walk(path):
        if SPEC in files:
            subfolders.clear()
            yield Path(folder)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]


def _parts(folder: Path) -> Iterator[Path]:
    for pattern in ("offline-run-*", "run-*"):
        yield from (p for p in RunFolder(folder).wandb.glob(pattern) if any(p.glob("*.wandb")))


def _is_uploaded(part: Path) -> bool:
    """True where wandb has left its mark beside the file, which it read to the end."""
    return any(part.glob("*.wandb.synced"))


def log_table(rows: str, folder: Path, project: str) -> None:
    """Log a table, as JSON, as a W&B run by the name of its folder; print its address.

    Raises:
        ConfigError: a name that W&B would refuse.
        RequestError: wandb is not on this machine.
        WorkError: it could not be logged.
    """
    Tracking(project=project).check()
    _check_installed("--wandb")
    words = [sys.executable, "-P", "-m", "launcher.workers.tracking.table", "--project", project]
    words += ["--name", folder.resolve().name, "--folder", str(folder)]
    process = subprocess.run(words, input=rows, capture_output=True, text=True, check=False)
    if process.returncode:
        raise WorkError(f"--wandb: {(process.stderr.strip() or 'no reason').splitlines()[-1]}")
    print(f"launch: {process.stdout.strip()}", file=sys.stderr)
