"""Rows of a sweep's folder, in three steps: scan what is there, load what is new, merge the two.

A row comes of a run's folder or of a line of records.jsonl alone; a cache in the folder keeps both
as they were when they were last read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from analysis.loading import cache, parallel
from analysis.loading.rows import FACTS, UNFINISHED, Row, of_record
from launcher.errors import ConfigError
from launcher.results import find
from launcher.results.record import RunRecord
from launcher.results.run_folder import RECORDED, SPECS, TRACES
from launcher.results.sweep_folder import RECORDS, SweepFolder


@dataclass(frozen=True, slots=True)
class SweepRows:
    """Rows of a sweep."""

    rows: list[Row]
    """All points that are known, those too that have not ended."""
    notes: list[str]
    """Lines that a reader should know: ``records.jsonl:3 cannot be read: ...``."""


@dataclass(frozen=True, slots=True)
class RunState:
    """A run's folder in a state that its files were in."""

    key: str
    """Key of its row in the cache; another one once a file is."""
    path: Path


@dataclass(frozen=True, slots=True)
class RecordLine:
    """One whole line of records.jsonl."""

    key: str
    """Key of its row in the cache; another one once its text is."""
    number: int
    """Position in the file, from 1."""
    text: bytes


@dataclass(frozen=True, slots=True)
class SweepContents:
    """Whatever in a sweep's folder has a row."""

    runs: Sequence[RunState]
    """In the order of the points."""
    lines: Sequence[RecordLine]
    positions: Mapping[str, int]
    """Name of a point -> its position, from 0."""


def read(sweep: Path) -> SweepRows:
    """Rows of a sweep; only what has changed since the last time is read."""
    contents = _scan(sweep)
    return _merge(contents, _load(sweep, contents))


def _scan(sweep: Path) -> SweepContents:
    return SweepContents(
        runs=list(_run_states(sweep)),
        lines=list(_record_lines(SweepFolder(sweep).records_file)),
        positions=SweepFolder(sweep).positions(),
    )


def _run_states(sweep: Path) -> Iterator[RunState]:
    for path in find.in_order(sweep):
        try:
            with os.scandir(path) as entries:
                files = {entry.name: entry.stat() for entry in entries if entry.name in RECORDED}
        except OSError as error:
            yield RunState(f"{path.name}/{error.errno}", path)
            continue
        if files.keys() & {*SPECS, *TRACES}:
            stamps = [f"{n}:{s.st_mtime_ns}:{s.st_size}" for n, s in sorted(files.items())]
            yield RunState(f"{path.name}/{' '.join(stamps)}", path)


def _record_lines(path: Path) -> Iterator[RecordLine]:
    text = b""
    with suppress(OSError):
        text = path.read_bytes()
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        digest = hashlib.blake2b(line, digest_size=16).hexdigest()
        yield RecordLine(f"{RECORDS}:{number} {digest}", number, line)


def _load(sweep: Path, contents: SweepContents) -> dict[str, Row]:
    """Row of each key; what is not in the cache is read, and put there."""
    cached = cache.load(sweep)
    new_runs = [run for run in contents.runs if run.key not in cached]
    new = {line.key: _row_of_line(line) for line in contents.lines if line.key not in cached}
    read_rows = parallel.read([run.path for run in new_runs])
    new |= {run.key: row for run, row in zip(new_runs, read_rows, strict=True)}
    keys = [*(line.key for line in contents.lines), *(run.key for run in contents.runs)]
    rows = {key: cached.get(key) or new[key] for key in keys}
    if new or len(cached) > len(rows):
        cache.save(sweep, rows)
    return rows


def _row_of_line(line: RecordLine) -> Row:
    """Row of a record; one without an outcome where it cannot be read."""
    try:
        return of_record(RunRecord.from_json(msgspec.json.decode(line.text)))
    except (ConfigError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        where = f"{RECORDS}:{line.number}"
        cause = f"{where} cannot be read: {error}; the same launch makes it again"
        return dict.fromkeys(FACTS) | {"name": cause, "cause": cause}


def _merge(contents: SweepContents, rows: Mapping[str, Row]) -> SweepRows:
    """One row a point: of its folder, with what its record knows besides, else of its record."""
    recorded: dict[str, Row] = {}
    notes = []
    for line in contents.lines:
        row = rows[line.key]
        if row["outcome"] is None:
            notes.append(str(row["cause"]))
        else:
            recorded[row["name"]] = row  # the last line of a point counts
    merged = []
    for run in contents.runs:
        row = rows[run.key]
        merged.append(_merged(run.path.name, recorded.get(row["name"]), row, contents.positions))
    in_folders = {rows[run.key]["name"] for run in contents.runs}
    merged += [row for name, row in recorded.items() if name not in in_folders]
    return SweepRows(merged, notes)


def _merged(folder: str, recorded: Row | None, row: Row, positions: Mapping[str, int]) -> Row:
    """A folder is the truth; its record knows its place, and what it was if it runs again."""
    if recorded is None:
        position = positions.get(row["name"])
        return row | {"folder": folder, "row": None if position is None else position + 1}
    if row["outcome"] in UNFINISHED:
        return recorded | {"folder": folder}
    remarks = [remark for remark in (recorded["remark"], row["remark"]) if remark]
    repeated = len(remarks) == 2 and remarks[1] in remarks[0]
    remark = remarks[0] if repeated else "; ".join(remarks) or None
    return row | {"folder": folder, "row": recorded["row"], "remark": remark}
