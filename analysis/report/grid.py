"""The table of all points as the page gets it: columns of values, and how each is shown."""

import re
from typing import Any

import pandas as pd

from analysis import table
from analysis.report.markup import Html, clean, joined, script_json, tag
from analysis.report.parts import called
from launcher.results.columns import FORMS, column_of


def payload(rows: pd.DataFrame) -> Html:
    """The data of the table: for page.js."""
    _, shown = _split(rows)
    columns = [_column(rows, name, name in shown) for name in _order(rows)]
    return script_json({"rows": len(rows), "columns": columns})


def shared_line(rows: pd.DataFrame) -> Html | None:
    """What all rows have in common, said once."""
    shared, _ = _split(rows)
    if not shared or len(rows) < 2:
        return None
    words = [joined([tag("span", name), " ", tag("b", table.cell(name, value)), " "])
             for name, value in shared.items()]  # fmt: skip
    return tag("p", "In all rows: ", *words, _class="shared")


def _split(rows: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """(what all rows share, the columns that are shown at first)."""
    shared, shown = table.split(rows)
    return ({}, [*shared, *shown]) if len(rows) < 2 else (shared, shown)


def _order(rows: pd.DataFrame) -> list[str]:
    """Long texts come last, as in the table of the command line; but a cause stays beside its
    outcome, so that nobody has to scroll for it."""
    names = [name for name in rows.columns if rows[name].notna().any()]
    return sorted(names, key=lambda name: column_of(name).long and name != "cause")


def _column(rows: pd.DataFrame, name: str, shown: bool) -> dict[str, Any]:
    form = FORMS.get(name, "")
    column: dict[str, Any] = {"name": name, "shown": shown}
    if form:
        return column | {"form": _form(form), "values": _numbers(rows[name])}
    if name == "sweep":
        rows = rows.assign(sweep=rows["sweep"].map(called(rows["sweep"].dropna().unique())))
    texts = [None if pd.isna(value) else clean(value) for value in rows[name].tolist()]
    known = sorted({text for text in texts if text is not None})
    place = {text: number for number, text in enumerate(known)}
    return column | {
        "texts": known, "values": [None if t is None else place[t] for t in texts],
    }  # fmt: skip


def _form(form: str) -> dict[str, Any]:
    """``+,.1f`` as the page's script reads it."""
    found = re.fullmatch(r"(\+?)(,?)(?:\.(\d+))?([dfg])", form)
    assert found, f"{form} is no form of a column"
    return {"sign": bool(found[1]), "group": bool(found[2]), "digits": int(found[3] or 0),
            "kind": found[4]}  # fmt: skip


def _numbers(values: pd.Series) -> list[float | int | None]:
    out: list[float | int | None] = []
    for value in pd.to_numeric(values).tolist():
        if pd.isna(value) or value in (float("inf"), float("-inf")):
            out.append(None)
        else:
            number = float(f"{value:.10g}")
            out.append(int(number) if number.is_integer() else number)
    return out
