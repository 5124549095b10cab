"""Lines of metrics.jsonl, read fast: a sweep of 10,000 runs has ten million of them.

JSON has no nan and no inf: a figure that is not finite is written as ``"nan"``, ``"inf"`` or
``"-inf"``. A null is a figure that nobody knows: not measured, or not logged.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from launcher.errors import ReadError


class Brief(msgspec.Struct, frozen=True, gc=False):
    """Fields that the figures of a run are made of; to read no more takes a third less time."""

    step: int
    loss: float | None = None
    """Mean of the tokens of the batch, nats; may be nan or inf. None where none is known, or
    nothing was trained."""
    grad_norm: float | None = None
    """L2 norm, before clipping; may be nan or inf."""
    step_ms: float | None = None
    mem_min_gib: float | None = None
    mem_max_gib: float | None = None
    power_min_w: float | None = None
    power_max_w: float | None = None
    attempt: int | None = None


class Line(Brief, frozen=True, gc=False):
    """One optimizer step as rank 0, or the log of another program, wrote it. None is unknown."""

    tokens: int | None = None
    """Tokens trained on by the end of the step."""
    lr: float | None = None
    tokens_per_s: float | None = None
    tflops_per_gpu: float | None = None
    """Model FLOPs (`launcher.spec.shape`) per second and rank, 1e12."""
    stated_tflops_per_gpu: float | None = None
    """Figure that the log of another program states, by its own definition."""
    tokens_per_s_per_gpu: float | None = None
    """Speed of one card, where another program's log says no more."""
    stage: str | None = None
    action: str | None = None
    """Action of the spike guard, or of the loss scaler, in place of an update."""


T = TypeVar("T", Brief, Line)


@dataclass(frozen=True, slots=True)
class Metrics(Generic[T]):
    """Lines of the file of a run."""

    lines: list[T]
    damage: str | None = None
    """Lines that cannot be read: ``metrics.jsonl:17 and 2 more lines cannot be read``."""


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    # Not strict: "nan" and "inf" are read as the numbers that they stand for.
    kind: msgspec.json.Decoder(kind, strict=False)
    for kind in (Brief, Line)
}


def encoded(value: float | None) -> float | str | None:
    """Return a figure as a line holds it."""
    return value if value is None or math.isfinite(value) else str(value)


def number(value: Any) -> float | None:
    """Figure that a value of a line stands for; None where it is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def read(path: Path, kind: type[T]) -> Metrics[T]:
    """Complete lines of a file; none where there is no file.

    A kill leaves half a line at the end, which is no damage.

    Raises:
        ReadError: it cannot be opened.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Metrics([])
    except OSError as error:
        raise ReadError(f"{path.name}: {error.strerror}") from error
    complete = text[: text.rfind(b"\n") + 1]
    try:
        return Metrics(_DECODERS[kind].decode_lines(complete))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _line_by_line(complete, kind, path.name)


def _line_by_line(text: bytes, kind: type[T], name: str) -> Metrics[T]:
    lines, damaged = [], []
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        try:
            lines.append(_DECODERS[kind].decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            damaged.append(number)
    if not damaged:
        return Metrics(lines)
    more = len(damaged) - 1
    and_more = f" and {more} more line{'s' if more > 1 else ''}" if more else ""
    return Metrics(lines, f"{name}:{damaged[0]}{and_more} cannot be read")
