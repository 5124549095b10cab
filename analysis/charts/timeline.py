"""Course of a long run: its attempts on the clock, its accidents on the loss."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.charts.curves import POINTS, floats, thinned
from analysis.charts.names import short
from analysis.charts.style import COLOURS, GREY, HOVER, SYMBOLS, figure, plain, series_style

MARKS = {
    "spike": ("loss_spike", "norm_spike", "nan", "inf", "creep", "divergence"),
    "update skipped": ("skip",),
    "rollback": ("rollback",),
    "save failed": ("save_failed",),
    "stopped by the guard": ("stop",),
}
"""Title of a mark -> the kinds of events that it is for."""

NO_FAULT = ("ok", "running", "ended")
"""Ends of an attempt that are no fault."""


def timeline(
    attempts: pd.DataFrame, events: pd.DataFrame, table: pd.DataFrame | None = None
) -> Any | None:
    """The wall clock of a run: a lane per stage, a bar per attempt, marks for what happened.

    Args:
        attempts: as `Runs.attempts` gives it; times are shown in UTC.
        events: as `Runs.events` gives it.
        table: as `Runs.table` gives it: says how the last attempt of each run ended.

    Returns:
        A plotly figure; None where no attempt has begun.
    """
    attempts = attempts.assign(**{name: floats(attempts[name]) for name in ("started", "ended")})
    attempts = attempts[attempts["started"].notna()].sort_values("started", kind="stable")
    if attempts.empty:
        return None
    lanes = {folder: lane for lane, folder in enumerate(dict.fromkeys(attempts["folder"]))}
    attempts = attempts.assign(end=_ends(attempts, table), lane=attempts["folder"].map(lanes))
    events = _drawable(events)
    chart = figure("time, UTC", "", height=150 + 46 * len(lanes))
    newest = np.nanmax([*attempts["started"], *attempts["ended"], *floats(events["time"])])
    # Nobody saw the end of an attempt that is lost: the start of the next one is the latest it was.
    next_start = attempts.groupby("folder")["started"].shift(-1)
    until = attempts["ended"].fillna(next_start).fillna(newest)
    attempts = attempts.assign(until=until)
    kinds = sorted(set(attempts["end"]), key=lambda end: (end not in NO_FAULT, end))
    for number, end in enumerate(kinds):
        _bars(chart, attempts[attempts["end"] == end], end, number)
    _fault_marks(chart, attempts[~attempts["end"].isin(NO_FAULT)])
    events = events.assign(lane=events["folder"].map(lanes))
    _event_marks(chart, events[events["lane"].notna() & events["time"].notna()])
    chart.update_layout(barmode="overlay")
    chart.update_xaxes(type="date")
    chart.update_yaxes(
        tickvals=list(lanes.values()),
        ticktext=[plain(short(f)) for f in lanes],
        range=[len(lanes) - 0.5, -0.5],
        showgrid=False,
    )
    return chart


def spikes(steps: pd.DataFrame, events: pd.DataFrame) -> Any | None:
    """Losses, with what the spike guard saw and did marked on them.

    Args:
        steps: as `Runs.steps` gives it; runs without an event are left out.
        events: as `Runs.events` gives it.

    Returns:
        A plotly figure; None where nothing was seen.
    """
    by_guard = {kind for kinds in MARKS.values() for kind in kinds} - {"save_failed"}
    events = _drawable(events)
    events = events[events["kind"].isin(by_guard) & events["step"].notna()]
    steps = steps[steps["folder"].isin(set(events["folder"]))]
    runs = [(short(folder), rows) for folder, rows in steps.groupby("folder", sort=False)]
    if not runs:
        return None
    chart = figure("step", "loss, nats per token")
    for number, (run, rows) in enumerate(runs):
        rows, style = rows[rows["loss"].notna()], series_style(number)
        points = rows.iloc[thinned(floats(rows["loss"]), POINTS // len(runs))]
        line = {"color": style.colour, "width": 1.2, "dash": style.dash}
        chart.add_scatter(
            x=floats(points["step"]),
            y=floats(points["loss"]),
            mode="lines",
            name=plain(run),
            line=line,
        )
    top = _top(steps["loss"])
    _spike_marks(chart, steps, events, top)
    if top is not None:
        low = float(np.nanmin(floats(steps["loss"])))
        chart.update_yaxes(autorangeoptions={"maxallowed": top + 0.06 * (top - low)})
    return chart


def _ends(attempts: pd.DataFrame, table: pd.DataFrame | None) -> "pd.Series[str]":
    """End of each attempt: as its scheduler ended it, the last one as its run did."""
    outcomes = {} if table is None else dict(zip(table["folder"], table["outcome"], strict=True))
    followed = attempts.duplicated("folder", keep="last")
    ends = attempts["folder"].map(outcomes).astype(object).mask(followed, attempts["stopped"])
    ends = ends.mask(ends.isna(), attempts["stopped"])
    ends = ends.mask(ends.isna(), followed.map({True: "failed", False: "ended"}))
    ends = ends.mask(attempts["ended"].isna(), followed.map({True: "lost", False: "running"}))
    return ends.astype(str)


def _bars(chart: Any, rows: pd.DataFrame, end: str, number: int) -> None:
    style = series_style(2 if end == "ok" else number + 3)
    chart.add_bar(
        orientation="h",
        name=plain(end),
        base=_dates(rows["started"]),
        x=((rows["until"] - rows["started"]) * 1000).round().tolist(),
        y=rows["lane"].tolist(),
        width=0.5,
        marker={
            "color": style.colour,
            "line": {"color": GREY, "width": 1},
            "pattern": {"shape": "" if end == "ok" else style.pattern, "size": 5},
        },
        text=[_attempt(row) for row in rows.itertuples()],
        textposition="none",
        hovertemplate=HOVER,
    )


def _attempt(row: Any) -> str:
    took = _span(row.until - row.started)
    lines = [
        f"{plain(short(row.folder))}, attempt {row.attempt}: {plain(row.end)}",
        f"{took} on {_or(row.gpus)} cards, {_or(row.hosts)}",
    ]
    if not pd.isna(row.reason):
        lines.append(plain(row.reason, 160))
    return "<br>".join(lines)


def _fault_marks(chart: Any, attempts: pd.DataFrame) -> None:
    if attempts.empty:
        return
    chart.add_scatter(
        x=_dates(attempts["until"]),
        y=attempts["lane"].tolist(),
        mode="markers",
        name="fault",
        marker={
            "symbol": "x",
            "size": 10,
            "color": COLOURS[1],
            "line": {"color": "white", "width": 1},
        },
        text=[f"{plain(row.end)}: {plain(_or(row.reason), 160)}" for row in attempts.itertuples()],
        hovertemplate=HOVER,
    )


def _event_marks(chart: Any, events: pd.DataFrame) -> None:
    for number, (title, kinds) in enumerate(MARKS.items()):
        rows = events[events["kind"].isin(kinds)]
        if rows.empty:
            continue
        chart.add_scatter(
            x=_dates(rows["time"]),
            y=(rows["lane"].astype(float) + RAISED[number]).tolist(),
            mode="markers",
            name=title,
            marker=_mark(number),
            hovertemplate=HOVER,
            text=[_event(row) for row in rows.itertuples()],
        )


def _spike_marks(chart: Any, steps: pd.DataFrame, events: pd.DataFrame, top: float | None) -> None:
    """Mark events at the loss of their step; those above the chart, or without, at its edge."""
    losses = steps.drop_duplicates(["folder", "step"], keep="last")[["folder", "step", "loss"]]
    placed = events.drop(columns="loss", errors="ignore").merge(
        losses, on=["folder", "step"], how="left"
    )
    heights = floats(placed["loss"])
    if top is not None:
        heights = np.where(np.isfinite(heights), np.minimum(heights, top), top)
    for number, (title, kinds) in enumerate(MARKS.items()):
        rows = placed["kind"].isin(kinds)
        if rows.any():
            chart.add_scatter(
                x=floats(placed["step"][rows]),
                y=heights[rows],
                mode="markers",
                name=title,
                marker=_mark(number),
                text=[_event(row) for row in placed[rows].itertuples()],
                hovertemplate=HOVER,
            )


RAISED = (-0.36, -0.18, 0.0, 0.18, 0.36)
"""Share of a lane's height per mark: marks of one moment must not hide each other."""


