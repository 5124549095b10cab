"""A section of the report for each part: its facts, and the charts that its kind has."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis import charts, effects
from analysis.report import facts, samples
from analysis.report.markup import Html, joined, tag
from analysis.report.parts import Part
from launcher.errors import ReadError
from launcher.results.run_folder import RunFolder

FRONTIER = ("tokens_per_s", "mem_max_gib")
"""Columns that the frontier is of."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure, its title and its caption."""

    title: str
    figure: Any | None
    caption: str
    nothing: str
    """Text in its place where there is no figure."""
    wide: bool = False


@dataclass(slots=True)
class PageFigures:
    """The figures of a page, as its script gets them."""

    figures: list[dict[str, Any]] = field(default_factory=list)

    def place(self, chart: Chart) -> Html:
        """Add a chart; return the element in which the page draws it."""
        assert chart.figure is not None
        name = f"chart-{len(self.figures)}"
        self.figures.append({"id": name, **json.loads(chart.figure.to_json(engine="json"))})
        height = f"height:{chart.figure.layout.height}px"
        return tag(
            "figure",
            tag("h3", chart.title),
            tag("div", _class="plot", id=name, style=height, role="img", aria_label=chart.title),
            tag("figcaption", chart.caption),
            _class="wide" if chart.wide else None,
        )


def section(part: Part, number: int, price: float | None, page: PageFigures) -> Html:
    """Section of a part: its facts, its charts, its samples."""
    charts_of_part = list(of_part(part))
    drawn = [chart for chart in charts_of_part if chart.figure is not None]
    missing = [
        tag("li", f"{chart.title}: {chart.nothing}")
        for chart in charts_of_part
        if chart.figure is None
    ]
    return tag(
        "section",
        tag("h2", f"{part.name} ", tag("small", part.title, _class="dim")),
        facts.cards(facts.of_part(part, price)),
        facts.stages(part),
        facts.outcomes(part),
        facts.versions(part),
        tag("div", *(page.place(chart) for chart in drawn), _class="charts"),
        tag("ul", *missing, _class="dim") if missing else None,
        samples.section(part.table["folder"].dropna().astype(str)),
        id=f"part-{number}",
    )


def of_part(part: Part) -> Iterator[Chart]:
    """The charts of a part, in their order."""
    if part.kind == "sweep":
        yield from _of_sweep(part)
    else:
        yield Chart(
            "Timeline",
            charts.timeline(part.attempts, part.events, part.table),
            "Each bar is an attempt; hatched ones did not end well.",
            "nothing of it has started.",
            wide=True,
        )
    yield from _of_training(part)


def _of_sweep(part: Part) -> Iterator[Chart]:
    best = effects.pareto(part.table, FRONTIER)
    yield Chart(
        "Throughput against memory",
        charts.frontier(part.table, best, _card(part)),
        f"{len(best)} of {len(part.ok)} layouts are on the frontier.",
        "no layout ran well and has both figures.",
    )
    yield Chart(
        "Effect of each axis",
        charts.effects(effects.sensitivity(part.table)),
        "Pairs of points that differ in one axis alone: the median of the change, and its range.",
        "no two points that ran well differ in one axis alone.",
    )
    yield Chart(
        "Failures by cause",
        charts.failures(part.table),
        "Each piece is a kind of cause; the table above has the most frequent ones.",
        "nothing failed.",
    )
    for quantity, title in (("step_ms", "Step time"), ("memory", "Memory")):
        yield Chart(
            f"{title}: predicted against measured",
            charts.predicted_measured(part.table, quantity),  # type: ignore[arg-type]
            "What the planner said before anything of this sweep had run.",
            "nothing that was predicted has been measured"
            + (" on a card." if quantity == "memory" else "."),
        )


def _card(part: Part) -> float | None:
    """Memory of the cards of a sweep, GiB; None where it is unknown, or cards differ in it."""
    sizes = set()
    for folder in part.ok["folder"].dropna():
        with suppress(ReadError):
            sizes.add(RunFolder(Path(folder)).spec().cluster.accelerator.memory_gib)
    return sizes.pop() if len(sizes) == 1 else None


def _of_training(part: Part) -> Iterator[Chart]:
    table = part.table
    batches = table[["global_batch", "probe_micro_batches", "seq_len"]].drop_duplicates()
    x = "tokens" if part.kind == "sweep" and len(batches) > 1 else "step"
    apart = charts.spread(part.steps, table) if part.kind == "sweep" else None
    caption = "As logged."
    if apart is not None:
        caption += (
            f" Runs of one model and batch differ by {apart:.2g} nats at a step, at the most."
        )
    layouts = "of all layouts on top of each other" if part.kind == "sweep" else ""
    yield Chart(
        f"Losses {layouts}".strip(),
        charts.losses(part.steps, table, x),
        caption,
        "no loss was logged.",
    )
    yield Chart(
        "Spikes",
        charts.spikes(part.steps, part.events),
        "What the spike guard saw and did; only runs in which it did.",
        "the spike guard saw nothing, or there was none.",
    )
    column = "tokens_per_s"
    yield Chart(
        "Throughput over the steps",
        charts.speed(part.steps, table, column),
        "The first steps of each start are slower and in no figure.",
        "no step was timed.",
    )


def contents(parts: list[Part]) -> Html | None:
    """Links to the sections, where there are several."""
    if len(parts) < 2:
        return None
    links = (
        tag(
            "li",
            tag("a", part.name, href=f"#part-{number}"),
            f" {part.title}, {len(part.table):,} points",
        )
        for number, part in enumerate(parts)
    )
    return tag(
        "nav",
        tag("ul", *links, tag("li", tag("a", "All points", href="#all-points"))),
        aria_label="Contents",
    )


def points(count: int, shared: Html | None) -> Html:
    """The place of the table; the page's script fills it."""
    if not count:
        return tag("section", tag("h2", "All points"), tag("p", "There is none."))
    return tag(
        "section",
        tag("h2", "All points"),
        shared,
        _controls(),
        tag("p", _class="only-print", id="cut"),
        tag(
            "div",
            tag(
                "table",
                joined(
                    [
                        tag("thead", tag("tr", id="points-heads"), tag("tr", id="filters")),
                        tag("tbody", id="points-body"),
                    ]
                ),
                id="points-table",
            ),
            _class="scroll",
            tabindex="0",
        ),
        tag(
            "p",
            "A filter of a column: a part of a text, =text, !text; 8, >=2, >2,<8; = alone is"
            " unknown, ! alone is known.",
            _class="dim",
        ),
        id="all-points",
    )


def _controls() -> Html:
    def button(name: str, text: str) -> Html:
        return tag("button", text, type="button", id=name)

    search = tag(
        "input",
        type="search",
        id="search",
        placeholder="words in any column",
        aria_label="words in any column",
    )
    return joined(
        [
            tag("div", search, button("csv", "CSV of these rows"), _class="controls"),
            tag("div", id="outcomes", _class="controls", role="group", aria_label="outcomes"),
            tag("details", tag("summary", "Columns"), tag("div", id="choice"), id="columns"),
            tag(
                "div",
                button("previous", "previous"),
                tag("span", id="range"),
                button("next", "next"),
                tag("span", id="count", aria_live="polite"),
                _class="controls",
            ),
            tag(
                "noscript",
                tag(
                    "p",
                    "The table and the charts are drawn by this page's own script,"
                    " which this browser does not run.",
                ),
            ),
        ]
    )
