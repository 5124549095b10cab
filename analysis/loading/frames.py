"""Frames of what the folders of runs hold besides their rows: steps, events, attempts."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from launcher.errors import ReadError
from launcher.results import metrics
from launcher.results.run_folder import RunFolder, Status

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A run's folder, and how frames call it."""

    sweep: str
    name: str
    """Path of its folder, as a table has it."""
    run: RunFolder
    gpus: int | None


def steps(places: Iterable[RunPlace]) -> pd.DataFrame:
    """Metrics of runs; of a damaged file the lines that can be read.

    A frame holds both as NaN, so ``finite`` tells them apart: a figure that is not known, and a
    loss or norm that was nan or inf.
    """
    lines: list[metrics.Line] = []
    sweeps: list[str] = []
    folders: list[str] = []
    for place in places:
        with suppress(ReadError):  # its row in the table says so
            own_lines = metrics.read(place.run.metrics, metrics.Line).lines
            lines += own_lines
            sweeps += [place.sweep] * len(own_lines)
            folders += [place.name] * len(own_lines)
    columns = {name: [getattr(line, name) for line in lines] for name in ORDER}
    columns["finite"] = [_is_finite(line.loss) and _is_finite(line.grad_norm) for line in lines]
    frame = pd.DataFrame({"sweep": sweeps, "folder": folders, **columns})
    numbers = dict.fromkeys((name for name in ORDER if name not in TEXTS), float)
    counts = {"step": "int64", "tokens": "Int64", "attempt": "Int64"}
    return frame.astype(numbers).astype(counts)


def _is_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)


TEXTS = ("stage", "action")
"""Fields of `ORDER` that are no numbers."""

ORDER = ("step", "tokens", "loss", "grad_norm", "lr", "step_ms", "tokens_per_s", "tflops_per_gpu",
         "stated_tflops_per_gpu", "mem_min_gib", "mem_max_gib", "power_min_w", "power_max_w",
         "stage", "attempt", "action")  # fmt: skip
"""Fields of `launcher.results.metrics.Line`, as a reader looks for them."""


def events(places: Iterable[RunPlace]) -> pd.DataFrame:
    """Events besides steps: spikes, saves that failed, starts and stops."""
    rows = [
        {"sweep": place.sweep, "folder": place.name, **event}
        for place in places
        for event in _events(place.run)
    ]
    return _frame(rows, ("sweep", "folder", "kind", "step", "time"))


def attempts(places: Iterable[RunPlace]) -> pd.DataFrame:
    """Every start of every run, in its order."""
    rows = [
        {"sweep": place.sweep, "folder": place.name, **_attempt(status, place.gpus)}
        for place in places
        for status in _statuses(place.run)
    ]
    return _frame(rows, ATTEMPT)


ATTEMPT = ("sweep", "folder", "attempt", "state", "started", "ended", "stopped", "reason", "gpus",
           "gpu_hours", "hosts", "job_id")  # fmt: skip
"""Columns of `attempts`."""


def _events(run: RunFolder) -> Sequence[Mapping[str, Any]]:
    with suppress(ReadError):
        return run.events()
    return ()


def _statuses(run: RunFolder) -> Iterator[Status]:
    """Status of each attempt that began, the first one first."""
    folders = [*reversed(run.attempts()), run]
    statuses = (folder.readable_status() for folder in folders)
    return (status for status in statuses if status and status.started is not None)


def _attempt(status: Status, gpus: int | None) -> dict[str, Any]:
    hours = None
    if status.started is not None and status.ended is not None and gpus is not None:
        hours = (status.ended - status.started) * gpus / HOUR
    return {
        "attempt": status.attempt,
        "state": status.state,
        "started": status.started,
        "ended": status.ended,
        "stopped": status.stopped,
        "reason": status.reason,
        "gpus": gpus,
        "gpu_hours": hours,
        "hosts": " ".join(status.nodes) or status.host,
        "job_id": status.job_id,
    }


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows with at least these columns."""
    names = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    return pd.DataFrame(list(rows), columns=list(names)).convert_dtypes()
