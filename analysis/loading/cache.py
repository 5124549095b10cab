"""Cache of the rows of a sweep, as they were when it was last read, in a hidden file of it."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from analysis.loading.rows import FACTS, Row
from launcher.errors import WorkError
from launcher.files import write_text
from launcher.results.sweep_folder import SweepFolder


class _File(msgspec.Struct):
    version: str
    columns: list[str]
    rows: dict[str, list[Any]]


def load(sweep: Path) -> dict[str, Row]:
    """Rows by their keys; none where they were made by other code, or cannot be read."""
    try:
        file = msgspec.json.decode(SweepFolder(sweep).table_cache.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    if file.version != _version() or file.columns != list(FACTS):
        return {}
    if any(len(row) != len(FACTS) for row in file.rows.values()):
        return {}
    return {key: dict(zip(FACTS, row, strict=True)) for key, row in file.rows.items()}


def save(sweep: Path, rows: dict[str, Row]) -> None:
    """Cache rows; those of a folder that cannot be written are read anew each time.

    What could not be read is not cached: a file server may have been away.
    """
    values = {key: [row[name] for name in FACTS] for key, row in rows.items() if _is_readable(row)}
    file = _File(version=_version(), columns=list(FACTS), rows=values)
    with suppress(WorkError, ValueError):  # a name that is no text is nothing JSON can hold
        text = msgspec.json.encode(file).decode()
        write_text(SweepFolder(sweep).table_cache, text, durable=False)


def _is_readable(row: Row) -> bool:
    return row["outcome"] != "unreadable" and (row["outcome"], row["attempt"]) != ("failed", None)


PACKAGES = Path(__file__).parents[2]
"""Folder of this package and its siblings."""


@cache
def _version() -> str:
    """Digest of the code that makes rows: other code may make other rows."""
    digest = hashlib.blake2b(digest_size=16)
    for package in ("launcher", "analysis"):
        for path in sorted((PACKAGES / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
