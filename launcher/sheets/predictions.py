"""Sheets somebody keeps by hand: predictions for their rows, constants fitted to them."""

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from launcher.decode import decode
from launcher.errors import ConfigError
from launcher.planner import memory
from launcher.planner.constants import Constants
from launcher.planner.forecast import Forecast, Grid
from launcher.planner.points import GIB, RECOMPUTE
from launcher.results.columns import COLUMNS
from launcher.sheets import file, fit, reading, rules, sheet, spelling, titles, validation
from launcher.sheets.cells import BLANK
from launcher.sheets.sheet import Sheet
from launcher.spec.cluster import Cluster
from launcher.spec.layout import layout_label
from launcher.spec.shape import ModelShape

PREDICTED = ("pred_mem_gib", "pred_oom_prob", "pred_step_ms", "pred_tokens_per_s_per_gpu")
"""Columns of figures that are added to those of a sheet."""

UNKNOWN = "unknown"
"""Outcome of a row that gets no prediction, and whose reason says why."""

RESULTS = frozenset(
    title
    for name, column in COLUMNS.items()
    if column.from_sheet is not None
    for title in (spelling.bare(name), *column.from_sheet)
) | {"row", "id", "run", "powerw", "power", "watts"}
"""Titles, as letters and digits, of what came of a run, and of its number or name."""

SIMILARITY = 0.85
"""Likeness of two titles, of which one is then taken for a slip: mem_max_gb is none of mem_gb."""


def read(path: Path) -> Sheet:
    """A CSV file or a workbook; lines that begin with # are remarks. Raises ConfigError."""
    return sheet.read(file.rows(path), clusters(), models())


def mistyped(sheet: Sheet) -> list[str]:
    """Columns that are not read, but are called much like one that would be and is not there."""
    titles = list(sheet.written[0])
    present = {spelling.column(title) for title in titles}
    missing = [name for name in spelling.COLUMNS if name not in present]
    unknown = [title for title in titles if not spelling.column(title)]
    close = {
        t: difflib.get_close_matches(t.lower(), missing, n=1, cutoff=SIMILARITY) for t in unknown
    }
    return [
        f"column {t!r} is not read; did you mean {names[0]!r}?"
        for t, names in close.items()
        if names
    ]


def predicted(sheet: Sheet, constants: Constants) -> list[dict[str, Any]]:
    """Return the rows, each with its predictions and the verdict on it."""
    points = sheet.points
    grid = Grid(points=points, constants=constants, extra=np.zeros((len(points), 0)))
    kinds = np.array(sheet.memory_kinds)
    figures = np.zeros(len(points))
    for kind in np.unique(kinds):
        mask = kinds == kind
        figures[mask] = memory.reported_bytes(points[mask], constants.memory, str(kind))
    oom, required = Forecast(grid=grid).oom, grid.required_bytes
    predictions = []
    for i, row in enumerate(sheet.written):
        reason = rules.broken(sheet, i)
        if refusal := sheet.refusals[i]:
            predictions.append(
                {
                    **row,
                    **dict.fromkeys(PREDICTED),
                    "plan_outcome": "rejected" if reason else UNKNOWN,
                    "plan_reason": reason or refusal,
                    "plan_note": None,
                }
            )
            continue
        outcome = "rejected" if reason else "oom" if oom[i] > 0.5 else "ok"
        if outcome == "oom":
            reason = (
                f"needs {required[i] / GIB:.1f} GiB, the device has {points.memory[i] / GIB:.1f}"
            )
        predictions.append(
            {
                **row,
                "pred_mem_gib": round(float(figures[i]) / GIB, 2),
                "pred_oom_prob": round(float(oom[i]), 4),
                "pred_step_ms": round(float(grid.seconds[i]) * 1e3, 2),
                "pred_tokens_per_s_per_gpu": round(
                    float(grid.tokens_per_device[i] / grid.seconds[i]), 1
                ),
                "plan_outcome": outcome,
                "plan_reason": reason,
                "plan_note": sheet.notes[i] or None,
            }
        )
    return predictions


def not_read(sheet: Sheet) -> list[str]:
    """Columns that are neither of a prediction nor of a figure, blank ones apart."""
    texts = {title: [row[title] for row in sheet.written] for title in sheet.written[0]}
    return [
        titles.shown(title)
        for title, column in texts.items()
        if not (_is_read(title) or reading.reads_cells(title, column))
        and any(text.strip().lower() not in BLANK for text in column)
    ]


def _is_read(title: str) -> bool:
    return bool(spelling.column(title) or titles.measure(title) or spelling.bare(title) in RESULTS)


BRIEF = {
    "row": "row", "id": "id", "model": "model", "layout": "layout", "gpus": "gpus",
    "pred_mem_gib": "mem_gib", "pred_oom_prob": "oom_prob", "pred_step_ms": "step_ms",
    "tokens_per_s": "tok_s_gpu", "reason": "plan",
}  # fmt: skip
"""Columns of the table that a person reads, and their titles."""


