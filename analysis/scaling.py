"""Scaling: the speed of one accelerator among many, in per cent of its speed among few."""

from collections.abc import Callable, Sequence

import pandas as pd


def scaling_pct(
    rows: pd.DataFrame, ran: "pd.Series[bool]", groups: Callable[[], Sequence[str]]
) -> "pd.Series[float]":
    """Speed per accelerator, 100 for the run with the fewest of each group.

    With one global batch it is strong scaling; with one that grows with the accelerators, weak
    scaling. The run that a group is measured by is the one with the fewest accelerators, the
    fastest of several.

    Args:
        rows: with ``gpus`` and ``tokens_per_s``.
        ran: True where a row's speed is that of a run that ended well, or that a plan expects.
        groups: name of the group of each row: runs that differ in nothing but the machine's size
            and the global batch (`RunSpec.scaling_group`). Asked for only where sizes differ.

    Returns:
        Per cent; NaN without a speed, and in a group on one number of accelerators.
    """
    gpus = pd.to_numeric(rows["gpus"]).astype(float)
    speed = pd.to_numeric(rows["tokens_per_s"]).astype(float).where(ran) / gpus
    gpus = gpus.where(speed.notna())
    if gpus.nunique() < 2:
        return pd.Series(float("nan"), index=rows.index)
    group = pd.Series(groups(), index=rows.index)
    fewest = gpus.groupby(group).transform("min")
    base = speed.where(gpus == fewest).groupby(group).transform("max")
    return (100 * speed / base).where(gpus.groupby(group).transform("nunique") > 1)
