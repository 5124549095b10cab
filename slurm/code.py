"""A copy of this project's code, so that editing the checkout changes nothing for queued jobs."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import WorkError

PACKAGES = ("launcher", "slurm")
"""What runs on the nodes."""

HERE = Path(__file__).parents[1]


def snapshot(folder: Path) -> tuple[str, Path]:
    """Copy the packages below a folder, once for each content: its digest, and where it is.

    Raises:
        WorkError: the folder cannot be written.
    """
    files = sorted(_files())
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(HERE)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    name = digest.hexdigest()[:12]
    try:
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
            for path in files:
                target = temporary / path.relative_to(HERE)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            temporary.chmod(0o755)
            _appear(temporary, folder / name)
    except OSError as error:
        raise WorkError(f"{error.filename or folder}: {error.strerror}") from error
    return name, folder / name


def _appear(temporary: Path, final: Path) -> None:
    try:
        os.rename(temporary, final)
    except OSError:  # another launcher was first
        shutil.rmtree(temporary)
        if not final.exists():
            raise


def _files() -> Iterator[Path]:
    for package in PACKAGES:
        for path in (HERE / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
