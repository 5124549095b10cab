"""The cells of a sheet: of a CSV file, whatever separates them, of Markdown, or of a workbook."""

import codecs
import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError
from launcher.sheets import spelling, titles

WORKBOOKS = (".xlsx", ".xlsm")
"""Endings of files that openpyxl reads."""

FEWEST_TITLES = 2
"""Known titles in the first column of a table whose columns are runs."""

TITLE_LINES = 10
"""Lines that may stand above the titles of the columns."""

HEAD_LINES = 100
"""Lines by which the separator is told: titles and the remarks above them."""

SECTION = "section"
"""Title of the column with the heading above a table, where a file of Markdown has several."""

_UNIT = re.compile(
    r"[(\[]?(?:%|#|[kmgt]?i?b|ms|s|secs?|seconds?|min|h|hours?|w|days?|[tp]?flops?(?:/s)?(?:/\w+)?"
    r"|k?(?:tokens?|toks?|samples?|it|steps?)(?: ?/ ?\w+){1,2}"
    r"|tokens|samples|sequences|billions?)[)\]]?",
    re.I,
)
"""Cell of a line of units below the titles."""
_NUMBER = re.compile(r"[\d.,]+%?")
"""Cell of a row that has no titles."""

_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)+\|?\s*")
"""Line below the titles of a table in Markdown."""

OTHER_FORMATS = {
    b"PK\x03\x04": "it is a workbook: give it the ending .xlsx",
    b"\xd0\xcf\x11\xe0": "it is an old workbook: save it as .xlsx",
}
"""First bytes of files that are called .csv and are none, and what to do about it."""


def rows(path: Path) -> list[dict[str, str]]:
    """The rows, by the titles of their columns; those that begin with # are remarks.

    Raises:
        ConfigError: it cannot be read, it has no rows, or none of its columns is known.
    """
    if path.suffix.lower() in WORKBOOKS:
        lines = _workbook(path)
    else:
        text = _decoded(path)
        if tables := _markdown(text):
            return tables
        lines = _csv(path, text)
    heads, *cells = lines[_title_row(lines) :] or [[]]
    if not cells:
        raise ConfigError(f"{path}: no rows below its first line")
    table = _table(heads, cells)
    if table is None:
        raise ConfigError(f"{path}: none of its columns is known: {', '.join(heads)}")
    return table


def _table(heads: list[str], rows: list[list[str]]) -> list[dict[str, str]] | None:
    """Rows by the titles of their columns; None where none of these is known.

    Titles may stand in the first column, and each other column is a run.
    """
    wide = max(map(len, (heads, *rows)))
    heads = heads + [f"column_{number}" for number in range(len(heads) + 1, wide + 1)]
    rows = [row + [""] * (wide - len(row)) for row in rows]
    if not _column_count(heads):
        if _column_count(row[0] for row in rows) < FEWEST_TITLES:
            return None
        heads, *rows = map(list, zip(heads, *rows, strict=True))
    heads, rows = _with_units(_distinct(heads), rows)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def _distinct(heads: Sequence[str]) -> list[str]:
    """Titles, of which the second of a name is called so: ``TFLOPS``, ``TFLOPS (2)``."""
    counts: Counter[str] = Counter()
    distinct = []
    for number, head in enumerate(heads, 1):
        counts[head.strip()] += 1
        again = f"{head} ({counts[head.strip()]})" if head.strip() else f"column_{number}"
        distinct.append(again if counts[head.strip()] > 1 else head)
    return distinct


