"""A copy of this project's code, so that editing the checkout changes nothing for queued jobs."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from launcher.errors import WorkError

PACKAGES = ("launcher", "slurm")
"""Packages that run on the nodes."""

ROOT = Path(__file__).parents[1]


def digest() -> str:
    """12 hex digits of the content of the packages."""
    hasher = hashlib.sha256()
    for path in _files():
        hasher.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:12]


def snapshot(folder: Path) -> Path:
    """Copy the packages below a folder, once for each content, and return the copy's path.

    Raises:
        WorkError: the folder cannot be written.
    """
    final = folder / digest()
    try:
        if not final.exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{final.name}."))
            for path in _files():
                target = temporary / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            temporary.chmod(0o755)
            _appear(temporary, final)
    except OSError as error:
        raise WorkError(f"{error.filename or folder}: {error.strerror}") from error
    return final


def _appear(temporary: Path, final: Path) -> None:
    try:
        os.rename(temporary, final)
    except OSError:  # another launcher was first
        shutil.rmtree(temporary)
        if not final.exists():
            raise


def _files() -> list[Path]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*")]
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)