def _mark(number: int) -> dict[str, Any]:
    """Marker of a kind of event: neither colour nor symbol is the fault's."""
    symbols = ("triangle-up", "cross", "arrow-left", "square", "star")
    assert len(symbols) == len(MARKS) <= len(SYMBOLS)
    colours = (COLOURS[4], COLOURS[5], COLOURS[3], COLOURS[0], COLOURS[2])
    return {
        "symbol": symbols[number],
        "size": 11,
        "color": colours[number],
        "line": {"color": "black", "width": 1},
    }


def _event(row: Any) -> str:
    step = "" if pd.isna(row.step) else f", step {row.step:.0f}"
    lines = [f"{plain(short(row.folder))}{step}: {plain(row.kind)}"]
    for name in ("of", "value", "to", "steps_lost", "tokens_lost", "reason"):
        value = getattr(row, name, None)
        if pd.api.types.is_scalar(value) and not pd.isna(value):
            text = f"{value:.4g}" if isinstance(value, float) else value
            lines.append(f"{name} {plain(text, 160)}")
    return "<br>".join(lines)


def _drawable(events: pd.DataFrame) -> pd.DataFrame:
    """Events whose kind is a word, with numbers as steps and times, NaN where they are none: what
    is drawn are lines of a file that anybody may have written."""
    words = [isinstance(kind, str) for kind in events["kind"]]
    events = events[pd.Series(words, index=events.index, dtype=bool)]
    return events.assign(
        step=_numbers(events["step"], 1e15),  # more has no exact place on an axis
        time=_numbers(events["time"], 9e9),  # more is no date of pandas
    )


def _numbers(values: "pd.Series[Any]", limit: float) -> Any:
    drawable = [isinstance(value, int | float) and abs(value) < limit for value in values.tolist()]
    return floats(values.where(pd.Series(drawable, index=values.index, dtype=bool)))


def _top(losses: pd.Series) -> float | None:
    """The highest loss worth a place: one spike to 1e8 must not flatten all the rest."""
    values = floats(losses)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = values.min(), float(np.quantile(values, 0.99))
    return float(min(values.max(), high + 0.5 * (high - low)) + 0.02 * (high - low))


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _or(value: Any) -> str:
    return "?" if pd.isna(value) else str(value)


def _dates(seconds: pd.Series) -> list[str]:
    times = pd.to_datetime(seconds.astype(float).round(3), unit="s")
    return [time.isoformat(sep=" ", timespec="milliseconds") for time in times]
