"""Text of a log as it lies on disk: compressed, in UTF-16, with a mark of its encoding."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from launcher.errors import ReadError

SAMPLE = 4096
"""Bytes that an encoding is told by."""

ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
)  # fmt: skip
"""First bytes -> encoding."""

COMPRESSED = (".gz", ".zst", ".xz", ".bz2")
"""Suffixes of compressed files; what they are is told by their first bytes."""


def lines(path: Path) -> Iterator[str]:
    """The lines of a file, one at a time; of one that is cut off, those that are whole in it.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        with path.open("rb") as raw, _decompressed(path, raw) as stream:
            binary = io.BufferedReader(stream)  # type: ignore[arg-type]
            encoding = _encoding(binary.peek(SAMPLE)[:SAMPLE])
            with io.TextIOWrapper(binary, encoding=encoding, errors="replace") as file:
                yield from file
    except EOFError:  # a compressed file that is cut off, as a log may be
        return
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from error
    except (zlib.error, lzma.LZMAError) as error:
        raise ReadError(f"{path}: cannot be decompressed: {error}") from error


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


def _decompressed(path: Path, raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(6)
    raw.seek(0)
    for begin, opener in MAGIC.items():
        if magic.startswith(begin):
            return opener(path, raw)
    return raw


def _zstandard(path: Path, raw: IO[bytes]) -> IO[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise ReadError(
            f"{path}: to read .zst needs zstandard: pip install 'megalaunch[import]'"
        ) from error
    return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)


MAGIC: dict[bytes, Callable[[Path, IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda _, raw: gzip.GzipFile(fileobj=raw),
    b"\x28\xb5\x2f\xfd": _zstandard,
    b"\xfd7zXZ\x00": lambda _, raw: lzma.LZMAFile(raw),
    b"BZh": lambda _, raw: bz2.BZ2File(raw),
}
"""First bytes -> reader of what is behind them."""
