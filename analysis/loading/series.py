"""Logged series: a CSV file, or the metrics of a run. What cannot be read of one is counted."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.loading import titles
from analysis.loading.titles import Columns
from launcher.decode import LARGEST
from launcher.errors import ConfigError

BOM = "\ufeff"
LISTED, LONGEST = 8, 200
"""Columns that a message names, and characters of these: titles are shorter than lines of a log."""


@dataclass(frozen=True, slots=True)
class Point:
    """One logged step."""

    step: int
    loss: float | None
    """May be nan or inf; None where none is logged."""
    norm: float | None
    """May be nan or inf; None where none is logged."""
    stage: Any
    """Stage of a curriculum; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Logged steps of one run, in the order of the file."""

    name: str
    points: tuple[Point, ...]
    skipped: tuple[str, ...] = ()
    """Lines that are left out: ``line 17: lm_loss 'abc' is no number``."""


def read(path: Path, name: str) -> list[Series]:
    """Read a file of separated values, or of JSON lines (``.jsonl``): a series for each run in it.

    Lines in which neither a loss nor a norm is logged are no points of the series.

    Args:
        path: the file.
        name: of the series; where the file names several runs, of what their names follow.

    Raises:
        ConfigError: it cannot be read, has no such columns, or no line of it can be used.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace").removeprefix(BOM)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if path.suffix == ".jsonl":
        all_series = [_series(name, _of_json(text))]
    else:
        lines, by_run = _table(text, path)
        several = len(by_run) > 1
        all_series = [
            _series(f"{name}: {run.run}" if several else name, _of_cells(lines, run))
            for run in by_run
        ]
    usable = [series for series in all_series if series.points]
    if not usable:
        skipped = [reason for series in all_series for reason in series.skipped]
        why = f"; {skipped[0]}" if skipped else ""
        raise ConfigError(f"{path}: no line with a step and a loss or a gradient norm{why}")
    return usable


@dataclass(frozen=True, slots=True)
class _Row:
    """Cells of a logged step: texts of a table, values of JSON. None is not logged."""

    step: Any
    loss: Any
    norm: Any
    names: Sequence[str]
    """Titles of the three, for messages."""
    stage: Any = None


def _series(name: str, rows: Iterable[tuple[int, _Row | str]]) -> Series:
    """Make a series of numbered rows; a text in place of one is the reason that there is none."""
    points: list[Point] = []
    skipped: list[str] = []
    for number, row in rows:
        try:
            point = _point(row)
        except ValueError as error:
            skipped.append(f"line {number}: {error}")
            continue
        if points and _completes(point, points[-1]):
            points[-1] = _joined(points[-1], point)
        elif point.loss is not None or point.norm is not None:
            points.append(point)
    return Series(name=name, points=tuple(points), skipped=tuple(skipped))


Lines = list[tuple[int, list[str]]]
"""Number and cells of each line of a table, its titles first."""


def _table(text: str, path: Path) -> tuple[Lines, list[Columns]]:
    """Read the lines of a table, and which of its columns belong to which run."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not line.startswith("#")]
    head = lines[0][1] if lines else ""
    separator = max(",\t;", key=head.count)
    rows = [(number, _cells(line, separator)) for number, line in lines]
    names = [title.strip() for title in rows[0][1]] if rows else []
    if by_run := titles.columns(names, path.name):
        return rows, by_run
    listed = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    if "\ufffd" in listed or not listed.isprintable() or len(listed) > LONGEST:
        raise ConfigError(f"{path}: no table with titles; a log is first read by launch import")
    columns = f"; its columns: {listed}" if names else ""
    if not any(titles.plain(title) in titles.STEP for title in names):
        raise ConfigError(f"{path}: no column iteration or step{columns}")
    raise ConfigError(f"{path}: no column of a loss or a gradient norm{columns}")


def _of_cells(lines: Lines, columns: Columns) -> Iterator[tuple[int, _Row | str]]:
    heads = lines[0][1]
    positions = (columns.step, columns.loss, columns.norm)
    names = ["" if position is None else heads[position].strip() for position in positions]
    for number, cells in lines[1:]:
        step = _cell(cells, columns.step)
        loss, norm = _cell(cells, columns.loss), _cell(cells, columns.norm)
        if loss is None and norm is None and len(cells) < len(heads):
            yield number, f"no {names[1] or names[2]}"  # cut off, where an empty cell says nothing
        else:
            yield number, _Row(step, loss, norm, names)


def _cell(cells: Sequence[str], position: int | None) -> str | None:
    """Return a cell; None for one that is empty, which says that nothing was logged."""
    return None if position is None or position >= len(cells) else cells[position].strip() or None


def _cells(line: str, separator: str) -> list[str]:
    """Cells of one line by itself, so that a stray quote does not swallow the rest of the file."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []  # a cell of more than csv reads: a line without what is needed


def _of_json(text: str) -> Iterator[tuple[int, _Row | str]]:
    columns_of_keys: dict[tuple[str, ...], Columns | None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, Mapping):
            yield number, "is no JSON object"
        else:
            keys = tuple(values)
            if keys not in columns_of_keys:
                columns_of_keys[keys] = next(iter(titles.columns(keys, "")), None)
            columns = columns_of_keys[keys]
            if columns is not None:
                yield number, _of_values(values, keys, columns)
            elif not any(titles.plain(key) in titles.STEP for key in keys):
                yield number, "no step"


def _of_values(values: Mapping[str, Any], keys: Sequence[str], columns: Columns) -> _Row:
    positions = (columns.step, columns.loss, columns.norm)
    names = tuple("" if position is None else keys[position] for position in positions)
    step, loss, norm = (values.get(name) for name in names)
    if _is_nan_of_earlier_versions(values):
        loss = math.nan
    return _Row(step, loss, norm, names, values.get("stage") or None)


def _is_nan_of_earlier_versions(line: Mapping[str, Any]) -> bool:
    """Return True for a step that was trained with null as its loss: it was not finite.

    Metrics of our own runs had no other way to say it before "nan"; imported ones have a figure
    that the log states beside ours.
    """
    trained = line.get("step_ms") is not None and "stated_tflops_per_gpu" not in line
    return trained and "loss" in line and line["loss"] is None


def _point(row: _Row | str) -> Point:
    """Read one logged step. Raises ValueError, with what is wrong in one line."""
    if isinstance(row, str):
        raise ValueError(row)
    step = _number(row.step, row.names[0])
    if step is None or not (math.isfinite(step) and step.is_integer() and abs(step) <= LARGEST):
        raise ValueError(f"{'nothing' if step is None else f'{step:g}'} is no step")
    loss, norm = _number(row.loss, row.names[1]), _number(row.norm, row.names[2])
    return Point(int(step), loss, norm, row.stage)


def _completes(point: Point, last: Point) -> bool:
    """Return True for a row of the step before that says what its row left empty: exports of W&B
    have one row for each call that logged something."""
    of_two = (point.loss, last.loss), (point.norm, last.norm)
    return point.step == last.step and all(None in values for values in of_two)


def _joined(last: Point, point: Point) -> Point:
    loss = point.loss if last.loss is None else last.loss
    norm = point.norm if last.norm is None else last.norm
    return Point(last.step, loss, norm, last.stage if point.stage is None else point.stage)


def _number(value: Any, name: str) -> float | None:
    """Number of a cell, None of an empty one. Raises ValueError."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} {value!r} is no number") from None
