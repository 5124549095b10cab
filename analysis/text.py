"""A table as lines of text: fast enough for ten thousand rows."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

GAP = "  "

NARROWEST = 20
"""Columns of the terminal below which no text is folded."""

BOLD, GREEN, DIM = "\x1b[1m{}\x1b[0m", "\x1b[32m{}\x1b[0m", "\x1b[2m{}\x1b[0m"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Columns, each a head and its cells; all lists are of one length."""

    heads: Sequence[str]
    cells: Sequence[Sequence[str]]
    right: Sequence[bool]
    """True for a column whose cells are flush right: numbers."""
    folds: Sequence[bool]
    """True for a column that takes several lines where a cell is too long."""
    best: int | None = None
    """Row that is marked; None for none."""

    def of(self, positions: Sequence[int]) -> "Table":
        """Return the table of some of its columns."""
        return replace(
            self,
            heads=[self.heads[i] for i in positions],
            cells=[self.cells[i] for i in positions],
            right=[self.right[i] for i in positions],
            folds=[self.folds[i] for i in positions],
        )

    @property
    def narrowest(self) -> int:
        """Columns of the terminal that it takes at the least."""
        widths = zip(_longest(self), self.heads, self.folds, strict=True)
        minima = (
            min(width, max(NARROWEST, len(head))) if f else width for width, head, f in widths
        )
        return sum(minima) + len(GAP) * max(len(self.heads) - 1, 0)


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return os.get_terminal_size(sys.stdout.fileno()).columns if _is_terminal() else None


def lines(table: Table, width: int) -> Iterator[str]:
    """The head and the rows, in ``width`` columns where what folds can make it so."""
    widths = _widths(table, width)
    sides = list(zip(widths, table.right, strict=True))
    heads = zip(table.heads, sides, strict=True)
    head = GAP.join(_padded(text, side) for text, side in heads).rstrip()
    yield styled(head, BOLD)
    for number, row in enumerate(zip(*table.cells, strict=True)):
        if number == table.best:
            yield from (styled(line, GREEN) for line in _row(row, widths, table.right))
            continue
        short = all(len(cell) <= room for cell, room in zip(row, widths, strict=True))
        if short and all(map(str.isascii, row)):
            yield GAP.join(map(_plain, row, widths, table.right))
            continue
        yield from _row(row, widths, table.right)


def _row(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    """Lines of a row; several where a cell is folded."""
    sides = list(zip(widths, right, strict=True))
    parts = [folded(cell, room) for cell, room in zip(row, widths, strict=True)]
    for line in zip_longest(*parts, fillvalue=""):
        yield GAP.join(_padded(text, side) for text, side in zip(line, sides, strict=True))


def packed(pieces: Sequence[str], width: int) -> list[str]:
    """Pieces in lines of at most ``width`` columns, none of them broken."""
    lines: list[str] = []
    for piece in pieces:
        if lines and cell_len(f"{lines[-1]}{GAP}{piece}") <= width:
            lines[-1] += f"{GAP}{piece}"
        else:
            lines.append(piece)
    return lines


def folded(text: str, width: int) -> list[str]:
    """A text in lines of at most ``width`` columns, broken between words where that is possible."""
    lines = [""]
    for word in re.findall(r"\S+\s*", text):
        if lines[-1] and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
        if cell_len(lines[-1].rstrip()) > width:
            lines[-1:] = chop_cells(lines[-1].rstrip(), width)
    return [line.rstrip() for line in lines if line.strip()]


def _widths(table: Table, width: int) -> list[int]:
    widths = _longest(table)
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    # The longest gives up most.
    for index in sorted(range(len(widths)), key=lambda i: -widths[i]):
        if over > 0 and table.folds[index]:
            room = max(widths[index] - over, NARROWEST, len(table.heads[index]))
            over -= max(widths[index] - room, 0)
            widths[index] = min(widths[index], room)
    return widths


def _longest(table: Table) -> list[int]:
    columns = zip(table.heads, table.cells, strict=True)
    return [max(map(_length, (head, *cells)), default=0) for head, cells in columns]


def styled(text: str, style: str) -> str:
    """A text in a style, on a terminal whose user has not asked for none (no-color.org)."""
    return style.format(text) if _is_terminal() and not os.environ.get("NO_COLOR") else text


def _length(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _plain(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _padded(text: str, side: tuple[int, bool]) -> str:
    space = " " * (side[0] - _length(text))
    return space + text if side[1] else text + space


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def printable(text: str) -> str:
    """A text that any encoding of Unicode takes: a file's name need be none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
