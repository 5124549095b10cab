"""What each axis of a sweep costs, and which of its points none is better than."""

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


def axes(rows: pd.DataFrame) -> list[str]:
    """The columns of a spec in which rows differ, without those that follow from another one."""
    varied = [name for name in CHOICES if text(rows[name]).nunique() > 1]
    kept: list[str] = []
    for name in varied:
        values = text(rows[name])
        if not any(values.groupby(text(rows[other])).nunique().max() == 1 for other in kept):
            kept.append(name)
    return kept


def sensitivity(rows: pd.DataFrame) -> pd.DataFrame:
    """See `analysis.sensitivity`; the rows are those of a table."""
    ran = rows[~rows["outcome"].isin([*NEVER_RAN, *UNFINISHED, "unreadable"])]
    found = axes(ran)
    if not found:
        return pd.DataFrame(columns=list(EFFECT))
    keyed = ran.assign(**{name: text(ran[name]) for name in found}).drop_duplicates(
        ["sweep", *found]
    )
    out = []
    for axis in found:
        others = ["sweep", *(name for name in found if name != axis)]  # at another time all differs
        values = ran[axis].dropna().drop_duplicates().sort_values().tolist()
        for base, value in zip([values[0]] * len(values), values[1:], strict=False):
            first, second = (keyed[keyed[axis] == _name(one)] for one in (base, value))
            effect = _effect(first, second, others)
            out.append({"axis": axis, "base": base, "value": value, **effect})
    return pd.DataFrame(out, columns=list(EFFECT))


def _effect(base: pd.DataFrame, value: pd.DataFrame, others: Sequence[str]) -> dict[str, Any]:
    """Of the pairs that agree in all other axes."""
    both = base.merge(value, how="inner" if others else "cross", on=list(others) or None,
                      suffixes=("_0", "_1"))  # fmt: skip
    well = (both["outcome_0"] == "ok") & (both["outcome_1"] == "ok")
    speed = _ratio(both[well], "tokens_per_s")
    return {
        "pairs": int(well.sum()),
        "tokens_per_s_ratio": speed.median() if len(speed) else None,
        "low": speed.min() if len(speed) else None,
        "high": speed.max() if len(speed) else None,
        "mem_ratio": _ratio(both[well], "mem_max_gib").median() if well.any() else None,
        "failed": int(((both["outcome_0"] == "ok") & (both["outcome_1"] != "ok")).sum()),
        "mended": int(((both["outcome_0"] != "ok") & (both["outcome_1"] == "ok")).sum()),
    }


def _ratio(pairs: pd.DataFrame, column: str) -> "pd.Series[float]":
    ratio = pd.to_numeric(pairs[f"{column}_1"]) / pd.to_numeric(pairs[f"{column}_0"])
    return ratio.astype(float).dropna()


def text(values: "pd.Series[Any]") -> "pd.Series[str]":
    """What is compared: an unknown value is one of its own."""
    return values.map(_name, na_action=None)


def _name(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def pareto(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """See `analysis.pareto`; the rows are those of a table."""
    if not columns:
        raise ConfigError("columns: name those to compare, such as tokens_per_s and mem_max_gib")
    names = [resolved(name, "columns") for name in columns]
    well = rows[(rows["outcome"] == "ok") & rows[names].notna().all(axis=1)]
    costs = np.column_stack([
        pd.to_numeric(well[name]).to_numpy(float) * (1 if COLUMNS[name].better == "less" else -1)
        for name in names
    ])  # fmt: skip
    best: list[int] = []
    # Whatever is better in all columns comes before.
    for index in np.lexsort(costs.T[::-1]):
        ahead = costs[best] if best else np.full((1, len(names)), np.inf)
        beaten = (ahead <= costs[index]).all(axis=1) & (ahead < costs[index]).any(axis=1)
        if not beaten.any():
            best.append(index)
    found: pd.DataFrame = well.iloc[best]
    return found
