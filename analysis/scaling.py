"""Scaling: the speed of one accelerator among many, in per cent of its speed among few."""

import pandas as pd

from launcher.results.columns import CHOICES

SIZES = ("nodes", "gpus", "global_batch")
"""Choices in which runs of one series may differ: the machine, and the work that it is given."""


def scaling_pct(rows: pd.DataFrame) -> "pd.Series[float]":
    """Speed per accelerator, 100 for the run with the fewest of each series.

    A series are runs that differ in accelerators and global batch alone. With one global batch it
    is strong scaling; with one that grows with the accelerators, weak scaling. The run that a
    series is measured by is the one with the fewest accelerators, the fastest of several.

    Args:
        rows: with `CHOICES`, ``remark``, and ``tokens_per_s``, NA where there is no speed.

    Returns:
        Per cent; NA without a speed, and for a series on one number of accelerators.
    """
    speed = pd.to_numeric(rows["tokens_per_s"]).astype(float) / rows["gpus"].astype(float)
    series = [name for name in (*CHOICES, "remark") if name not in SIZES]
    known = rows.assign(speed=speed)[speed.notna()]
    percent = pd.Series(float("nan"), index=rows.index)
    for _, alike in known.groupby(series, dropna=False, sort=False):
        if alike["gpus"].nunique() > 1:
            fewest = alike[alike["gpus"] == alike["gpus"].min()]
            percent[alike.index] = 100 * alike["speed"] / fewest["speed"].max()
    return percent
