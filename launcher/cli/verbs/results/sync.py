"""Upload the W&B runs that were kept in their folders: ``launch sync``."""

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

SECONDS = 1800.0
"""What the upload of one run may take; wandb itself asks a server that is gone for days."""

ANSWER_SECONDS = 10.0
"""What the server may take to answer; here somebody waits for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The W&B run of one run's folder, of which something has not been uploaded."""

    folder: Path
    parts: tuple[Path, ...]
    """One folder per attempt, uploaded ones too, in the order of their start."""

    @property
    def missing(self) -> int:
        """How many of them have not been uploaded."""
        return sum(not _is_uploaded(part) for part in self.parts)

    @property
    def busy(self) -> bool:
        """Whether it is still being written."""
        try:
            with FileLock(self.folder / "wandb" / ".lock", timeout=0):
                return False
        except Timeout:
            return True


def kept(path: Path) -> list[Kept]:
    """What there is to upload below a folder. Raises ConfigError where there are no runs."""
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    folders = sorted(_runs(path))
    if not folders:
        raise ConfigError(f"{path}: no runs below this folder")
    # A folder's name begins with the time of its start, once what says how it ran is cut off.
    every = [
        Kept(
            folder=f, parts=tuple(sorted(_parts(f), key=lambda part: part.name.split("run-", 1)[1]))
        )
        for f in folders
    ]
    return [run for run in every if run.missing]


def check() -> None:
    """Raise LaunchError where nothing could be uploaded from here."""
    _check_installed("sync")
    url = tracking.server()
    if not tracking.has_key(url):
        raise RequestError(f"no key for {url}: wandb login, or set WANDB_API_KEY")
    if not tracking.answers(url, ANSWER_SECONDS):
        raise WorkError(f"{url} does not answer")


def _check_installed(what: str) -> None:
    if importlib.util.find_spec("wandb") is None:
        raise RequestError(f"{what} needs wandb on this machine: pip install 'megalaunch[train]'")


def upload(run: Kept) -> str | None:
    """Upload a run; None, or why it could not be."""
    # All parts in one command: wandb then puts them together, in their order, as one run.
    words = [sys.executable, "-P", "-m", "wandb", "sync", "--include-online", "--include-synced"]
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}  # it may say offline
    try:
        done = subprocess.run(
            [*words, *map(str, run.parts)], cwd=run.folder, env=environment, timeout=SECONDS,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done within {SECONDS:g} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0 and not run.missing:  # its exit code alone says little
        return None
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return said[-1] if said else f"wandb sync ended with {done.returncode}"


def _runs(path: Path) -> Iterator[Path]:
    """Folders of runs; nothing is looked for in one, where a checkpoint may be thousands."""
    for folder, below, files in os.walk(path):
        if "spec.json" in files:
            below.clear()
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _parts(folder: Path) -> Iterator[Path]:
    for pattern in ("offline-run-*", "run-*"):
        yield from (p for p in (folder / "wandb").glob(pattern) if any(p.glob("*.wandb")))


def _is_uploaded(part: Path) -> bool:
    """wandb's own mark, beside the file it has read to the end."""
    return any(part.glob("*.wandb.synced"))


def log_table(rows: str, folder: Path, project: str) -> None:
    """Have a table, as JSON, be a W&B run by the name of its folder; says where it is.

    Raises:
        ConfigError: a name that W&B would refuse.
        RequestError: wandb is not on this machine.
        WorkError: it could not be logged.
    """
    tracking.Tracking(project=project).check()
    _check_installed("--wandb")
    words = [sys.executable, "-P", "-m", "launcher.workers.tracking.table", "--project", project]
    words += ["--name", folder.resolve().name, "--folder", str(folder)]
    done = subprocess.run(words, input=rows, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkError(f"--wandb: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
    print(f"launch: {done.stdout.strip()}", file=sys.stderr)
