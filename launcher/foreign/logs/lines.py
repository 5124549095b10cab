"""The lines of a log without what surrounds them (colours, prefixes), and their numbers."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from launcher.foreign.logs import text
from launcher.foreign.logs.prefixes import Line, split

LONGEST = 20_000
"""Characters of a line that are looked at: no step is said beyond them, binary output may be."""

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
NUMBER = re.compile(
    r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+|(?:nan|inf)(?:\.0)?\b)(?!\.?\d)",
    re.IGNORECASE,
)
"""``1.2E-04``, ``5,756``, ``nan``; not ``4.04.0``, which two ranks have printed into each other."""


def cleaned(path: Path) -> Iterator[Line]:
    """The lines of a file, one at a time: logs have gigabytes. A carriage return ends one too.

    Raises:
        ReadError: it cannot be read.
    """
    for line in text.lines(path):
        yield split(without_colours(line if len(line) < LONGEST else line[:LONGEST]))


def clean(line: str) -> str:
    """A line without colours and without what launchers put before it."""
    return split(without_colours(line)).text


def without_colours(line: str) -> str:
    """A line without its end and without what only terminals understand."""
    line = line.rstrip("\n")
    return line if line.isprintable() else COLOUR.sub("", line)


def number(figure: str | None) -> float | None:
    """The number that a text begins with; nan and inf are numbers, "None" is none."""
    match = NUMBER.match(figure.strip()) if figure else None
    # Lightning's bar gives every number a fraction: nan.0.
    return float(re.sub(r"(?<=[nf])\.0", "", match[0].replace(",", ""))) if match else None


LARGEST = 1e15
"""Bound of the counts of a log: a larger number is none of them."""


def whole_number(figure: str | None) -> int | None:
    """The whole number that a text begins with; None where it has none, or no possible one."""
    value = number(figure)
    return (
        int(value) if value is not None and math.isfinite(value) and abs(value) < LARGEST else None
    )
