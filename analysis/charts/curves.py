"""Curves over the steps of runs: losses and speeds of many on top of each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.charts.names import by_folder, groups, names, short
from analysis.charts.style import COLOURS, figure, plain, series_style

POINTS = 30_000
"""Points of all curves of a chart: more than a screen shows, and a browser is slow."""

LEGEND = 10
"""Runs that a legend can name; of more it names what they have in common."""

SINGLY = 60
"""Runs that are drawn as a curve each, with a name under the pointer."""

POINTER = "%{text}<br>%{x}: %{y}<extra></extra>"
"""Template of what the pointer shows of a curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """The curve of one run."""

    name: str
    group: str
    """Values that decide its losses."""
    x: Any
    y: Any


def losses(steps: pd.DataFrame, table: pd.DataFrame | None = None, x: str = "step") -> Any | None:
    """Loss curves of all runs on top of each other; the fastest layout's is thick.

    Runs of one model on the same batches must give the same curve at any layout: what leaves the
    others is a fault of a layout. Curves of other batches or models have another colour.

    Args:
        steps: as `Runs.steps` gives it.
        table: as `Runs.table` gives it; without it curves are called by their folders.
        x: step, or tokens where batches differ.

    Returns:
        A plotly figure; None where no run has a loss.
    """
    return _chart(_curves(steps, table, x, "loss"), _axis(x), "loss, nats per token", _best(table))


def speed(
    steps: pd.DataFrame, table: pd.DataFrame | None = None, y: str = "tokens_per_s"
) -> Any | None:
    """Throughput, or with ``y="step_ms"`` the time of a step, over the steps of runs.

    Args and returns: as of `losses`.
    """
    titles = {"tokens_per_s": "tokens/s", "step_ms": "step, ms"}
    chart = _chart(_curves(steps, table, "step", y), "step", titles.get(y, y), _best(table))
    if chart is not None:
        chart.update_yaxes(rangemode="tozero")
    return chart


def spread(steps: pd.DataFrame, table: pd.DataFrame) -> float | None:
    """The largest difference of loss, in nats, between two runs at one step, of those that must
    have the same losses as far as columns tell; None where there are no two."""
    ok = table[table["outcome"] == "ok"]
    keys = steps["folder"].map(by_folder(ok, groups(table)[ok.index]))
    frame = pd.DataFrame({"group": keys, "step": steps["step"], "loss": steps["loss"]})
    by_step = frame[frame["loss"].notna()].groupby(["group", "step"])["loss"]
    differences = (by_step.max() - by_step.min())[by_step.size() > 1]
    return float(differences.max()) if len(differences) else None


