"""The table of all points as the page gets it: columns of values, and how each is shown."""

import re
from typing import Any

import pandas as pd

from analysis import table
from analysis.report.markup import Html, clean, joined, script_json, tag
from analysis.report.parts import short_sweeps
from launcher.results.columns import FORMS, column_of


def payload(rows: pd.DataFrame) -> Html:
    """The data of the table: for page.js."""
    _, at_first = _split(rows)
    columns = [_column(rows, name, name in at_first) for name in _order(rows)]
    return script_json({"rows": len(rows), "columns": columns})


def shared_line(rows: pd.DataFrame) -> Html | None:
    """Values that all rows share, said once."""
    shared, _ = _split(rows)
    if not shared or len(rows) < 2:
        return None
    words = [
        joined([tag("span", name), " ", tag("b", table.cell(name, value)), " "])
        for name, value in shared.items()
    ]
    return tag("p", "In all rows: ", *words, _class="shared")


def _split(rows: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """Return the values that all rows share, and the columns that are shown at first."""
    shared, apart = table.split(rows)
    return ({}, [*shared, *apart]) if len(rows) < 2 else (shared, apart)


def _order(rows: pd.DataFrame) -> list[str]:
    """Long texts come last, as in the table of the command line; but a cause stays beside its
    outcome, so that nobody has to scroll for it."""
    names = [name for name in rows.columns if rows[name].notna().any()]
    return sorted(names, key=lambda name: column_of(name).long and name != "cause")


def _column(rows: pd.DataFrame, name: str, at_first: bool) -> dict[str, Any]:
    form = FORMS.get(name, "")
    column: dict[str, Any] = {"name": name, "shown": at_first}
    if form:
        return column | {"form": _form(form), "values": _numbers(rows[name])}
    if name == "sweep":
        rows = rows.assign(sweep=rows["sweep"].map(short_sweeps(rows["sweep"].dropna().unique())))
    texts = [None if pd.isna(value) else clean(value) for value in rows[name].tolist()]
    # Each text once, and for each row its number: most columns have few texts.
    distinct = sorted({text for text in texts if text is not None})
    numbers = {text: number for number, text in enumerate(distinct)}
    values = [None if text is None else numbers[text] for text in texts]
    return column | {"texts": distinct, "values": values}


def _form(form: str) -> dict[str, Any]:
    """``+,.1f`` as the page's script reads it."""
    match = re.fullmatch(r"(\+?)(,?)(?:\.(\d+))?([dfg])", form)
    assert match, f"{form} is no form of a column"
    sign, group, digits, kind = match.groups()
    return {"sign": bool(sign), "group": bool(group), "digits": int(digits or 0), "kind": kind}


def _numbers(values: pd.Series) -> list[float | int | None]:
    numbers: list[float | int | None] = []
    for value in pd.to_numeric(values).tolist():
        if pd.isna(value) or value in (float("inf"), float("-inf")):
            numbers.append(None)
        else:
            number = float(f"{value:.10g}")
            numbers.append(int(number) if number.is_integer() else number)
    return numbers
