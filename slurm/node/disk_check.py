"""Checks of a folder: it can be written and read back, and has room for the checkpoints to come."""

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from launcher.files import UNSUPPORTED, allocate, format_bytes

CHUNK = 1 << 20
FILE = 16 << 30
"""Bytes of one reserved file: about what one rank writes. A single file of everything would ask one
server of a striped file system (a Lustre OST) for what a checkpoint's files take from all."""
MAX_FILES = 256
"""Below the usual 1024 open files of a process."""


def probe(folder: Path, count: int) -> str | None:
    """Write ``count`` bytes, read them back, and leave nothing; return the fault, or None."""
    seed = os.urandom(16)  # new bytes each time, so that no server can answer from a cache
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for chunk in _chunks(seed, count):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            # Out of this machine's memory, or it is not the disk that is read.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            intact = all(file.read(len(chunk)) == chunk for chunk in _chunks(seed, count))
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None if intact else f"{folder}: what is read back is not what was written"


def reserve(folder: Path, count: int) -> str | None:
    """Take ``count`` bytes of the disk and give them back; return the fault, or None.

    Room by statvfs is no promise: it knows no quota, and on Lustre it is the sum over servers one
    of which may be full. No room by statvfs is reason enough not to fill the disk.
    """
    reason = _room(folder, count)
    if reason is not None:
        return reason
    try:
        with ExitStack() as files:
            for part in _parts(count):
                file = files.enter_context(tempfile.TemporaryFile(dir=folder))
                allocate(file.fileno(), part)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            return f"{folder}: no room for {format_bytes(count)} of checkpoints: {error.strerror}"
    return None


def _room(folder: Path, count: int) -> str | None:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free >= count or disk.f_blocks == 0:  # FUSE may not know
        return None
    return (
        f"{folder}: no room for {format_bytes(count)} of checkpoints: {format_bytes(free)} are free"
    )


def _chunks(seed: bytes, count: int) -> Iterator[bytes]:
    numbers = random.Random(seed)
    for start in range(0, count, CHUNK):
        yield numbers.randbytes(min(CHUNK, count - start))


def _parts(count: int) -> Iterator[int]:
    part = max(FILE, -(-count // MAX_FILES))
    for start in range(0, count, part):
        yield min(part, count - start)
