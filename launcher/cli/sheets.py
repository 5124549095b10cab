"""Sheets somebody keeps by hand: predictions for their rows, constants fitted to them, replays."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from launcher.cluster import Cluster
from launcher.decode import decode, hint
from launcher.errors import ConfigError, LayoutError
from launcher.layout import ParallelLayout
from launcher.planner import fit, memory, sheet
from launcher.planner.constants import Constants
from launcher.planner.forecast import Forecast, Grid
from launcher.planner.points import GIB
from launcher.planner.sheet import Sheet
from launcher.shape import ModelShape
from sweeps import STRATEGIES
from sweeps.replay import Replayed, groups, judged, replay
from sweeps.search import Stop

GROUP_BY = ("model", "seq_len", "n_gpus", "hardware")
"""Columns whose rows are compared with each other where nothing else is said."""


def read(path: Path) -> Sheet:
    """A CSV file; lines that begin with # are remarks. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    rows = list(csv.DictReader(lines, restkey="", restval=""))
    if not rows:
        raise ConfigError(f"{path}: no rows below its first line")
    return sheet.read(rows, _clusters(), _models())


def predicted(sheet: Sheet, constants: Constants) -> list[dict[str, Any]]:
    """The rows, with what the planner says of each."""
    points = sheet.points
    grid = Grid(points=points, constants=constants, extra=np.zeros((len(points), 0)))
    kinds = np.array(sheet.memory_kinds)
    figures = np.zeros(len(points))
    for kind in np.unique(kinds):
        mine = kinds == kind
        figures[mine] = memory.figure(points[mine], constants.memory, str(kind))
    oom = Forecast(grid=grid).oom
    out = []
    for i, row in enumerate(sheet.rows):
        reason = _impossible(sheet, i)
        outcome = "rejected" if reason else "oom" if oom[i] > 0.5 else "ok"
        wanted = memory.wanted(points[i : i + 1], constants.memory)[0] / GIB
        if outcome == "oom":
            reason = f"needs {wanted:.1f} GiB, the device has {points.memory[i] / GIB:.1f}"
        out.append({
            **row,
            "pred_mem_gib": round(float(figures[i]) / GIB, 2),
            "pred_oom_prob": round(float(oom[i]), 4),
            "pred_step_ms": round(float(grid.seconds[i]) * 1e3, 2),
            "pred_tokens_per_s_per_gpu": round(float(grid.tokens[i] / grid.seconds[i]), 1),
            "plan_outcome": outcome,
            "plan_reason": reason,
            "plan_note": sheet.notes[i] or None,
        })  # fmt: skip
    return out


def fitted(path: Path) -> tuple[Constants, list[dict[str, Any]]]:
    """Constants fitted to a sheet, and a table of the errors on each source that is left out."""
    found = read(path)
    try:
        constants, errors = fit.fit(found)
    except ConfigError as error:
        raise ConfigError(f"--fit: {path}: {error}") from error
    rows = [
        {
            "of": one.what,
            "source": one.source,
            "rows": one.rows,
            "median_err_pct": round(100 * one.median, 1),
            "bias_pct": round(100 * one.bias, 1),
        }
        for one in errors
    ]
    said = f"launch plan --fit {path.name}"
    return replace(constants, fitted=said), rows


def replayed(
    sheet: Sheet,
    constants: Constants,
    strategy: str,
    by: Sequence[str],
    axes: Sequence[str],
    seed: int,
    stop: Stop,
) -> Iterator[Replayed]:
    """What a strategy does in each group of rows. Raises ConfigError on a column there is not."""
    known = dict.fromkeys(sheet.rows[0])
    for option, names in (("--group-by", by), ("--axis", axes)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{option}: no column {name!r}{hint(name, known)}")
    choose = STRATEGIES[strategy]
    for rows in groups(sheet, by).values():
        order, why = replay(sheet, rows, choose, constants, axes=axes, stop=stop, seed=seed)
        yield judged(sheet, by, rows, order, why)


def _impossible(sheet: Sheet, number: int) -> str | None:
    """Which rule of arithmetic a row breaks."""
    one = sheet.points[number : number + 1]
    value = {name: getattr(one, name)[0] for name in _WHOLE}
    if any(not np.isfinite(size) or size % 1 for size in value.values()):
        return None
    size = {name: int(size) for name, size in value.items()}
    layout = ParallelLayout(
        tp=size["tp"], pp=size["pp"], vpp=size["vpp"], cp=size["cp"], ep=size["ep"],
        micro_batch=size["micro_batch"], sequence_parallel=False,
    )  # fmt: skip
    model = ModelShape(
        name=sheet.rows[number].get("model") or "the model", layers=size["layers"],
        hidden=size["hidden"], ffn=size["ffn"], heads=size["heads"], kv_heads=size["kv_heads"],
        vocab=size["vocab"], sequence=size["sequence"], experts=int(one.experts[0]),
    )  # fmt: skip
    try:
        layout.check(model, size["gpus"], size["global_batch"])
    except LayoutError as error:
        assumed = {note.split(" ")[0] for note in sheet.notes[number].split(", ")}
        unknown = size["ep"] > 1 and not one.experts[0]  # nothing is said of its experts
        return None if unknown or assumed & set(_DECIDE) else str(error)
    return None


_DECIDE = ("layers", "heads", "ffn", "n_gpus", "global_batch", "tp", "pp")
"""Where one of these was assumed, a rule that is broken says nothing of the row."""

_WHOLE = ("tp", "pp", "vpp", "cp", "ep", "micro_batch", "layers", "hidden", "ffn", "heads",
          "kv_heads", "vocab", "sequence", "gpus", "global_batch")  # fmt: skip


@cache
def _clusters() -> Mapping[str, Cluster]:
    found = {name: data.get("cluster", {}) for name, data in _files("cluster")}
    whole = {name: data for name, data in found.items() if "accelerator" in data}
    return {name: decode(Cluster, data, f"cluster={name}") for name, data in whole.items()}


@cache
def _models() -> Mapping[str, ModelShape]:
    return {name: decode(ModelShape, data, f"model={name}") for name, data in _files("model")}


def _files(group: str) -> Iterator[tuple[str, Any]]:
    for file in (resources.files("conf") / group).iterdir():
        if file.name.endswith(".yaml"):
            yield file.name.removesuffix(".yaml"), yaml.safe_load(file.read_text(encoding="utf-8"))
