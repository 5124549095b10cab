"""Standard streams of a forked process, which has those of its parent."""

import os
from pathlib import Path


def redirect(log: Path) -> None:
    """Read from nowhere, and print to a file, which is emptied."""
    for number, path, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        descriptor = os.open(path, flags, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.dup2(1, 2)
