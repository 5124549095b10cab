"""Text of a log as it lies on disk: compressed, in UTF-16, with a mark of its encoding."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from launcher.errors import ReadError

SAMPLE = 4096
"""Bytes that an encoding is told by."""

ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""First bytes -> encoding."""

COMPRESSED = (".gz", ".zst", ".xz", ".bz2")
"""Suffixes of compressed files; what they are is told by their first bytes."""


def lines(path: Path) -> Iterator[str]:
    """The lines of a file, one at a time; of one that is cut off, those that are whole in it.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        with _opened(path) as file:
            encoding = _encoding(file.read(SAMPLE))
        with io.TextIOWrapper(_opened(path), encoding=encoding, errors="replace") as text:
            yield from text
    except EOFError:  # a compressed file that is cut off, as a log may be
        return
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from error
    except _damages() as error:
        raise ReadError(f"{path}: cannot be decompressed: {error}") from error


def _damages() -> tuple[type[Exception], ...]:
    """Errors of files that are damaged."""
    zstandard = sys.modules.get("zstandard")  # imported by now, if it was needed
    return (zlib.error, lzma.LZMAError, *([zstandard.ZstdError] if zstandard else []))


def stem(path: Path) -> str:
    """Name of a file without its suffix: ``run.log.gz`` is of ``run``."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.stem


def _encoding(sample: bytes) -> str:
    for mark, encoding in ENCODINGS:
        if sample.startswith(mark):
            return encoding
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) > len(sample) / 8:  # no mark, but every other byte is of a half empty pair
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8"


def _opened(path: Path) -> Any:
    """A binary file of what is in another, however that is compressed."""
    with path.open("rb") as file:
        magic = file.read(6)
    opener = next((OPENERS[begin] for begin in OPENERS if magic.startswith(begin)), None)
    return opener(path) if opener else path.open("rb")


def _zstandard(path: Path) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ReadError(
            f"{path}: to read .zst needs zstandard: pip install 'megalaunch[import]'"
        ) from error
    return zstandard.open(path, "rb")


OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\x28\xb5\x2f\xfd": _zstandard,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
"""First bytes -> opener of what is behind them."""
