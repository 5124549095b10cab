"""A run's folder, or a record of it, as the row of a table. Without pandas: it is done often."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from launcher.errors import ReadError
from launcher.results import imported, metrics, summary
from launcher.results.columns import COLUMNS, FIGURES, OF_RECORD, OF_SPEC
from launcher.results.imported import Imported
from launcher.results.metrics import Brief
from launcher.results.record import Figures, RunRecord, read_prediction
from launcher.results.run_folder import IMPORTED, SPEC, STATUS, TRACES, RunFolder, Status
from launcher.spec.run import RunSpec

UNFINISHED = ("running", "queued", "not started")
"""What the outcome of a row says that has none yet."""

FACTS = (*COLUMNS, "name", "memory_kind", "ended")
"""What is known of each row; the last ones are no columns."""

Row = dict[str, Any]


def of_folder(path: Path) -> Row:
    """The row of a run's folder, whatever state it is in.

    One that cannot be read has the outcome "unreadable" and a cause that says why.
    """
    try:
        files = set(os.listdir(path))
        if IMPORTED in files:
            return of_imported(imported.read(path)) | {"name": path.name}
        return _of_run(RunFolder(path), files)
    except ReadError as error:
        return unreadable(path, _told(error, path))
    except OSError as error:
        return unreadable(path, f"{error.strerror}")


def unreadable(path: Path, cause: str) -> Row:
    """The row of a folder that is damaged."""
    return _blank() | {"outcome": "unreadable", "cause": cause, "name": path.name}


def of_record(record: RunRecord) -> Row:
    """The row of a record."""
    row = _blank() | _of_figures(record.figures)
    row |= {name: value(record.spec) for name, value in OF_SPEC.items()}
    row |= {name: value(record) for name, value in OF_RECORD.items()}
    return row | {"name": record.spec.name, "ended": record.ended}


def of_imported(found: Imported) -> Row:
    """The row of a run that this project did not start."""
    known = {one.name: getattr(found.known, one.name) for one in dataclasses.fields(found.known)}
    return _blank() | _of_figures(found.figures) | known | {
        "outcome": found.outcome,
        "cause": found.cause,
        "remark": f"{found.source}: {found.remark}" if found.remark else found.source,
        "stated_tflops_per_gpu": found.stated_tflops_per_gpu,
        "seconds": found.seconds,
        "hosts": " ".join(found.hosts) or None,
        "job_id": found.job_id,
        "commit": found.commit,
        "ended": found.ended,
    }  # fmt: skip


def _of_run(folder: RunFolder, files: set[str]) -> Row:
    if SPEC not in files:
        raise ReadError(f"{SPEC} is missing")
    spec = folder.spec()
    status = folder.readable_status()
    if status and status.state != "ended":
        return _so_far(folder, spec, status)
    if files.isdisjoint(TRACES):
        return _so_far(folder, spec, None)
    row = of_record(summary.record_of(spec, folder))
    if STATUS not in files:
        row["remark"] = "; ".join(filter(None, (row["remark"], f"{STATUS} is missing")))
    row["cause"] = row["cause"] and row["cause"].replace(f"{folder.path}/", "")
    return row


def _so_far(folder: RunFolder, spec: RunSpec, status: Status | None) -> Row:
    """The row of a run that has not ended."""
    lines = metrics.read(folder.metrics, Brief).lines
    figures = summary.measured(spec, lines, {}, folder.events())
    found = RunRecord(
        spec=spec, outcome="ok", figures=figures, prediction=read_prediction(folder),
        attempt=status.attempt if status else None, commit=status.commit if status else None,
        hosts=status.nodes if status else (), job_id=status.job_id if status else None,
    )  # fmt: skip
    return of_record(found) | {"outcome": status.state if status else "not started"}


def _of_figures(figures: Figures) -> Row:
    return {name: getattr(figures, name) for name in (*FIGURES, "memory_kind")}


def _blank() -> Row:
    return dict.fromkeys(FACTS)


def _told(error: ReadError, path: Path) -> str:
    text = str(error).replace(f"{path}/", "")
    foreign = "no such key" in text or "is required" in text or "is not one of" in text
    return f"{text}; another version may have written it" if foreign else text
