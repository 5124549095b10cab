"""Numbers, durations, sparklines and columns of a text that must never wrap."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from launcher.cli.top.snapshot import Series

BLOCKS = "▁▂▃▄▅▆▇█"

GAP = "  "
NARROWEST = 24
"""Cells that a column keeps when it gives room to others."""
SHORTEST, ROOMY, LONGEST = 5, 12, 40
"""Cells of a sparkline: none is drawn below the first; a text is cut to reach the second."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def sparkline(values: Series, width: int) -> str:
    """Draw the last ``width`` values as blocks between their least and largest.

    A value that is not known, or not finite, is a gap.
    """
    drawn = (value if value is not None and math.isfinite(value) else None for value in values)
    latest = tuple(drawn)[-width:] if width > 0 else ()
    numbers = [value for value in latest if value is not None]
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    if low == high:
        return "".join(" " if value is None else BLOCKS[3] for value in latest)
    scale = (len(BLOCKS) - 1) / (high - low)
    return "".join(" " if v is None else BLOCKS[round((v - low) * scale)] for v in latest)


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
    """Replace characters that would move the cursor: causes are lines of logs."""
    return CONTROL.sub(" ", text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Content of one column of a row."""

    text: str = ""
    style: str = ""
    series: Series | None = None
    """Values of a sparkline in the room that is left; the last value to the right."""


def fitted(text: Text, width: int) -> Text:
    """Cut a line where the terminal ends."""
    text.no_wrap = True
    text.rstrip()
    text.truncate(max(width, 1), overflow="ellipsis")
    return text


def rows(cells: Sequence[Sequence[Cell]], width: int, gives: int | None = None) -> list[Text]:
    """Return lines of aligned columns; an empty column is left out.

    Args:
        cells: as many in each row.
        width: of the terminal.
        gives: the column that is cut for the others.
    """
    if not cells:
        return []
    columns = list(zip(*cells, strict=True))
    widths = [max(cell_len(clean(cell.text)) for cell in column) for column in columns]
    sparklines = {
        i: max(map(_steps, column)) for i, column in enumerate(columns) if any(map(_steps, column))
    }
    room = width - sum(w + len(GAP) for w in widths if w) + len(GAP)
    if gives is not None:
        lacks = len(sparklines) * (ROOMY + len(GAP)) - room
        cut = max(min(lacks, widths[gives] - NARROWEST), 0)
        widths[gives] -= cut
        room += cut
    for i, steps in sparklines.items():
        share = room // len(sparklines) - len(GAP)
        widths[i] = min(share, steps, LONGEST) if share >= SHORTEST else 0
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
    """Put texts side by side, in as many lines as they take."""
    lines: list[Text] = []
    for part in (part for part in parts if part.text):
        text = Text(clean(part.text), style=part.style)
        if lines and lines[-1].cell_len + len(GAP) + text.cell_len <= width:
            lines[-1].append(GAP).append_text(text)
        else:
            lines.append(Text().append_text(text))
    return [fitted(line, width) for line in lines]