def _with_units(heads: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Titles with the units of the line below them, ``,tokens/s,GiB,ms``, and the other rows."""
    first, *others = rows
    filled = [cell.strip() for cell in first if cell.strip()]
    if len(filled) < 2 or not others or not all(map(_UNIT.fullmatch, filled)):
        return heads, rows
    units = (cell.strip().strip("()[]") for cell in first)
    pairs = zip(heads, units, strict=True)
    return [f"{head} ({unit})" if unit else head for head, unit in pairs], others


def _title_row(rows: Sequence[Sequence[str]]) -> int:
    """Position of the row with the titles of the columns: other lines may stand above it."""
    counts = [
        0 if any(map(_NUMBER.fullmatch, row)) else _column_count(row)
        for row in rows[: TITLE_LINES + 1]
    ]
    if counts and counts[0] and sum(map(bool, rows[0])) > 1:
        return 0
    several = (number for number, count in enumerate(counts) if count > 1)
    return next(several, next((number for number, count in enumerate(counts) if count), 0))


def _markdown(text: str) -> list[dict[str, str]]:
    """The rows of all tables in Markdown with columns that are known, under the titles of all."""
    lines = text.splitlines()
    tables: list[tuple[str, list[dict[str, str]]]] = []
    section = ""
    for number, line in enumerate(lines):
        if line.startswith("#"):
            section = line.strip("# *")
        if number == 0 or not _RULE.fullmatch(line):
            continue
        heads = _cells(lines[number - 1])
        below = itertools.takewhile(lambda text: "|" in text, lines[number + 1 :])
        rows = [_cells(row)[: len(heads)] for row in below]
        if rows and (table := _table(heads, rows)):
            tables.append((section, table))
    every = dict.fromkeys(title for _, rows in tables for row in rows for title in row)
    several = len(tables) > 1
    return [
        ({SECTION: section} if several else {}) | dict.fromkeys(every, "") | row
        for section, rows in tables
        for row in rows
    ]


def _cells(line: str) -> list[str]:
    """The cells of a line of Markdown; a bar after a backslash belongs to a cell."""
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.replace("\\|", "|").strip() for cell in cells]


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
        for first_bytes, advice in OTHER_FORMATS.items():
            if data.startswith(first_bytes):
                raise ConfigError(f"{path}: {advice}")
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is no text in UTF-8: save it as CSV UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _csv(path: Path, text: str) -> list[list[str]]:
    lines = text.splitlines(keepends=True)

    def columns(separator: str) -> int:
        first_lines = lines[:HEAD_LINES]
        return max((_column_count(line.split(separator)) for line in first_lines), default=0)

    separator = max(",;\t", key=columns)
    # A line that begins with # is a remark, unless it has the titles: # gpus,model,tp
    data_lines = (
        line
        for line in lines
        if not line.startswith("#") or _column_count(line.split(separator)) > 1
    )
    try:
        return _filled(csv.reader(data_lines, delimiter=separator))
    except csv.Error as error:
        raise ConfigError(f"{path}: no table: {error}") from error


def _workbook(path: Path) -> list[list[str]]:
    """The first sheet of a workbook with columns that are known, else the first with rows."""
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigError(
            f"{path}: to read a workbook needs openpyxl: pip install 'megalaunch[import]'"
        ) from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # a plugin's load: zipfile, XML and openpyxl each raise their own
        raise ConfigError(f"{path}: no workbook: {error}") from error
    sheets = []
    try:
        for sheet in book.worksheets:
            cells = ([_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True))
            rows = _filled(row for row in cells if not row[:1] or not _is_remark(row))
            if len(rows) > 1 and _column_count(rows[_title_row(rows)]):
                return rows
            sheets.append(rows)
    finally:
        book.close()
    return next(filter(None, sheets), [])


def _is_remark(row: list[str]) -> bool:
    return row[0].startswith("#") and _column_count(row) < 2


def _text(cell: Any) -> str:
    """Return a cell as a CSV file has it: a workbook's numbers are all fractions."""
    if cell is None:
        return ""
    return f"{cell:.15g}" if isinstance(cell, float) else str(cell).strip()


def _filled(rows: Iterable[list[str]]) -> list[list[str]]:
    return [row for row in rows if any(map(str.strip, row))]


def _column_count(cells: Iterable[str]) -> int:
    """Number of cells that are names of columns."""
    return sum(bool(spelling.column(cell) or titles.measure(cell)) for cell in cells)
