"""What tells points apart, in words."""

from typing import Any

import pandas as pd

from analysis import table
from analysis.charts.style import plain
from launcher.results.columns import COLUMNS, OF_SPEC, column_of


def short(folder: Any) -> str:
    """The name of a run's folder, without the path."""
    return str(folder).rstrip("/").rsplit("/", maxsplit=1)[-1]


def names(rows: pd.DataFrame) -> "pd.Series[str]":
    """For each row what tells it from the others: ``tp 2 pp 1 zero 1``; of a stage, its name.

    Args:
        rows: as `Runs.table` gives them.
    """
    if len(rows) and rows["stage"].notna().all():
        return rows["folder"].map(short, na_action="ignore").fillna(rows["stage"]).astype(str)
    labels = [name for name in OF_SPEC if COLUMNS[name].label]
    differ = [name for name in labels if rows[name].nunique(dropna=False) > 1]
    said = _said(rows, [*differ, "remark"])
    other = rows["folder"].map(short, na_action="ignore").fillna(rows["sweep"]).fillna("run")
    return said.where(said != "", other).astype(str)


def groups(rows: pd.DataFrame) -> "pd.Series[str]":
    """For each row what decides its losses, as far as rows differ in it: ``global_batch 16``."""
    decisive = [name for name, column in COLUMNS.items() if column.decides_loss]
    return _said(rows, [name for name in decisive if rows[name].nunique(dropna=False) > 1])


def by_folder(rows: pd.DataFrame | None, texts: "pd.Series[str] | None" = None) -> dict[str, str]:
    """Folder -> a text of its row; `names` where none are given."""
    if rows is None:
        return {}
    known = rows["folder"].notna()
    said = (names(rows) if texts is None else texts)[known]
    return dict(zip(rows["folder"][known].astype(str), said.astype(str), strict=True))


def hover(rows: pd.DataFrame, called: "pd.Series[str]", shown: tuple[str, ...]) -> list[str]:
    """For each row lines for the pointer: its name, and some columns of it."""
    out = []
    for name, *values in zip(called[rows.index], *(rows[one] for one in shown), strict=True):
        lines = [plain(name, 200)]
        for column, value in zip(shown, values, strict=True):
            if not pd.isna(value):
                lines.append(f"{column} {plain(table.cell(column, value), 200)}")
        out.append("<br>".join(lines))
    return out


def _said(rows: pd.DataFrame, columns: list[str]) -> "pd.Series[str]":
    said = []
    for values in rows[columns].itertuples(index=False):
        words = (_word(*pair) for pair in zip(columns, values, strict=True))
        said.append(" ".join(word for word in words if word))
    return pd.Series(said, index=rows.index, dtype=object)


def _word(name: str, value: Any) -> str:
    if pd.isna(value) or value is False:
        return ""
    if value is True:
        return name
    text = table.cell(name, value)
    return text if column_of(name).label == "value" or not text else f"{name} {text}"
