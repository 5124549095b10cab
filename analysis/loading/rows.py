"""A run's folder, or a record of it, as the row of a table. Without pandas: it is done often."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from launcher.decode import fingerprint
from launcher.errors import ReadError
from launcher.results import imported, metrics, summary
from launcher.results.columns import COLUMNS, FIGURES, OF_RECORD, OF_SPEC
from launcher.results.imported import Imported
from launcher.results.metrics import Brief
from launcher.results.record import Figures, RunRecord, read_prediction
from launcher.results.run_folder import IMPORTED, SPEC, STATUS, TRACES, RunFolder, Status
from launcher.spec.run import RunSpec

UNFINISHED = ("running", "queued", "not started")
"""Outcomes of rows that have not ended: the state of the run."""

FACTS = (*COLUMNS, "name", "memory_kind", "ended", "scaling_group")
"""Keys of each row; the last ones are no columns."""

SIZES = {"nodes", "gpus", "dp", "global_batch"}
"""Facts in which runs of a `RunSpec.scaling_group` differ."""

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
        return unreadable(path, _cause(error, path))
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
    return row | {
        "name": record.spec.name,
        "ended": record.ended,
        "scaling_group": record.spec.scaling_group,
    }


def of_imported(run: Imported) -> Row:
    """The row of a run that this project did not start."""
    facts = {fact.name: getattr(run.known, fact.name) for fact in dataclasses.fields(run.known)}
    row = _blank() | _of_figures(run.figures) | facts
    return row | {
        "outcome": run.outcome,
        "cause": run.cause,
        "remark": f"{run.source}: {run.remark}" if run.remark else run.source,
        "stated_tflops_per_gpu": run.stated_tflops_per_gpu,
        "seconds": run.seconds,
        "hosts": " ".join(run.hosts) or None,
        "job_id": run.job_id,
        "commit": run.commit,
        "ended": run.ended,
        # All that its source states of it, but for the size of the machine and the global batch.
        "scaling_group": fingerprint({k: v for k, v in facts.items() if k not in SIZES}),
    }


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
    prediction = read_prediction(folder)
    figures = summary.measured(spec, lines, {}, folder.events(), prediction)
    record = RunRecord(
        spec=spec,
        outcome="ok",
        figures=figures,
        prediction=prediction,
        attempt=status.attempt if status else None,
        commit=status.commit if status else None,
        hosts=status.nodes if status else (),
        job_id=status.job_id if status else None,
    )
    return of_record(record) | {"outcome": status.state if status else "not started"}


def _of_figures(figures: Figures) -> Row:
    return {name: getattr(figures, name) for name in (*FIGURES, "memory_kind")}


def _blank() -> Row:
    return dict.fromkeys(FACTS)


def _cause(error: ReadError, path: Path) -> str:
    cause = str(error).replace(f"{path}/", "")
    signs = ("no such key", "is required", "is not one of")
    of_another_version = any(sign in cause for sign in signs)
    return f"{cause}; another version may have written it" if of_another_version else cause
