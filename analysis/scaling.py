"""Scaling: the speed of one accelerator among many, in per cent of its speed among few."""

from collections.abc import Callable, Sequence

import pandas as pd


def scaling_pct(
    rows: pd.DataFrame, ran: "pd.Series[bool]", groups: Callable[[], Sequence[str]]
) -> "pd.Series[float]":
    """Speed per accelerator, 100 for the runs on the fewest of each group.

    Each run is measured by one on the fewest: with the same global batch (strong scaling), else
    with as much of it for each accelerator (weak scaling), else the fastest.

    Args:
        rows: with ``gpus`` and ``tokens_per_s``.
        ran: True where a row's speed is that of a run that ended well, or that a plan expects.
        groups: name of the group of each row: runs that differ in nothing but the machine's size
            and the global batch (`RunSpec.scaling_group`). Asked for only where sizes differ.

    Returns:
        Per cent; NaN without a speed, and in a group on one number of accelerators.
    """
    gpus = pd.to_numeric(rows["gpus"]).astype(float)
    batch = pd.to_numeric(rows["global_batch"]).astype(float)
    speed = pd.to_numeric(rows["tokens_per_s"]).astype(float).where(ran) / gpus
    gpus = gpus.where(speed.notna())
    if gpus.nunique() < 2:
        return pd.Series(float("nan"), index=rows.index)
    group = pd.Series(groups(), index=rows.index)
    on_fewest = speed.where(gpus == gpus.groupby(group).transform("min"))
    strong = on_fewest.groupby([group, batch]).transform("max")
    weak = on_fewest.groupby([group, batch / gpus]).transform("max")
    base = strong.fillna(weak).fillna(on_fewest.groupby(group).transform("max"))
    return (100 * speed / base).where(gpus.groupby(group).transform("nunique") > 1)
