"""Charts of a sweep's table: the frontier, effects of the axes, predictions, failures."""

import re
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.charts.curves import floats
from analysis.charts.names import hover, names
from analysis.charts.style import COLOURS, GREY, HOVER, PATTERNS, figure, plain, series_style
from analysis.loading.rows import UNFINISHED

ROW = ("row", "tokens_per_s", "step_ms_p50", "mem_max_gib", "mfu_pct", "tflops_per_gpu")
"""Columns of a point that the pointer shows."""

BANDS = (10, 25)
"""Errors of a prediction that are drawn, percent."""


def frontier(table: pd.DataFrame, best: pd.DataFrame, limit_gib: float | None = None) -> Any | None:
    """Throughput against peak memory of all points that ran well, the frontier as a line.

    Args:
        table: as `Runs.table` gives it.
        best: the rows of the frontier, as `analysis.pareto` gives them.
        limit_gib: memory of a card; None draws none.

    Returns:
        A plotly figure; None where no point has both figures.
    """
    table = table[
        (table["outcome"] == "ok") & table[["mem_max_gib", "tokens_per_s"]].notna().all(axis=1)
    ]
    if table.empty:
        return None
    kind = "of a process, RSS" if table.attrs.get("memory") == "rss_gib" else "of a card"
    chart = figure(f"peak memory {kind}, GiB", "tokens/s")
    labels = names(table)
    on_frontier = table.index.isin(best.index)
    for rows, title, style in (
        (
            table[~on_frontier],
            "other layouts",
            {"symbol": "circle-open", "color": COLOURS[0], "size": 7},
        ),
        (
            table[on_frontier],
            "frontier: nothing is faster in less memory",
            {"symbol": "diamond", "color": COLOURS[1], "size": 11},
        ),
    ):
        rows = rows.sort_values("mem_max_gib")
        if rows.empty:
            continue
        line = rows.index.isin(best.index).all()
        chart.add_scatter(
            x=floats(rows["mem_max_gib"]),
            y=floats(rows["tokens_per_s"]),
            marker=style,
            mode="lines+markers" if line else "markers",
            name=title,
            hovertemplate=HOVER,
            line={"shape": "hv", "color": COLOURS[1], "width": 1.5},
            text=hover(rows, labels, ROW),
        )
    if limit_gib is not None:
        _card(chart, limit_gib)
    chart.update_yaxes(rangemode="tozero")
    return chart


def effects(sensitivity: pd.DataFrame) -> Any | None:
    """Changes of throughput and memory from one value of an axis to another, others equal.

    Args:
        sensitivity: as `analysis.sensitivity` gives it: axis, base, value, pairs,
            tokens_per_s_ratio (median of the pairs), low, high (of it), mem_ratio, failed.

    Returns:
        A plotly figure; None where there is nothing to compare.
    """
    ran = sensitivity["tokens_per_s_ratio"].notna()
    rows = sensitivity[ran | (sensitivity["failed"].fillna(0) > 0)][::-1]
    if rows.empty:
        return None
    steps = pd.Series([_step(row) for row in rows.itertuples()], index=rows.index)
    chart = figure("change, %", "", height=130 + 26 * len(rows))
    centre = _percent(rows["tokens_per_s_ratio"])
    spans = {
        "array": _percent(rows["high"]) - centre,
        "symmetric": False,
        "arrayminus": centre - _percent(rows["low"]),
        "color": COLOURS[0],
    }
    for values, name, style, error in (
        (centre, "throughput: median, range", {"symbol": "circle", "color": COLOURS[0]}, spans),
        (
            _percent(rows["mem_ratio"]),
            "peak memory",
            {"symbol": "diamond-open", "color": COLOURS[1]},
            None,
        ),
    ):
        chart.add_scatter(
            x=values,
            y=steps.tolist(),
            mode="markers",
            marker={**style, "size": 9},
            name=name,
            error_x=error,
            hovertemplate=HOVER,
            text=[
                _effect(name, value, row)
                for value, row in zip(values, rows.itertuples(), strict=True)
            ],
        )
    none = steps[rows["tokens_per_s_ratio"].isna()].tolist()
    if none:
        chart.add_scatter(
            x=[0] * len(none),
            y=none,
            mode="markers",
            name="all failed",
            marker={"symbol": "x", "color": GREY, "size": 9},
        )
    chart.add_vline(x=0, line={"color": GREY, "width": 1})
    chart.update_yaxes(type="category", categoryorder="array", categoryarray=steps.tolist())
    return chart


