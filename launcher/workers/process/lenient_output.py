"""What a rank prints goes to a file of the run's folder, and a full disk must not end the run."""

import io
import sys
from typing import Any


class Lenient(io.FileIO):
    """A stream that drops what cannot be written."""

    def write(self, data: Any) -> int:
        """Say that all of it is written, whatever became of it."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def spare() -> None:
    """Let stdout and stderr fail silently from now on."""
    sys.stdout = _spared(sys.stdout)
    sys.stderr = _spared(sys.stderr)


def _spared(stream: Any) -> Any:
    try:
        number = stream.fileno()
    except (AttributeError, OSError):  # somebody has replaced it already
        return stream
    raw = Lenient(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, line_buffering=True)
