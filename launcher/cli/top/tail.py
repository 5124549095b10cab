"""JSON lines of a file that grows, each read once; a file put in its place is read anew."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import ReadError

MARK = 64
"""Bytes before the position that are compared: another content shows another file."""

Signature = tuple[int, int, int]
"""Inode, time of the last change in ns, and bytes of a file."""


def signature(path: str | Path) -> Signature | None:
    """Return values that change with a file's content; None without a file. Raises OSError."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True, slots=True)
class NewLines:
    """Lines that a file has got since the last call."""

    lines: list[dict[str, Any]]
    fresh: bool = False
    """True where it is another file: lines of earlier calls no longer count."""


@dataclass(slots=True)
class Tail:
    """A file and the position up to which it has been read."""

    path: Path
    max_bytes: int | None = None
    """Bytes at the end of a new file that are read; None is all of it."""
    damaged: int = 0
    """Number of lines that were left out: they are no JSON objects."""
    written: float | None = None
    """Time of the last change, in seconds since the epoch; None where there is no file."""
    _signature: Signature | None = field(default=None, init=False)
    _position: int = field(default=0, init=False)
    _mark: bytes = field(default=b"", init=False)

    def read(self) -> NewLines:
        """Return the complete lines since the last call. Raises ReadError."""
        try:
            current = signature(self.path)
            if current == self._signature:
                return NewLines([])
            if current is None:
                self._forget()
                self._signature = self.written = None
                return NewLines([], fresh=True)
            lines, fresh = self._complete_lines(current)
        except OSError as error:
            raise ReadError(f"{self.path}: {error.strerror}") from error
        self._signature, self.written = current, current[1] / 1e9
        return NewLines([data for data in map(self._parsed, lines) if data is not None], fresh)

    def _complete_lines(self, current: Signature) -> tuple[list[bytes], bool]:
        """Return the complete lines after the position, and True where they are of another file."""
        inode, _, size = current
        with self.path.open("rb") as file:
            replaced = (
                self._signature is None or inode != self._signature[0] or size < self._position
            )
            if not replaced:
                file.seek(self._position - len(self._mark))
                replaced = file.read(len(self._mark)) != self._mark
            if replaced:
                self._forget()
                start = max(size - self.max_bytes, 0) if self.max_bytes else 0
                file.seek(start)
                if start:
                    file.readline()  # the rest of a line
                self._position = file.tell()
            data = file.read()
        end = data.rfind(b"\n") + 1  # what follows is half a line
        self._position += end
        self._mark = (self._mark + data[:end])[-MARK:]
        return data[:end].split(b"\n")[:-1], replaced

    def _forget(self) -> None:
        self._position, self._mark, self.damaged = 0, b"", 0

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            data = json.loads(line)
        except ValueError:
            data = None
        if isinstance(data, dict):
            return data
        self.damaged += 1
        return None
