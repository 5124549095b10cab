"""Numbers, durations, sparklines and columns of a text that must never wrap."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from launcher.cli.top.snapshot import Series

BLOCKS = "▁▂▃▄▅▆▇█"

GAP = "  "
NARROWEST = 24
"""Cells that a column keeps which gives room to others."""
SHORTEST, LEAST, LONGEST = 5, 12, 40
"""Cells of a sparkline: below the first there is none, up to the second others give room."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def sparkline(values: Series, width: int) -> str:
    """The last ``width`` values as blocks between their least and largest; gaps for None."""
    shown = values[-width:] if width > 0 else ()
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    if low == high:
        return "".join(" " if value is None else BLOCKS[3] for value in shown)
    scale = (len(BLOCKS) - 1) / (high - low)
    return "".join(" " if v is None else BLOCKS[round((v - low) * scale)] for v in shown)


def duration(seconds: float) -> str:
    """``42 s``, ``12 min``, ``5.2 h``, ``3.1 d``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def clean(text: str) -> str:
    """A text without what would move the cursor: causes are lines of logs."""
    return CONTROL.sub(" ", text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What is in one column of a row."""

    text: str = ""
    style: str = ""
    series: Series | None = None
    """Drawn in what room is left; the last value to the right."""


def fitted(text: Text, width: int) -> Text:
    """A line that is cut where the terminal ends."""
    text.no_wrap = True
    text.rstrip()
    text.truncate(max(width, 1), overflow="ellipsis")
    return text


def rows(cells: Sequence[Sequence[Cell]], width: int, gives: int | None = None) -> list[Text]:
    """Lines of aligned columns; an empty one is left out.

    Args:
        cells: as many in each row.
        width: of the terminal.
        gives: the column that is cut for the others.
    """
    if not cells:
        return []
    columns = list(zip(*cells, strict=True))
    widths = [max(cell_len(clean(cell.text)) for cell in column) for column in columns]
    lines = {
        i: max(map(_steps, column)) for i, column in enumerate(columns) if any(map(_steps, column))
    }
    room = width - sum(w + len(GAP) for w in widths if w) + len(GAP)
    if gives is not None:
        lacks = len(lines) * (LEAST + len(GAP)) - room
        gift = max(min(lacks, widths[gives] - NARROWEST), 0)
        widths[gives] -= gift
        room += gift
    for i, steps in lines.items():
        each = room // len(lines) - len(GAP)
        widths[i] = min(each, steps, LONGEST) if each >= SHORTEST else 0
    return [_row(row, widths, width) for row in cells]


def _steps(cell: Cell) -> int:
    return len(cell.series or ())


def _row(row: Sequence[Cell], widths: Sequence[int], width: int) -> Text:
    line = Text()
    for cell, cells in zip(row, widths, strict=True):
        if not cells:
            continue
        text = sparkline(cell.series, cells) if cell.series else clean(cell.text)
        part = Text(text, style=cell.style)
        part.truncate(cells, overflow="ellipsis", pad=True)
        line.append_text(part).append(GAP)
    return fitted(line, width)


def flowing(parts: Sequence[Cell], width: int) -> list[Text]:
    """Texts side by side, in as many lines as they take."""
    lines: list[Text] = []
    for part in (part for part in parts if part.text):
        text = Text(clean(part.text), style=part.style)
        if lines and lines[-1].cell_len + len(GAP) + text.cell_len <= width:
            lines[-1].append(GAP).append_text(text)
        else:
            lines.append(Text().append_text(text))
    return [fitted(line, width) for line in lines]
