"""JSON lines of a file that grows, each read once; of a file put in its place, all of them."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import ReadError

MARK = 64
"""Bytes before the place that are looked at again: they tell whether it is the same file."""

Signature = tuple[int, int, int]


def signature(path: str | Path) -> Signature | None:
    """What changes with the content of a file; None where there is none. Raises OSError."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class Grown:
    """What a file has more than at the last look."""

    lines: list[dict[str, Any]]
    fresh: bool = False
    """It is another file: what was read before is no longer so."""


@dataclass(slots=True)
class Tail:
    """Where a file was left."""

    path: Path
    most: int | None = None
    """Bytes at its end that are read of a file that is new; None is all of it."""
    damaged: int = 0
    """Lines that are no JSON objects, and left out."""
    written: float | None = None
    """When it last was, in seconds since the epoch; None where there is no file."""
    _seen: Signature | None = field(default=None, init=False)
    _place: int = field(default=0, init=False)
    _mark: bytes = field(default=b"", init=False)

    def read(self) -> Grown:
        """The whole lines since the last call. Raises ReadError."""
        try:
            seen = signature(self.path)
            if seen == self._seen:
                return Grown([])
            if seen is None:
                self._forget()
                self._seen = self.written = None
                return Grown([], fresh=True)
            whole, fresh = self._more(seen)
        except OSError as error:
            raise ReadError(f"{self.path}: {error.strerror}") from error
        self._seen, self.written = seen, seen[1] / 1e9
        return Grown([line for line in map(self._parsed, whole) if line is not None], fresh)

    def _more(self, seen: Signature) -> tuple[list[bytes], bool]:
        """The whole lines after the place, and whether they are of another file."""
        with self.path.open("rb") as file:
            other = self._seen is None or seen[0] != self._seen[0] or seen[2] < self._place
            if not other:
                file.seek(self._place - len(self._mark))
                other = file.read(len(self._mark)) != self._mark
            if other:
                self._forget()
                start = max(seen[2] - self.most, 0) if self.most else 0
                file.seek(start)
                if start:
                    file.readline()  # the rest of a line
                self._place = file.tell()
            data = file.read()
        end = data.rfind(b"\n") + 1  # what follows is half a line
        self._place += end
        self._mark = (self._mark + data[:end])[-MARK:]
        return data[:end].split(b"\n")[:-1], other

    def _forget(self) -> None:
        self._place, self._mark, self.damaged = 0, b"", 0

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        self.damaged += 1
        return None
