"""Style of all charts: colours, dashes, symbols, patterns, and text that is shown as it is."""

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), without the yellow and the black, which one background each swallows."""
GREY = "#808080"
"""Colour of what is not one of several: 3.9 to 1 on white, 4.4 on the dark page."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "star", "triangle-down")
PATTERNS = ("", "/", "x", ".", "\\", "+", "-", "|")

LABEL = 60
"""Characters of a text in a legend or on an axis."""


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """Style of one of several series."""

    colour: str
    dash: str
    symbol: str
    pattern: str


def series_style(number: int) -> SeriesStyle:
    """Style of series ``number``, from 0; the first 36 differ in colour or dash."""
    turn = number + number // len(COLOURS)
    return SeriesStyle(
        COLOURS[number % len(COLOURS)],
        DASHES[turn % len(DASHES)],
        SYMBOLS[number % len(SYMBOLS)],
        PATTERNS[number % len(PATTERNS)],
    )


def visible(text: Any, allowed: str = "") -> str:
    """A text as it is shown: what no screen shows, and half characters, by their escapes.

    Args:
        allowed: characters that stay though they are not printed, such as the end of a line.
    """
    return "".join(
        c if c.isprintable() or c in allowed else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def plain(text: Any, width: int | None = LABEL) -> str:
    """A text for a chart, where plotly would take <b> for markup; cut to a width."""
    cut = visible(text)
    if width is not None and len(cut) > width:
        cut = cut[: width - 1] + "…"
    return html.escape(cut, quote=False).replace("$", "&#36;")  # two $ would begin LaTeX


def figure(x: str, y: str, height: int = 380) -> Any:
    """An empty figure with named axes, as wide as its place."""
    axis = {
        "automargin": True,
        "gridcolor": "rgba(128,128,128,0.25)",
        "zeroline": False,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
    }
    return go.Figure(
        layout={
            "template": None,
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "closest",
            "hoverlabel": {"align": "left"},
            "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)", "color": GREY},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
        }
    )


HOVER = "%{text}<extra></extra>"
"""A template that shows a trace's ``text`` and nothing else."""
