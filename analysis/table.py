"""Records as a table with one row per point: best first, failures after, rejections last."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.columns import COLUMNS, FORMS, OF_SPEC
from launcher.decode import one_of
from launcher.errors import ConfigError
from launcher.record import Figures, Prediction, RunRecord


def frame(records: Sequence[RunRecord], sort: str | None = None) -> pd.DataFrame:
    """One row per record, in the columns of `COLUMNS`; what is unknown is NA.

    Args:
        records: in any order.
        sort: a column, ascending; with a leading "-" descending. Without it the fastest comes
            first, then what failed, then what never ran; stages of a curriculum in their order.

    Raises:
        ConfigError: no such column.
    """
    rows = pd.DataFrame([_row(record) for record in records], columns=list(COLUMNS))
    rows = rows.astype({name: "Int64" for name, form in COLUMNS.items() if form == "d"})
    kinds = {found.figures.memory_kind for found in records} - {None}
    rows.attrs["memory"] = "rss_gib" if kinds == {"rss"} else "mem_gib"
    if sort is None:
        staged = [record.spec.stage is not None for record in records]
        if any(staged) and all(staged):
            return sorted_by(rows, "row") if rows["row"].notna().any() else rows
        order = pd.Series([_rank(r) for r in records], index=rows.index, dtype=float)
        speed = -pd.to_numeric(rows["tokens_per_s"]).where(order == 0)
        keys = pd.DataFrame({"order": order, "speed": speed, "row": rows["row"]})
        return rows.loc[keys.sort_values(["order", "speed", "row"]).index].reset_index(drop=True)
    return sorted_by(rows, sort)


_MEASURED = (*(f.name for f in dataclasses.fields(Figures) if f.name in COLUMNS),
             "attempt", "seconds", "eta_days", "bad_hosts", "hosts", "job_id", "commit",
             "code", "pred_mem_err_pct", "pred_step_err_pct")  # fmt: skip
"""Columns that have nothing to say before a run."""


def plain(
    rows: Sequence[Mapping[str, Any]],
    sort: str | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rows of any columns, or of these where there may be no row; what is unknown is NA.

    Raises:
        ConfigError: no column to sort by.
    """
    table = pd.DataFrame(
        list(rows), columns=None if columns is None else list(columns)
    ).convert_dtypes()
    table.attrs["plain"] = True
    return table if sort is None else sorted_by(table, sort)


def narrow(
    rows: Sequence[Mapping[str, Any]],
    shown: Mapping[str, str],
    notes: Sequence[str],
    sort: str | None = None,
) -> pd.DataFrame:
    """Some columns of rows, for a text of usual width. Raises ConfigError: none to sort by.

    Args:
        rows: of any columns.
        shown: the columns, and their titles.
        notes: lines below the table.
        sort: a column of the rows, whether it is shown or not.
    """
    table = plain(rows, sort)[list(shown)]
    table.attrs |= {"plain": True, "titles": shown, "notes": notes, "wide": 120}
    table.attrs["folded"] = ("model", "layout")
    return table


def render(rows: pd.DataFrame, form: str) -> str:
    """A table as text; ``form`` is a key of `FORMATS`."""
    return FORMATS[form](rows)


def put(rows: pd.DataFrame, form: str, path: str | None) -> None:
    """Print a table, or write it to a file. Raises ConfigError where that is not possible."""
    if path is not None and form == "parquet":
        try:
            rows.to_parquet(path)
        except OSError as error:
            raise ConfigError(f"--output: {path}: {error.strerror}") from error
        return
    write(render(rows, form), path)


def write(text: str, path: str | None) -> None:
    """Print a text, or write it to a file. Raises ConfigError where that is not possible."""
    if path is None:
        print(text)
        return
    try:
        Path(path).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {path}: {error.strerror}") from error


def sorted_by(rows: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Rows in the order of a column; what is unknown comes last. Raises ConfigError."""
    column = sort.removeprefix("-")
    one_of(column, dict.fromkeys(rows.columns), "--sort")
    if len(rows) and rows[column].isna().all():
        raise ConfigError(f"--sort: {column} is empty in all rows")
    up = not sort.startswith("-")
    return rows.sort_values(column, ascending=up, na_position="last", kind="stable").reset_index(
        drop=True
    )


def _row(record: RunRecord) -> dict[str, Any]:
    spec, figures = record.spec, record.figures
    expected, rss = record.prediction or Prediction(), figures.memory_kind == "rss"
    values = {
        "row": record.row,
        "spec_id": spec.id,
        "outcome": record.outcome,
        "cause": record.cause,
        "remark": record.remark,
        **{name: get(spec) for name, get in OF_SPEC.items()},
        "attempt": record.attempt,
        "seconds": record.seconds,
        "eta_days": record.eta_days,
        "bad_hosts": " ".join(record.bad_hosts) or None,
        "hosts": " ".join(record.hosts) or None,
        "job_id": record.job_id,
        "commit": record.commit,
        "code": record.code,
        "pred_mem_gib": expected.memory_gib,
        "pred_oom_prob": expected.oom,
        "pred_step_ms": expected.step_ms,
        "pred_mem_err_pct": None if rss else _error(expected.memory_gib, figures.mem_max_gib),
        "pred_step_err_pct": _error(expected.step_ms, figures.step_ms_p50),
    }
    for name in COLUMNS:
        if name not in values:
            values[name] = getattr(figures, name)
    return {name: values[name] for name in COLUMNS}


def _error(expected: float | None, measured: float | None) -> float | None:
    return 100 * (expected / measured - 1) if expected and measured else None


def _rank(record: RunRecord) -> int:
    """0 for what ran well, 1 for what failed, 2 for what never ran."""
    return {"ok": 0, "rejected": 2, "pruned": 2}.get(record.outcome, 1)


_WIDE = 250
"""Columns of text where no terminal says how wide it is."""


def _text(rows: pd.DataFrame) -> str:
    """The columns that tell the rows apart; what all rows share is said once, above."""
    shared, shown = _split(rows)
    folded = {*_LONG, *rows.attrs.get("folded", ())}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        side: Literal["left", "right"] = "right" if FORMS.get(name) else "left"
        title = rows.attrs.get("memory", name) if name == "mem_max_gib" else _SHORT.get(name, name)
        title = rows.attrs.get("titles", {}).get(name, title)
        table.add_column(title, justify=side, no_wrap=name not in folded)
    for _, row in rows.iterrows():
        table.add_row(*(_cell(name, row[name]) for name in shown))
    width = None if Console().is_terminal else rows.attrs.get("wide", _WIDE)
    # A cause may say [/path] or :name:, which are no markup.
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        if shared:
            console.print("  ".join(f"{key} {_cell(key, value)}" for key, value in shared.items()))
        console.print(table)
        for note in rows.attrs.get("notes", ()):
            console.print(note)
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
    form = "" if isinstance(value, str) else FORMS.get(name)
    return format(value, form) if form else str(value)


def _filled(rows: pd.DataFrame, unknown: str | None) -> pd.DataFrame:
    return rows.astype(object).where(rows.notna(), unknown)


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "table": _text,
    "csv": lambda rows: rows.to_csv(index=False).rstrip("\n"),
    "json": lambda rows: json.dumps(_filled(rows, None).to_dict(orient="records"), indent=1),
    "md": lambda rows: _filled(rows, "").to_markdown(index=False),
    "html": lambda rows: _filled(rows, "").to_html(index=False, border=0),
}
