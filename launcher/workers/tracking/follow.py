"""Follow the lines of a run's metrics as they come; a rollback may replace the file meanwhile."""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from launcher.results.run_folder import RunFolder

POLL_SECONDS = 0.5


def follow(folder: RunFolder, over: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yield each line once, to the last one of this attempt; after a rollback steps come again.

    Args:
        folder: the run's.
        over: returns True once nothing more is written.
    """
    attempt = _attempt(folder)
    while not folder.metrics.exists():
        if over():
            return
        time.sleep(POLL_SECONDS)
    # Kept open: the next attempt may move the file before this one has read its last line.
    file: BinaryIO = folder.metrics.open("rb")
    partial = b""
    while True:
        # Called before reading: what the rank wrote before its end is then certain to be read.
        is_last_look = over()
        *lines, partial = (partial + file.read()).split(b"\n")
        yield from map(json.loads, lines)
        newer = _newer(folder, file)
        # Read after the file: a new attempt moves the file first and then writes its status.
        if newer and _attempt(folder) == attempt:
            _skip_common(newer, file, file.tell() - len(partial))
            file.close()
            file, partial = newer, b""
            continue
        if newer:
            newer.close()
        if is_last_look:
            file.close()
            return
        time.sleep(POLL_SECONDS)


def _newer(folder: RunFolder, file: BinaryIO) -> BinaryIO | None:
    """Open the file that has replaced ``file`` by now; None where none has."""
    try:
        newer = folder.metrics.open("rb")
    except FileNotFoundError:
        return None
    if os.path.sameopenfile(newer.fileno(), file.fileno()):
        newer.close()
        return None
    return newer


def _skip_common(newer: BinaryIO, older: BinaryIO, limit: int) -> None:
    """Go to the first line of ``newer`` that is not among the first ``known`` bytes of ``older``.

    A rollback copies the lines that stay; no two steps take the same time, so others differ.
    """
    older.seek(0)
    offset = 0
    while offset < limit and (line := newer.readline()) == older.readline():
        offset += len(line)
    newer.seek(offset)


def _attempt(folder: RunFolder) -> int | None:
    status = folder.readable_status()
    return status.attempt if status else None
