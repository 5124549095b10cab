"""A copy of this project's code, so that editing the checkout changes nothing for queued jobs."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from launcher.errors import WorkError

PACKAGES = ("launcher", "slurm")
"""What runs on the nodes."""

HERE = Path(__file__).parents[1]


def digest() -> str:
    """12 hex digits of the content of the packages."""
    out = hashlib.sha256()
    for path in _files():
        out.update(f"{path.relative_to(HERE)}\0{path.stat().st_size}\0".encode())
        out.update(path.read_bytes())
    return out.hexdigest()[:12]


def snapshot(folder: Path) -> Path:
    """Copy the packages below a folder, once for each content; where the copy is.

    Raises:
        WorkError: the folder cannot be written.
    """
    final = folder / digest()
    try:
        if not final.exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{final.name}."))
            for path in _files():
                target = temporary / path.relative_to(HERE)
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
    found = [path for package in PACKAGES for path in (HERE / package).rglob("*")]
    return sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts)
