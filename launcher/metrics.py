"""The lines of metrics.jsonl, read fast: a sweep of 10,000 runs has ten million of them."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from launcher.errors import ReadError


class Line(msgspec.Struct, frozen=True, gc=False):
    """One optimizer step as rank 0, or the log of another program, wrote it. None is unknown."""

    step: int
    tokens: int | None = None
    """Trained on by the end of the step."""
    loss: float | None = None
    """Mean of the tokens of the batch, nats; None where not finite or nothing was trained."""
    grad_norm: float | None = None
    """L2, before clipping."""
    lr: float | None = None
    step_ms: float | None = None
    tokens_per_s: float | None = None
    tflops_per_gpu: float | None = None
    """Model FLOPs (`launcher.shape`) per second and rank, 1e12."""
    stated_tflops_per_gpu: float | None = None
    """As the log of another program states it."""
    mem_min_gib: float | None = None
    mem_max_gib: float | None = None
    power_min_w: float | None = None
    power_max_w: float | None = None
    stage: str | None = None
    attempt: int | None = None
    action: str | None = None
    """What the spike guard, or the loss scaler, did instead of an update."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is in the file of a run."""

    lines: list[Line]
    damage: str | None = None
    """What cannot be read of it: ``metrics.jsonl:17 and 2 more lines cannot be read``."""


_DECODER = msgspec.json.Decoder(Line)


def read(path: Path) -> Metrics:
    """The whole lines of a file; none where there is no file.

    Half a line at the end is what a kill leaves, and no damage.

    Raises:
        ReadError: it cannot be opened.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Metrics([])
    except OSError as error:
        raise ReadError(f"{path.name}: {error.strerror}") from error
    whole = text[: text.rfind(b"\n") + 1]
    try:
        return Metrics(_DECODER.decode_lines(whole))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _one_by_one(whole, path.name)


def _one_by_one(text: bytes, name: str) -> Metrics:
    lines, damaged = [], []
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        try:
            lines.append(_DECODER.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            damaged.append(number)
    if not damaged:
        return Metrics(lines)
    more = len(damaged) - 1
    and_more = f" and {more} more line{'s' if more > 1 else ''}" if more else ""
    return Metrics(lines, f"{name}:{damaged[0]}{and_more} cannot be read")
