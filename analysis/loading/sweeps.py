"""The rows of a sweep's folder: what its runs' folders hold, what only records.jsonl has, and what
both were when they were last read."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from analysis.loading import cache, parallel
from analysis.loading.rows import FACTS, UNFINISHED, Row, of_record
from launcher.errors import ConfigError
from launcher.results import find, record
from launcher.results.run_folder import RECORDED, SPECS, TRACES
from launcher.results.sweep_folder import RECORDS, SweepFolder


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a sweep's folder."""

    rows: list[Row]
    """Of all that is known, what has not ended too."""
    notes: list[str] = field(default_factory=list)
    """What else a reader should know: ``records.jsonl:3 cannot be read: ...``."""


def found(sweep: Path) -> Found:
    """The rows of a sweep; only what has changed since the last time is read."""
    prints = dict(_prints(sweep))
    lines = dict(_lines(SweepFolder(sweep).records_file))
    known = cache.load(sweep)
    new = {key: _recorded(key, line) for key, line in lines.items() if key not in known}
    paths = {key: sweep / name for key, name in prints.items() if key not in known}
    new |= dict(zip(paths, parallel.read(list(paths.values())), strict=True))
    rows = {key: known.get(key) or new[key] for key in (*lines, *prints)}
    if new or len(known) > len(rows):
        cache.save(sweep, rows)
    recorded = {rows[key]["name"]: rows[key] for key in lines}
    damaged = [str(row["cause"]) for row in recorded.values() if row["outcome"] is None]
    recorded = {name: row for name, row in recorded.items() if row["outcome"]}
    numbers = SweepFolder(sweep).positions()
    there = [(name, rows[key]) for key, name in prints.items()]
    merged = [_merged(folder, recorded.get(row["name"]), row, numbers) for folder, row in there]
    gone = recorded.keys() - {row["name"] for _, row in there}
    return Found([*merged, *(row for name, row in recorded.items() if name in gone)], damaged)


def _merged(folder: str, noted: Row | None, row: Row, numbers: dict[str, int]) -> Row:
    """A folder is the truth; its record knows its place, and what it was if it runs again."""
    if noted is None:
        name = row["name"]
        return row | {"folder": folder, "row": numbers[name] + 1 if name in numbers else None}
    if row["outcome"] in UNFINISHED:
        return noted | {"folder": folder}
    said = [text for text in (noted["remark"], row["remark"]) if text]
    remark = said[0] if len(said) == 2 and said[1] in said[0] else "; ".join(said) or None
    return row | {"folder": folder, "row": noted["row"], "remark": remark}


def _prints(sweep: Path) -> Iterator[tuple[str, str]]:
    """A key for each run's folder, which is another once a file of it is, and its name."""
    for path in find.in_order(sweep):
        try:
            with os.scandir(path) as entries:
                files = {one.name: one.stat() for one in entries if one.name in RECORDED}
        except OSError as error:
            yield f"{path.name}/{error.errno}", path.name
            continue
        if files.keys() & {*SPECS, *TRACES}:
            told = [f"{n}:{s.st_mtime_ns}:{s.st_size}" for n, s in sorted(files.items())]
            yield f"{path.name}/{' '.join(told)}", path.name


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """A key for each whole line of a records file, and the line."""
    text = b""
    with suppress(OSError):
        text = path.read_bytes()
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        digest = hashlib.blake2b(line, digest_size=16).hexdigest()
        yield f"{RECORDS}:{number} {digest}", line


def _recorded(key: str, line: bytes) -> Row:
    """The row of a record; without an outcome where it cannot be read."""
    try:
        return of_record(record.decoded(msgspec.json.decode(line)))
    except (ConfigError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        place, _ = key.split()
        cause = f"{place} cannot be read: {error}; the same launch makes it again"
        return dict.fromkeys(FACTS) | {"name": cause, "cause": cause}
