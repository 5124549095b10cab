"""Figures in a sheet that no plan asks for, and which of its cells and columns are not read."""

import re
from collections.abc import Iterable, Mapping, Sequence

from launcher.results.columns import COLUMNS
from launcher.sheets import spelling
from launcher.sheets.row import BLANK
from launcher.spec.layout import DEGREES

Row = Mapping[str, str]

TITLES = {
    name: (spelling.bare(name), *column.from_sheet)
    for name, column in COLUMNS.items()
    if column.from_sheet is not None
}
"""Column of our own table -> its titles, as letters and digits; the first that a row has counts."""

POWER = ("powerw", "power", "watts")
"""Titles of a range: of the card that drew least, and of the one that drew most."""

AS_THEY_ARE = {*POWER, *(title for titles in TITLES.values() for title in titles)}
NUMBERS = {title for name, titles in TITLES.items() if COLUMNS[name].form for title in titles}
SIZES = ("nodes", "dp", *DEGREES)
COUNTED = {*SIZES, "n_gpus", "gpus_per_node", "global_batch", "micro_batch", "seq_len", "params_b",
           "tokens_per_s_per_gpu", "tokens_per_s", "step_s", "mem_gb"}  # fmt: skip
WORDS = {
    "zero_stage_or_strategy",
    "recompute",
    "precision",
    "backend",
    "model",
    "seq_parallel",
    "oom",
}
LISTED_CELLS = 3
"""Cells that are named of those that are no number."""
LISTED_COLUMNS = 12
"""Columns that are named of those that are not read."""


def name(title: str) -> str:
    """A title's letters and digits; none of a ``step_s`` and a ``step/s``, which are no count."""
    plain = spelling.bare(title)
    return "" if plain == "steps" and "steps" not in title.lower() else plain


def blank(text: str) -> bool:
    """Return True for a cell that says nothing."""
    return text.strip().lower() in BLANK


def texts(by_name: Row, column: str) -> list[str]:
    """The cells of a column of our own, by each title that a row has for it."""
    return [by_name[title] for title in TITLES[column] if by_name.get(title)]


def figure(by_name: Row, column: str) -> float | None:
    """The number of a column of our own; a whole one where the column has whole ones."""
    value = number(by_name, TITLES[column])
    return value if value is None or COLUMNS[column].form != "d" else int(value)


def number(by_name: Row, titles: Sequence[str]) -> float | None:
    """The first number of some columns."""
    numbers = (spelling.number(by_name[title]) for title in titles if by_name.get(title))
    return next((value for value in numbers if value is not None), None)


def ends(by_name: Row, titles: Sequence[str]) -> tuple[float | None, float | None]:
    """Both ends of a range such as ``490-600``; of one number, that number twice."""
    text = next((by_name[title] for title in titles if by_name.get(title)), "")
    numbers = [
        spelling.number(end) for end in re.split(r"\s*(?:-|~|\u2013|to)\s*", text, maxsplit=1)
    ]
    return numbers[0], numbers[-1]


def is_number(title: str) -> bool:
    """Return True for a column of numbers."""
    return name(title) in NUMBERS or spelling.column(title) in COUNTED


def odd(row: Row) -> dict[str, str]:
    """The cells of a row that should be numbers and are none."""
    return {
        title: text
        for title, text in row.items()
        if is_number(title) and not blank(text) and spelling.number(text) is None
    }


def remarks(rows: Sequence[Row]) -> list[str]:
    """Remarks on what is not read of a sheet: one line of columns, one of cells."""
    unread = [title for title in rows[0] if not _read(title) and not _empty(rows, title)]
    more = f" and {len(unread) - LISTED_COLUMNS} more" if len(unread) > LISTED_COLUMNS else ""
    lines = [f"not read: {', '.join(unread[:LISTED_COLUMNS])}{more}"] if unread else []
    cells = [
        f"row {number}: {title} {text!r}"
        for number, row in enumerate(rows, 1)
        for title, text in odd(row).items()
    ]
    if cells:
        more = (
            f", and {len(cells) - LISTED_CELLS} more such cells"
            if len(cells) > LISTED_CELLS
            else ""
        )
        lines.append(f"{'; '.join(f'{cell} is no number' for cell in cells[:LISTED_CELLS])}{more}")
    return lines


def _read(title: str) -> bool:
    return is_number(title) or spelling.column(title) in WORDS or name(title) in AS_THEY_ARE


def _empty(rows: Iterable[Row], title: str) -> bool:
    return all(blank(row[title]) for row in rows)
