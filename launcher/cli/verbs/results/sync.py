"""``launch sync``: upload the W&B runs that were kept in their folders."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from launcher.cli.parser import new_parser, parse
from launcher.cli.verb import Verb
from launcher.errors import ConfigError, RequestError, WorkError
from launcher.results import tracking
from launcher.results.run_folder import SPEC, RunFolder
from launcher.spec.tracking import Tracking

DESCRIPTION = """Upload the W&B runs that were kept in their folders, one line each. What is
uploaded is not uploaded again."""

SECONDS = 1800.0
"""Longest upload of one run; wandb itself asks a server that is gone for days."""

ANSWER_SECONDS = 10.0
"""Longest wait for the server's answer; here somebody waits for it."""


def sync(words: Sequence[str]) -> int:
    """Upload the W&B runs that were kept offline; 1 where one of them could not be."""
    parser = new_parser("sync", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a run, of a sweep, or of many")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    options = parse(parser, words)
    path = Path(options.folder).expanduser()
    runs = offline_runs(path)
    if not runs:
        print("nothing to upload")
        return 0
    if not options.dry_run:
        check()
    codes = [_sync(run, str(run.folder.relative_to(path)), options.dry_run) for run in runs]
    return max(codes)


def _sync(run: "OfflineRun", name: str, dry_run: bool) -> int:
    if run.busy:
        print(f"running   {name}", flush=True)
        return 0
    if dry_run:
        print(f"to upload {name}")
        return 0
    reason = upload(run)
    print(f"failed    {name}: {reason}" if reason else f"uploaded  {name}", flush=True)
    return 1 if reason else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OfflineRun:
    """The W&B run of one run's folder, of which a part has not been uploaded."""

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
    """The runs below a folder to be uploaded. Raises ConfigError where there are no runs."""
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder")
    folders = sorted(_runs(path))
    if not folders:
        raise ConfigError(f"{path}: no runs below this folder")
    # A folder's name begins with the time of its start, once what says how it ran is cut off.
    every = [
        OfflineRun(
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


def upload(run: OfflineRun) -> str | None:
    """Upload a run; None, or the reason for which it could not be."""
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
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"wandb sync ended with {done.returncode}"


def _runs(path: Path) -> Iterator[Path]:
    """Folders of runs; nothing is looked for in one, where a checkpoint may be thousands."""
    for folder, below, files in os.walk(path):
        if SPEC in files:
            below.clear()
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _parts(folder: Path) -> Iterator[Path]:
    for pattern in ("offline-run-*", "run-*"):
        yield from (p for p in RunFolder(folder).wandb.glob(pattern) if any(p.glob("*.wandb")))


def _is_uploaded(part: Path) -> bool:
    """wandb's own mark, beside the file it has read to the end."""
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
    done = subprocess.run(words, input=rows, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkError(f"--wandb: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
    print(f"launch: {done.stdout.strip()}", file=sys.stderr)


VERB = Verb(
    name="sync",
    usage="DIR",
    summary="upload the W&B runs that were kept in their folders",
    run=sync,
)
