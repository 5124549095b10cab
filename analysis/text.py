"""A table as lines of text: fast enough for ten thousand rows."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

GAP = "  "

LEAST = 20
"""Columns of the terminal that a text which is folded has at the least."""

BOLD = "\x1b[1m{}\x1b[0m"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Columns, each a head and its cells; all lists are of one length."""

    heads: Sequence[str]
    cells: Sequence[Sequence[str]]
    right: Sequence[bool]
    """Whether a column's cells are flush right: numbers."""
    folds: Sequence[bool]
    """Whether it takes several lines where a cell is too long."""


def terminal_width() -> int | None:
    """Of the terminal that stdout is; None where it is none."""
    return os.get_terminal_size(sys.stdout.fileno()).columns if _is_terminal() else None


def lines(table: Table, width: int) -> Iterator[str]:
    """The head and the rows, in ``width`` columns where what folds can make it so."""
    widths = _widths(table, width)
    sides = list(zip(widths, table.right, strict=True))
    head = GAP.join(_padded(*one) for one in zip(table.heads, sides, strict=True)).rstrip()
    yield BOLD.format(head) if _is_terminal() else head
    for row in zip(*table.cells, strict=True):
        short = all(len(cell) <= room for cell, room in zip(row, widths, strict=True))
        if short and all(map(str.isascii, row)):
            yield GAP.join(map(_plain, row, widths, table.right))
            continue
        parts = [folded(cell, room) for cell, room in zip(row, widths, strict=True)]
        for line in zip_longest(*parts, fillvalue=""):
            yield GAP.join(_padded(*one) for one in zip(line, sides, strict=True))


def packed(pieces: Sequence[str], width: int) -> list[str]:
    """Pieces in lines of at most ``width`` columns, none of them broken."""
    out: list[str] = []
    for piece in pieces:
        if out and cell_len(f"{out[-1]}{GAP}{piece}") <= width:
            out[-1] += f"{GAP}{piece}"
        else:
            out.append(piece)
    return out


def folded(text: str, width: int) -> list[str]:
    """A text in lines of at most ``width`` columns, broken between words where that is possible."""
    out = [""]
    for word in re.findall(r"\S+\s*", text):
        if out[-1] and cell_len(out[-1] + word.rstrip()) > width:
            out.append("")
        out[-1] += word
        if cell_len(out[-1].rstrip()) > width:
            out[-1:] = chop_cells(out[-1].rstrip(), width)
    return [line.rstrip() for line in out if line.strip()]


def _widths(table: Table, width: int) -> list[int]:
    found = [max(map(_length, (head, *cells)), default=0)
             for head, cells in zip(table.heads, table.cells, strict=True)]  # fmt: skip
    over = sum(found) + len(GAP) * (len(found) - 1) - width
    # The longest gives up most.
    for index in sorted(range(len(found)), key=lambda i: -found[i]):
        if over > 0 and table.folds[index]:
            room = max(found[index] - over, LEAST, len(table.heads[index]))
            over -= max(found[index] - room, 0)
            found[index] = min(found[index], room)
    return found


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
