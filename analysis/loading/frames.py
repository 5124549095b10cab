"""What is in the folders of runs besides their rows: steps, events, attempts."""

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
class Place:
    """A run's folder, and how frames call it."""

    sweep: str
    name: str
    """Of its folder, as a table has it."""
    run: RunFolder
    gpus: int | None


def steps(places: Iterable[Place]) -> pd.DataFrame:
    """The metrics of runs; of a damaged file what can be read."""
    lines: list[metrics.Line] = []
    sweeps: list[str] = []
    folders: list[str] = []
    for place in places:
        with suppress(ReadError):  # its row in the table says so
            found = metrics.read(place.run.metrics, metrics.Line).lines
            lines += found
            sweeps += [place.sweep] * len(found)
            folders += [place.name] * len(found)
    columns = {name: [getattr(line, name) for line in lines] for name in ORDER}
    frame = pd.DataFrame({"sweep": sweeps, "folder": folders, **columns})
    numbers = dict.fromkeys((name for name in ORDER if name not in TEXTS), float)
    whole = {"step": "int64", "tokens": "Int64", "attempt": "Int64"}
    return frame.astype(numbers).astype(whole)


TEXTS = ("stage", "action")

ORDER = ("step", "tokens", "loss", "grad_norm", "lr", "step_ms", "tokens_per_s", "tflops_per_gpu",
         "stated_tflops_per_gpu", "mem_min_gib", "mem_max_gib", "power_min_w", "power_max_w",
         *TEXTS[:1], "attempt", *TEXTS[1:])  # fmt: skip
"""Fields of `launcher.results.metrics.Line`, as a reader looks for them."""


def events(places: Iterable[Place]) -> pd.DataFrame:
    """What happened besides steps."""
    rows = [
        {"sweep": place.sweep, "folder": place.name, **event}
        for place in places
        for event in _events(place.run)
    ]
    return _frame(rows, ("sweep", "folder", "kind", "step", "time"))


def attempts(places: Iterable[Place]) -> pd.DataFrame:
    """Every start of every run, in its order."""
    rows = [
        {"sweep": place.sweep, "folder": place.name, **_attempt(status, place.gpus)}
        for place in places
        for status in _statuses(place.run)
    ]
    return _frame(rows, ATTEMPT)


ATTEMPT = ("sweep", "folder", "attempt", "state", "started", "ended", "stopped", "reason", "gpus",
           "gpu_hours", "hosts", "job_id")  # fmt: skip


def _events(run: RunFolder) -> Sequence[Mapping[str, Any]]:
    with suppress(ReadError):
        return run.events()
    return ()


def _statuses(run: RunFolder) -> Iterator[Status]:
    """Of all attempts that began, the first one first."""
    folders = [*reversed(run.attempts()), run]
    found = (folder.readable_status() for folder in folders)
    return (status for status in found if status and status.started is not None)


def _attempt(status: Status, gpus: int | None) -> dict[str, Any]:
    known = None not in (status.started, status.ended, gpus)
    hours = (status.ended - status.started) * gpus / HOUR if known else None  # type: ignore[operator]
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
    known = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    return pd.DataFrame(list(rows), columns=list(known)).convert_dtypes()
