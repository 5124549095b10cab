"""Places that a command works with: the cache, the interpreter of the ranks, the code's commit."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from launcher.errors import ConfigError
from launcher.request.request import Request


def cache_folder(request: Request) -> Path:
    """Folder of tokenised data."""
    return Path(request.cache).expanduser().resolve() if request.cache else request.root / ".cache"


def make_cache(request: Request) -> None:
    """Make the folder of tokenised data. Raises ConfigError where that cannot be."""
    path = cache_folder(request)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cache: {path}: {error.strerror}") from error


def code_folder(root: Path) -> Path:
    """Folder of the copies of this project's code that queued jobs run."""
    return root / ".code"


def nearest_existing(path: Path) -> Path:
    """Nearest folder that exists: the path itself, or one above it."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def interpreter(request: Request) -> str:
    """Python of the ranks: a container has its own."""
    options = request.scheduler
    return options.python or ("python3" if options.container else sys.executable)


@cache
def commit() -> str | None:
    """Commit of this project's checkout, ``-dirty`` where files differ; None outside of one."""
    module = Path(__file__)
    try:
        # A repository around an installed copy says nothing about the copy.
        _git(module.parent, "ls-files", "--error-unmatch", module.name)
        return _git(module.parent, "describe", "--always", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