def predicted_measured(
    table: pd.DataFrame, quantity: Literal["step_ms", "memory"] = "step_ms"
) -> Any | None:
    """Measured figures against the predicted ones, with the diagonal and bands of error.

    Args:
        table: as `Runs.table` gives it.
        quantity: the step's time, or the fullest card's memory.

    Returns:
        A plotly figure; None where no point has both.
    """
    x, y, unit = {
        "step_ms": ("pred_step_ms", "step_ms_p50", "step, ms"),
        "memory": ("pred_mem_gib", "mem_max_gib", "memory, GiB"),
    }[quantity]
    positive = (table[x].fillna(0) > 0) & (table[y].fillna(0) > 0)
    table = table[positive & (table["outcome"] == "ok")]
    if quantity == "memory":  # what a process holds is not what is predicted of a card
        table = table[table["pred_mem_err_pct"].notna()]
    if table.empty:
        return None
    chart = figure(f"predicted {unit}", f"measured {unit}")
    values = np.concatenate([floats(table[x]), floats(table[y])])
    _diagonal(chart, values.min() / 1.3, values.max() * 1.3)
    labels = names(table)
    for number, (backend, rows) in enumerate(table.groupby("backend", dropna=False)):
        style = series_style(number)
        chart.add_scatter(
            x=floats(rows[x]),
            y=floats(rows[y]),
            mode="markers",
            name=plain(backend),
            marker={"symbol": f"{style.symbol}-open", "color": style.colour, "size": 8},
            text=hover(rows, labels, (*ROW[:1], x, y)),
            hovertemplate=HOVER,
        )
    chart.update_xaxes(type="log", dtick="D2")
    chart.update_yaxes(type="log", dtick="D2")
    return chart


def failures(table: pd.DataFrame) -> Any | None:
    """Number of points that ended in each way but well: a stack each, of kinds of cause.

    Args:
        table: as `Runs.table` gives it; what has not ended is no failure.

    Returns:
        A plotly figure; None where nothing failed and nothing was rejected.
    """
    bad = table[~table["outcome"].isin(["ok", *UNFINISHED])]
    if bad.empty:
        return None
    kinds = bad["cause"].map(kind_of)
    pieces = bad.assign(kind=kinds).value_counts(["outcome", "kind"]).rename("count").reset_index()
    order = list(bad["outcome"].value_counts().index)
    chart = figure("points", "", height=110 + 44 * len(order))
    rank = pieces.groupby("outcome").cumcount().clip(upper=len(PATTERNS) - 1)
    for number in range(int(rank.max()) + 1):
        rows = pieces[rank == number]
        style = series_style(number)
        chart.add_bar(
            orientation="h",
            x=rows["count"].tolist(),
            y=rows["outcome"].tolist(),
            marker={
                "color": style.colour,
                "pattern": {"shape": style.pattern, "size": 6},
                "line": {"color": GREY, "width": 1},
            },
            text=[
                f"{n}: {plain(k, 200)}" for n, k in zip(rows["count"], rows["kind"], strict=True)
            ],
            textposition="none",
            hovertemplate=HOVER,
        )
    chart.update_layout(barmode="stack", showlegend=False)
    chart.update_yaxes(type="category", categoryorder="array", categoryarray=order[::-1])
    return chart


def kind_of(cause: Any) -> str:
    """A cause without its numbers, paths and quoted words: what many failures have in common."""
    if pd.isna(cause):
        return "no cause is known"
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", str(cause))
    text = re.sub(r"(?<![\w/])/[^\s,;:)]+", "PATH", text)
    return re.sub(r"\b(?:0x[0-9a-f]+|\d[\d.,_]*)", "N", text)


def _card(chart: Any, limit_gib: float) -> None:
    chart.add_vline(
        x=limit_gib,
        line={"dash": "dash", "color": GREY},
        annotation={"text": f"card: {limit_gib:g} GiB"},
        annotation_position="bottom left",
    )


def _diagonal(chart: Any, low: float, high: float) -> None:
    ends = np.array([low, high])
    chart.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name="as predicted",
        hoverinfo="skip",
        line={"color": GREY, "width": 1.5},
    )
    for percent, dash in zip(BANDS, ("dash", "dot"), strict=True):
        for factor, in_legend in ((1 + percent / 100, True), (1 / (1 + percent / 100), False)):
            chart.add_scatter(
                x=ends,
                y=ends * factor,
                mode="lines",
                hoverinfo="skip",
                name=f"± {percent} %",
                showlegend=in_legend,
                legendgroup=str(percent),
                line={"color": GREY, "width": 1, "dash": dash},
            )


def _effect(name: str, value: float, row: Any) -> str:
    failed = f", {row.failed} failed" if row.failed else ""
    return f"{_step(row)}<br>{name.split(':')[0]} {value:+.1f} %<br>{row.pairs} pairs{failed}"


def _step(row: Any) -> str:
    return plain(f"{row.axis} {_short(row.base)} → {_short(row.value)}", 40)


def _percent(ratios: pd.Series) -> Any:
    return 100 * (floats(ratios) - 1)


def _short(value: Any) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)
