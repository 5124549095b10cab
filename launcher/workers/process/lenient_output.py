"""Standard output that a full disk cannot break: a rank's goes to a file of the run's folder."""

import io
import sys
from typing import Any


class LenientFile(io.FileIO):
    """A stream that drops what cannot be written."""

    def write(self, data: Any) -> int:
        """Write, and report success in any case."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def install() -> None:
    """Let stdout and stderr fail silently from now on."""
    sys.stdout = _lenient(sys.stdout)
    sys.stderr = _lenient(sys.stderr)


def _lenient(stream: Any) -> Any:
    try:
        number = stream.fileno()
    except (AttributeError, OSError):  # somebody has replaced it already
        return stream
    raw = LenientFile(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, line_buffering=True)
