"""Costs of each axis of a sweep, and the points that none is better than."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.rows import UNFINISHED
from launcher.errors import ConfigError
from launcher.results.columns import CHOICES, COLUMNS, resolved
from launcher.results.outcomes import NEVER_RAN

EFFECT = ("axis", "base", "value", "pairs", "tokens_per_s_ratio", "low", "high", "mem_ratio",
          "failed", "mended")  # fmt: skip
"""Columns of `sensitivity`."""


def axes(rows: pd.DataFrame) -> list[str]:
    """The columns of a spec in which rows differ, without those that follow from another one."""
    varied = [name for name in CHOICES if text(rows[name]).nunique() > 1]
    independent: list[str] = []
    for name in varied:
        values = text(rows[name])
        grouped = (values.groupby(text(rows[axis])) for axis in independent)
        if not any(groups.nunique().max() == 1 for groups in grouped):
            independent.append(name)
    return independent


def sensitivity(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `analysis.sensitivity` for the rows of a table."""
    ran = rows[~rows["outcome"].isin([*NEVER_RAN, *UNFINISHED, "unreadable"])]
    varied = axes(ran)
    keyed = ran.assign(**{axis: text(ran[axis]) for axis in varied})
    keyed = keyed.drop_duplicates(["sweep", *varied])
    effects = []
    for axis in varied:
        # Runs of two sweeps are no pair: at another time all may differ.
        shared = ["sweep", *(name for name in varied if name != axis)]
        base, *values = ran[axis].dropna().drop_duplicates().sort_values().tolist()
        base_rows = keyed[keyed[axis] == _name(base)]
        for value in values:
            effect = _effect(base_rows, keyed[keyed[axis] == _name(value)], shared)
            effects.append({"axis": axis, "base": base, "value": value, **effect})
    return pd.DataFrame(effects, columns=list(EFFECT))


def _effect(base: pd.DataFrame, value: pd.DataFrame, shared: Sequence[str]) -> dict[str, Any]:
    """Figures of the pairs that agree in all ``shared`` columns."""
    pairs = base.merge(value, on=list(shared), suffixes=("_0", "_1"))
    ok_0, ok_1 = pairs["outcome_0"] == "ok", pairs["outcome_1"] == "ok"
    measured = pairs[ok_0 & ok_1]
    speed = _ratio(measured, "tokens_per_s")
    return {
        "pairs": len(measured),
        "tokens_per_s_ratio": speed.median() if len(speed) else None,
        "low": speed.min() if len(speed) else None,
        "high": speed.max() if len(speed) else None,
        "mem_ratio": _ratio(measured, "mem_max_gib").median() if len(measured) else None,
        "failed": int((ok_0 & ~ok_1).sum()),
        "mended": int((~ok_0 & ok_1).sum()),
    }


def _ratio(pairs: pd.DataFrame, column: str) -> "pd.Series[float]":
    ratio = pd.to_numeric(pairs[f"{column}_1"]) / pd.to_numeric(pairs[f"{column}_0"])
    return ratio.astype(float).dropna()


def text(values: "pd.Series[Any]") -> "pd.Series[str]":
    """Values as they are compared: an unknown one equals other unknown ones."""
    return values.map(_name, na_action=None)


def _name(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def pareto(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows of `analysis.pareto` among those of a table."""
    if not columns:
        raise ConfigError("columns: name those to compare, such as tokens_per_s and mem_max_gib")
    names = [resolved(name, "columns") for name in columns]
    measured = rows[(rows["outcome"] == "ok") & rows[names].notna().all(axis=1)]
    signs = [1 if COLUMNS[name].better == "less" else -1 for name in names]
    figures = [pd.to_numeric(measured[name]).to_numpy(float) for name in names]
    costs = np.column_stack([sign * values for sign, values in zip(signs, figures, strict=True)])
    best: list[int] = []
    # In this order whatever beats a point comes before it, so that one pass is enough.
    for index in np.lexsort(costs.T[::-1]):
        ahead = costs[best] if best else np.full((1, len(names)), np.inf)
        beaten = (ahead <= costs[index]).all(axis=1) & (ahead < costs[index]).any(axis=1)
        if not beaten.any():
            best.append(index)
    frontier: pd.DataFrame = measured.iloc[best]
    return frontier