def thinned(values: Any, points: int) -> Any:
    """Positions of at most about so many values, the highest and lowest of each stretch too."""
    count = len(values)
    if count <= points:
        return np.arange(count)
    length = -(-3 * count // points)  # a stretch has three: its first, its highest, its lowest
    filled = np.append(values, np.repeat(values[-1], -count % length)).reshape(-1, length)
    first = np.arange(len(filled)) * length
    ends = [first, first + filled.argmax(axis=1), first + filled.argmin(axis=1), [count - 1]]
    return np.unique(np.minimum(np.concatenate(ends), count - 1))


def floats(values: "pd.Series[Any]") -> Any:
    """Values as an array; NaN where unknown."""
    return pd.to_numeric(values).astype("Float64").to_numpy(dtype=float, na_value=np.nan)


def _curves(steps: pd.DataFrame, table: pd.DataFrame | None, x: str, y: str) -> list[Curve]:
    """Curve of each run, made with arrays: a sweep may have thousands of runs."""
    xs, ys = floats(steps[x]), floats(steps[y])
    logged = ~(np.isnan(xs) | np.isnan(ys))
    numbers, folders = pd.factorize(steps["folder"][logged].astype(str))
    order = np.argsort(numbers, kind="stable")
    xs, ys = xs[logged][order], ys[logged][order]
    counts = np.bincount(numbers, minlength=len(folders))
    ends = np.cumsum(counts)
    names_by_folder = by_folder(table)
    groups_by_folder = {} if table is None else by_folder(table, groups(table))
    room = max(POINTS // max(len(folders), 1), 12)
    curves = []
    for folder, end, start in zip(folders, ends, ends - counts, strict=True):
        positions = start + thinned(ys[start:end], room)
        curves.append(
            Curve(
                name=names_by_folder.get(folder, short(folder)),
                group=groups_by_folder.get(folder, ""),
                x=xs[positions],
                y=ys[positions],
            )
        )
    return curves


def _best(table: pd.DataFrame | None) -> str | None:
    """The name of the fastest."""
    if table is None:
        return None
    ok = table[(table["outcome"] == "ok") & table["tokens_per_s"].notna() & table["folder"].notna()]
    if len(ok) < 2 or ok["stage"].notna().all():
        return None
    fastest = int(pd.to_numeric(ok["tokens_per_s"]).astype(float).argmax())
    return str(names(table)[ok.index].iloc[fastest])


def _chart(curves: list[Curve], x: str, y: str, best: str | None) -> Any | None:
    if not curves:
        return None
    legend = {curve.group for curve in curves} if len(curves) > LEGEND else curves
    chart = figure(x, y, height=380 + 12 * max(len(legend) - 4, 0))
    if len(curves) <= LEGEND:
        for number, curve in enumerate(curves):
            _add(chart, curve, number, width=2.5 if curve.name == best else 1.5)
    else:
        for number, (group, members) in enumerate(_by_group(curves)):
            _add_group(chart, group, members, number)
        thick = [curve for curve in curves if curve.name == best]
        for curve in thick[:1]:
            chart.add_scatter(
                **_xy(curve.x, curve.y),
                mode="lines",
                name=f"fastest: {plain(best)}",
                line={"color": COLOURS[1], "width": 2.5, "dash": "dash"},
            )
    return chart


def _add(chart: Any, curve: Curve, number: int, width: float) -> None:
    style = series_style(number)
    alone = len(curve.x) == 1
    chart.add_scatter(
        **_xy(curve.x, curve.y),
        mode="markers" if alone else "lines",
        name=plain(curve.name),
        marker={"symbol": style.symbol},
        line={"color": style.colour, "dash": style.dash, "width": width},
    )


def _by_group(curves: list[Curve]) -> Iterator[tuple[str, list[Curve]]]:
    for group in dict.fromkeys(curve.group for curve in curves):
        yield group, [curve for curve in curves if curve.group == group]


def _add_group(chart: Any, group: str, curves: list[Curve], number: int) -> None:
    """Add thin curves of one style; of very many one trace with gaps, which is far cheaper."""
    style = series_style(0 if number == 0 else number + 1)  # the second colour is the fastest one's
    title = f"{plain(group)}: {len(curves)} runs" if group else f"{len(curves)} runs"
    line = {"color": style.colour, "width": 1, "dash": style.dash}
    shared = {"mode": "lines", "line": line, "opacity": 0.6, "legendgroup": title}
    if len(curves) > SINGLY:
        xs = np.concatenate([np.append(curve.x, np.nan) for curve in curves])
        ys = np.concatenate([np.append(curve.y, np.nan) for curve in curves])
        chart.add_scatter(**_xy(xs, ys), name=title, hoverinfo="skip", connectgaps=False, **shared)
        return
    for index, curve in enumerate(curves):
        chart.add_scatter(
            **_xy(curve.x, curve.y),
            name=title,
            showlegend=index == 0,
            **shared,
            hovertemplate=POINTER,
            text=[plain(curve.name, 200)] * len(curve.x),
        )


def _xy(x: Any, y: Any) -> dict[str, Any]:
    """Coordinates in 4 bytes a number: more digits than a screen has."""
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def _axis(x: str) -> str:
    return {"tokens": "tokens trained on"}.get(x, x)