def brief(sheet: Sheet, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each row of `predicted` the columns of `BRIEF` that it does not have."""
    table, arrays = [], dataclasses.asdict(sheet.points)
    for i, (row, prediction) in enumerate(zip(sheet.rows, rows, strict=True)):
        point = {name: array[i] for name, array in arrays.items()}
        sizes = "" if sheet.refusals[i] else f"{point['layers']:g} x {point['hidden']:g}"
        name = row.get("model") or sizes
        layout = layout_label(
            point,
            f"z{point['zero']:g}{'+offload' if point['offload'] else ''}",
            *_recomputed(point),
            f"mbs{point['micro_batch']:g}",
        )
        reason = [prediction[name] for name in ("plan_outcome", "plan_reason") if prediction[name]]
        title = next((title for title in ("id", "run", "row") if title in row), None)
        identity = {"id": row[title]} if title else {}
        table.append(
            identity
            | {
                "row": i + 1,
                "model": name if len(name) < 21 else f"{name[:18]}..",
                "layout": layout,
                "gpus": int(point["gpus"]),
                "reason": ": ".join(reason),
                "tokens_per_s": prediction["pred_tokens_per_s_per_gpu"],
            }
        )
    return table


def _recomputed(point: Mapping[str, float]) -> list[str]:
    """Words of a label: ``full``, ``full block 4``, ``selective layernorm``; none where none is."""
    kind = RECOMPUTE[int(point["recompute"])]
    modules = ("core_attn", "layernorm", "feed_forward", "moe_act")
    words = [name for name in modules if point[f"repeats_{name}"]]
    if words == ["core_attn"]:
        words = []
    if math.isfinite(point["recompute_layers"]):
        words = ["block", f"{point['recompute_layers']:g}"]
    if point["recompute_unit"] > 1:
        words = ["uniform", f"{point['recompute_unit']:g}"]
    return [] if kind == "none" else [kind, *words]


def shared_notes(sheet: Sheet) -> list[str]:
    """Lines that say what was assumed in the rows that are predicted, and what is not read."""
    notes = {
        number: note.split(", ")
        for number, note in enumerate(sheet.notes, 1)
        if not sheet.refusals[number - 1]
    }
    first = next(iter(notes.values()), [])
    shared = [part for part in first if part and all(part in parts for parts in notes.values())]
    groups: dict[str, list[int]] = {}
    for number, parts in notes.items():
        specific = ", ".join(part for part in parts if part not in shared)
        groups.setdefault(specific, []).append(number)
    lines = [f"assumed in all rows: {', '.join(shared)}"] if shared else []
    lines += [f"in {_ranges(numbers)}: {note}" for note, numbers in groups.items() if note]
    unread = not_read(sheet)
    return [*lines, *([f"not read: {', '.join(unread)}"] if unread else [])]


def _ranges(numbers: Sequence[int]) -> str:
    """``row 3``, ``rows 1-4, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(texts)}"


def fitted(
    measured: Sheet, path: Path, start: Constants = fit.DEFAULTS
) -> tuple[Constants, list[dict[str, Any]]]:
    """Constants fitted to a sheet, and a table of the errors on each source that is left out.

    Args:
        measured: the sheet.
        path: its file, for messages.
        start: see `fit.fit`.

    Raises:
        ConfigError: there is nothing to fit to.
    """
    try:
        constants = fit.fit(measured, start=start)
        errors = validation.errors(measured, start)
    except ConfigError as error:
        raise ConfigError(f"--fit: {path}: {error}") from error
    rows = [
        {
            "of": error.quantity,
            "source": error.source,
            "rows": error.rows,
            "median_err_pct": _percent(error.median),
            "bias_pct": _percent(error.bias),
            "rank_in_grid": None if error.rank is None else round(error.rank, 2),
            "err_after_3_pct": _percent(error.corrected),
            "right_pct": _percent(error.right),
            "missed_oom_pct": _percent(error.missed),
        }
        for error in errors
    ]
    command = f"launch plan --fit {path.name}"
    return dataclasses.replace(constants, fitted=command), rows


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


@cache
def clusters() -> Mapping[str, Cluster]:
    """The clusters of conf/, by name."""
    files = {name: data.get("cluster", {}) for name, data in _files("cluster")}
    complete = {name: data for name, data in files.items() if "accelerator" in data}
    return {name: decode(Cluster, data, f"cluster={name}") for name, data in complete.items()}


@cache
def models() -> Mapping[str, ModelShape]:
    """The models of conf/, by name."""
    return {name: decode(ModelShape, data, f"model={name}") for name, data in _files("model")}


def _files(group: str) -> Iterator[tuple[str, Any]]:
    for entry in sorted((resources.files("conf") / group).iterdir(), key=lambda file: file.name):
        if entry.name.endswith(".yaml"):
            text = entry.read_text(encoding="utf-8")
            yield entry.name.removesuffix(".yaml"), yaml.safe_load(text)
