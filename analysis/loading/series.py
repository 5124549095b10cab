"""Loss series: a CSV file, or the metrics of a run. What cannot be read of one is counted."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.decode import LARGEST
from launcher.errors import ConfigError

STEP = ("iteration", "step")
LOSS = ("lm_loss", "loss", "lm loss")
NORM = ("grad_norm", "grad norm")
"""Titles that a column may have; the first that is there counts."""

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Point:
    """One logged step."""

    step: int
    loss: float
    """May be nan or inf."""
    norm: float | None
    stage: Any
    """Stage of a curriculum; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Logged steps of one run, in the order of the file."""

    name: str
    points: tuple[Point, ...]
    skipped: tuple[str, ...] = ()
    """Lines that are left out: ``line 17: lm_loss 'abc' is no number``."""


def read(path: Path, name: str) -> Series:
    """Read a file of comma-separated values, or of JSON lines (``.jsonl``).

    Raises:
        ConfigError: it cannot be read, has no such columns, or no line of it can be used.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace").removeprefix(BOM)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    rows = _of_json(text) if path.suffix == ".jsonl" else _of_csv(text, path)
    points: list[Point] = []
    skipped: list[str] = []
    for number, row in rows:
        try:
            points.append(_point(row))
        except ValueError as error:
            skipped.append(f"line {number}: {error}")
    if not points:
        why = f"; {skipped[0]}" if skipped else ""
        raise ConfigError(f"{path}: no line with a step and a loss{why}")
    return Series(name=name, points=tuple(points), skipped=tuple(skipped))


def _of_csv(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not line.startswith("#")]
    names = [name.strip() for name in _cells(lines[0][1])] if lines else []
    for titles in (STEP, LOSS):
        if not any(title in names for title in titles):
            raise ConfigError(f"{path}: no column {' or '.join(titles[:2])}")
    for number, line in lines[1:]:
        yield number, dict(zip(names, _cells(line), strict=False))


def _cells(line: str) -> list[str]:
    """Cells of one line by itself, so that a stray quote does not swallow the rest of the file."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []  # a cell of more than csv reads: a line without what is needed


def _of_json(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line:
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            yield number, row


def _point(row: Any) -> Point:
    """Read one logged step. Raises ValueError, with what is wrong in one line."""
    if not isinstance(row, Mapping):
        raise ValueError("is no JSON object")
    step = _number(row, STEP)
    if not (math.isfinite(step) and step.is_integer() and abs(step) <= LARGEST):
        raise ValueError(f"{step:g} is no step")
    return Point(int(step), _number(row, LOSS), _norm(row), row.get("stage") or None)


def _norm(row: Mapping[str, Any]) -> float | None:
    """None where nothing is logged."""
    if all(row.get(name, "") == "" for name in NORM):
        return None
    return _number(row, NORM)


def _number(row: Mapping[str, Any], names: Iterable[str]) -> float:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise ValueError(f"no {next(iter(names))}")
    value = row[name]
    if value is None and name not in STEP:
        return math.nan  # metrics are JSON, and write null for what is not finite
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} {value!r} is no number") from None
