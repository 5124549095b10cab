"""The lines of a run's metrics as they come; a rollback may put another file in their place."""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from launcher.results.run_folder import RunFolder

POLL_SECONDS = 0.5


def follow(folder: RunFolder, over: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Each line once, to the last one of this attempt; after a rollback steps come again.

    Args:
        folder: the run's.
        over: whether nothing more is written.
    """
    attempt = _attempt(folder)
    while not folder.metrics.exists():
        if over():
            return
        time.sleep(POLL_SECONDS)
    # Kept open: the next attempt may move the file before this one has read its last line.
    file: BinaryIO = folder.metrics.open("rb")
    part = b""
    while True:
        last = over()  # asked first: what it wrote before it ended is then there to be read
        *whole, part = (part + file.read()).split(b"\n")
        yield from map(json.loads, whole)
        newer = _newer(folder, file)
        if newer and _attempt(folder) == attempt:  # asked last: its file is the first to be moved
            _skip_common(newer, file, file.tell() - len(part))
            file.close()
            file, part = newer, b""
            continue
        if newer:
            newer.close()
        if last:
            file.close()
            return
        time.sleep(POLL_SECONDS)


def _newer(folder: RunFolder, file: BinaryIO) -> BinaryIO | None:
    """The file that is there by now, opened; None where that is ``file``, or there is none."""
    try:
        newer = folder.metrics.open("rb")
    except FileNotFoundError:
        return None
    if os.path.sameopenfile(newer.fileno(), file.fileno()):
        newer.close()
        return None
    return newer


def _skip_common(newer: BinaryIO, older: BinaryIO, known: int) -> None:
    """Go to the first line of ``newer`` that is not among the first ``known`` bytes of ``older``.

    A rollback copies the lines that stay; no two steps take the same time, so others differ.
    """
    older.seek(0)
    place = 0
    while place < known and (line := newer.readline()) == older.readline():
        place += len(line)
    newer.seek(place)


def _attempt(folder: RunFolder) -> int | None:
    status = folder.readable_status()
    return status.attempt if status else None
