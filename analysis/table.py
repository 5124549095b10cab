"""Records as a table with one row per point: best first, failures after, rejections last."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.columns import COLUMNS
from launcher.decode import one_of
from launcher.errors import ConfigError
from launcher.record import Figures, Planned, RunRecord


def frame(records: Sequence[RunRecord], sort: str | None = None) -> pd.DataFrame:
    """One row per record, in the columns of `COLUMNS`; what is unknown is NA.

    Args:
        records: in any order.
        sort: a column, ascending; with a leading "-" descending. Without it the fastest comes
            first, then what failed, then what never ran.

    Raises:
        ConfigError: no such column.
    """
    rows = pd.DataFrame([_row(record) for record in records], columns=list(COLUMNS))
    rows = rows.astype({name: "Int64" for name, form in COLUMNS.items() if form == "d"})
    kinds = {found.figures.memory_kind for found in records} - {None}
    rows.attrs["memory"] = "rss_gib" if kinds == {"rss"} else "mem_gib"
    if sort is None:
        order = pd.Series([_rank(r) for r in records], index=rows.index, dtype=float)
        speed = -pd.to_numeric(rows["tokens_per_s"]).where(order == 0)
        keys = pd.DataFrame({"order": order, "speed": speed, "row": rows["row"]})
        return rows.loc[keys.sort_values(["order", "speed", "row"]).index].reset_index(drop=True)
    return _sorted(rows, sort)


_MEASURED = (*(f.name for f in dataclasses.fields(Figures) if f.name in COLUMNS),
             "attempt", "seconds", "eta_days", "bad_hosts", "hosts", "job_id", "commit",
             "code")  # fmt: skip
"""Columns that have nothing to say before a run."""


def plain(rows: Sequence[Mapping[str, Any]], sort: str | None = None) -> pd.DataFrame:
    """Rows of any columns; what is unknown is NA. Raises ConfigError: no column to sort by."""
    table = pd.DataFrame(list(rows)).convert_dtypes()
    table.attrs["plain"] = True
    return table if sort is None else _sorted(table, sort)


def plan(points: Sequence[Planned], sort: str | None = None) -> pd.DataFrame:
    """One row per point before anything ran: what would run first, then what is rejected."""
    records = [
        RunRecord(
            spec=point.spec,
            outcome="rejected" if point.reason else "ok",
            cause=point.reason,
            remark=point.remark,
            prediction=point.prediction,
            row=point.row,
        )
        for point in points
    ]
    rows = frame(records).rename(columns={"outcome": "plan", "cause": "reason"})
    rows["plan"] = rows["plan"].replace({"ok": "run"})
    rows = rows.drop(columns=list(_MEASURED))
    return rows if sort is None else _sorted(rows, sort)


def render(rows: pd.DataFrame, form: str) -> str:
    """A table as text; ``form`` is a key of `FORMATS`."""
    return FORMATS[form](rows)


def put(rows: pd.DataFrame, form: str, path: str | None) -> None:
    """Print a table, or write it to a file. Raises ConfigError where that is not possible."""
    if path is None:
        print(render(rows, form))
        return
    try:
        if form == "parquet":
            rows.to_parquet(path)
        else:
            Path(path).write_text(render(rows, form) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {path}: {error.strerror}") from error


def _sorted(rows: pd.DataFrame, sort: str) -> pd.DataFrame:
    column = sort.removeprefix("-")
    one_of(column, dict.fromkeys(rows.columns), "--sort")
    up = not sort.startswith("-")
    return rows.sort_values(column, ascending=up, na_position="last", kind="stable").reset_index(
        drop=True
    )


def _row(record: RunRecord) -> dict[str, Any]:
    spec, layout, figures = record.spec, record.spec.layout, record.figures
    values = {
        "row": record.row,
        "spec_id": spec.id,
        "outcome": record.outcome,
        "cause": record.cause,
        "remark": record.remark,
        "backend": spec.backend,
        "model": spec.model.name,
        "params_b": spec.model.params / 1e9,
        "nodes": spec.cluster.nodes,
        "gpus": spec.cluster.gpus,
        "dp": None if spec.cluster.gpus % (layout.tp * layout.pp * layout.cp) else spec.dp,
        "sp": layout.sp,
        "global_batch": spec.train.global_batch,
        "seq_len": spec.model.sequence,
        "precision": spec.train.precision,
        "attempt": record.attempt,
        "seconds": record.seconds,
        "eta_days": record.eta_days,
        "bad_hosts": " ".join(record.bad_hosts) or None,
        "hosts": " ".join(record.hosts) or None,
        "job_id": record.job_id,
        "commit": record.commit,
        "code": record.code,
        "pred_mem_gib": record.prediction.memory_gib,
        "pred_step_ms": record.prediction.step_ms,
    }
    for name in COLUMNS:
        if name not in values:
            values[name] = getattr(layout if hasattr(layout, name) else figures, name)
    return {name: values[name] for name in COLUMNS}


def _rank(record: RunRecord) -> int:
    """0 for what ran well, 1 for what failed, 2 for what never ran."""
    return {"ok": 0, "rejected": 2, "pruned": 2}.get(record.outcome, 1)


_WIDE = 250
"""Columns of text where no terminal says how wide it is."""


def _text(rows: pd.DataFrame) -> str:
    """The columns that tell the rows apart; what all rows share is said once, above."""
    shared, shown = _split(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        side: Literal["left", "right"] = "right" if COLUMNS.get(name) else "left"
        title = rows.attrs.get("memory", name) if name == "mem_max_gib" else _SHORT.get(name, name)
        table.add_column(title, justify=side, no_wrap=name not in _LONG)
    for _, row in rows.iterrows():
        table.add_row(*(_cell(name, row[name]) for name in shown))
    width = None if Console().is_terminal else _WIDE
    # A cause may say [/path] or :name:, which are no markup.
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        if shared:
            console.print("  ".join(f"{key} {_cell(key, value)}" for key, value in shared.items()))
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


_ALWAYS = ("row", "plan", "outcome", "tokens_per_s", "step_ms_p50", "mem_max_gib", "loss_last")
_NEVER = ("spec_id", "step_ms_p95", "mem_min_gib", "loss_first", "grad_norm_max", "seconds",
          "hosts", "job_id", "commit", "code")  # fmt: skip
_LONG = ("cause", "reason", "remark")
"""Shown last, on several lines where one is too short."""
_SHORT = {
    "micro_batch": "mbs",
    "global_batch": "gbs",
    "tflops_per_gpu": "tflops",
    "step_ms_p50": "step_ms",
}


def _split(rows: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """(what all rows share, the columns to show)."""
    if rows.attrs.get("plain"):
        return {}, [name for name in rows.columns if rows[name].notna().any()]
    shared, shown = {}, []
    for name in rows.columns:
        known = rows[name].dropna()
        if name in _NEVER or known.empty:
            continue
        complete = len(known) == len(rows) or name in _MEASURED  # what never ran has none of these
        if complete and known.nunique() == 1 and name not in (*_ALWAYS, *_LONG):
            shared[name] = known.iloc[0]
        else:
            shown.append(name)
    shown.sort(key=lambda name: name in _LONG)
    return shared, shown


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return ""
    return format(value, COLUMNS.get(name, "")) if COLUMNS.get(name) else str(value)


def _filled(rows: pd.DataFrame, unknown: str | None) -> pd.DataFrame:
    return rows.astype(object).where(rows.notna(), unknown)


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "table": _text,
    "csv": lambda rows: rows.to_csv(index=False).rstrip("\n"),
    "json": lambda rows: json.dumps(_filled(rows, None).to_dict(orient="records"), indent=1),
    "md": lambda rows: _filled(rows, "").to_markdown(index=False),
    "html": lambda rows: _filled(rows, "").to_html(index=False, border=0),
}
