"""Names of points: the values in which they differ."""

from typing import Any

import pandas as pd

from analysis import table
from analysis.charts.style import plain
from launcher.results.columns import COLUMNS, OF_SPEC, column_of


def short(folder: Any) -> str:
    """The name of a run's folder, without the path."""
    return str(folder).rstrip("/").rsplit("/", maxsplit=1)[-1]


def names(rows: pd.DataFrame) -> "pd.Series[str]":
    """Name of each row by what tells it from the others: ``tp 2 pp 1 zero 1``; of a stage, its own.

    Args:
        rows: as `Runs.table` gives them.
    """
    if len(rows) and rows["stage"].notna().all():
        return rows["folder"].map(short, na_action="ignore").fillna(rows["stage"]).astype(str)
    columns = [name for name in OF_SPEC if COLUMNS[name].label]
    differ = [name for name in columns if rows[name].nunique(dropna=False) > 1]
    labels = _labels(rows, [*differ, "remark"])
    fallback = rows["folder"].map(short, na_action="ignore").fillna(rows["sweep"]).fillna("run")
    return labels.where(labels != "", fallback).astype(str)


def groups(rows: pd.DataFrame) -> "pd.Series[str]":
    """Values that decide the losses of each row, as far as rows differ: ``global_batch 16``."""
    decisive = [name for name, column in COLUMNS.items() if column.decides_loss]
    return _labels(rows, [name for name in decisive if rows[name].nunique(dropna=False) > 1])


def by_folder(rows: pd.DataFrame | None, texts: "pd.Series[str] | None" = None) -> dict[str, str]:
    """Folder -> text of its row; `names` where none are given."""
    if rows is None:
        return {}
    has_folder = rows["folder"].notna()
    texts = (names(rows) if texts is None else texts)[has_folder]
    return dict(zip(rows["folder"][has_folder].astype(str), texts.astype(str), strict=True))


def hover(rows: pd.DataFrame, names: "pd.Series[str]", columns: tuple[str, ...]) -> list[str]:
    """Text of each row for the pointer: its name, and some columns of it."""
    texts = []
    for name, *values in zip(names[rows.index], *(rows[c] for c in columns), strict=True):
        lines = [plain(name, 200)]
        for column, value in zip(columns, values, strict=True):
            if not pd.isna(value):
                lines.append(f"{column} {plain(table.cell(column, value), 200)}")
        texts.append("<br>".join(lines))
    return texts


def _labels(rows: pd.DataFrame, columns: list[str]) -> "pd.Series[str]":
    labels = []
    for values in rows[columns].itertuples(index=False):
        words = (_word(*pair) for pair in zip(columns, values, strict=True))
        labels.append(" ".join(word for word in words if word))
    return pd.Series(labels, index=rows.index, dtype=object)


def _word(name: str, value: Any) -> str:
    if pd.isna(value) or value is False:
        return ""
    if value is True:
        return name
    text = table.cell(name, value)
    return text if column_of(name).label == "value" or not text else f"{name} {text}"
