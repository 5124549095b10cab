"""The page as a whole: the template filled, with a policy that lets nothing leave it."""

import base64
import hashlib
import importlib.metadata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import plotly
from plotly.offline import get_plotlyjs

from analysis.report import grid, sections
from analysis.report.facts import Fact, cards, hour
from analysis.report.markup import Html, joined, script_json, tag
from analysis.report.parts import Part, gpu_hours, parts, with_whole_paths
from launcher.files import write_text

if TYPE_CHECKING:
    from analysis.runs import Runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Contents of a report that the runs do not decide."""

    title: str
    price: float | None = None
    """Price of one GPU hour; None where nobody knows it."""
    commit: str | None = None
    """Commit of this project's checkout, which makes the report."""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


def write(runs: "Runs", path: Path, options: Options) -> None:
    """Write the report of runs as one file, whole or not at all. Raises WorkError."""
    write_text(path, html(runs, options))


def html(runs: "Runs", options: Options) -> str:
    """The report of runs: a document that needs no other and no network."""
    table = with_whole_paths(runs.table(unfinished=True))
    frames = (runs.steps(), runs.events(), runs.attempts())
    of_sweeps = parts(table, *map(with_whole_paths, frames))
    page = sections.PageFigures()
    body = joined(
        [
            tag("header", *_head(of_sweeps, runs.notes, options)),
            sections.contents(of_sweeps),
            *(sections.section(part, n, options.price, page) for n, part in enumerate(of_sweeps)),
            sections.points(len(table), grid.shared_line(table)),
        ]
    )
    scripts = {"plotly": _script(get_plotlyjs()), "script": _script(_shipped("page.js"))}
    return Template(_shipped("page.html")).substitute(
        policy=_policy(scripts.values()),
        title=joined([options.title]),
        body=body,
        style=_shipped("page.css"),
        points=grid.payload(table),
        charts=script_json(page.figures),
        **scripts,
    )


def _head(parts: Sequence[Part], notes: Sequence[str], options: Options) -> list[Html]:
    version = _version()
    by = " ".join(word for word in ("megalaunch", version, options.commit) if word)
    time = f"{options.time:%Y-%m-%d %H:%M} UTC"
    head = [
        tag("h1", options.title),
        tag("p", f"Made {time} by {by}, with plotly {plotly.__version__}.", _class="dim"),
    ]
    if len(parts) > 1:
        head.append(cards(_totals(parts, options.price)))
    if notes:
        head.append(tag("ul", *(tag("li", note) for note in notes), _class="warn"))
    return head


def _totals(parts: Sequence[Part], price: float | None) -> list[Fact]:
    """Figures of several parts together."""
    ok = sum(len(part.ok) for part in parts)
    hours_of_parts = [float(hours.sum()) for part in parts if len(hours := gpu_hours(part))]
    facts: list[Fact] = [
        ("sweeps and runs", str(len(parts)), None),
        ("points", f"{sum(len(part.table) for part in parts):,}", f"{ok:,} ran well"),
    ]
    if hours_of_parts:
        facts.append(("GPU hours", hour(sum(hours_of_parts)), None))
    if hours_of_parts and price is not None:
        facts.append(("price", f"{sum(hours_of_parts) * price:,.2f}", f"at {price:g} per GPU hour"))
    return facts


def _policy(scripts: Iterable[str]) -> str:
    """Policy of a page that fetches and sends nothing, and runs no script but these."""
    hashes = (hashlib.sha256(script.encode()).digest() for script in scripts)
    digests = (base64.b64encode(digest).decode() for digest in hashes)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _script(text: str) -> str:
    """A script as a browser reads it back, which is what its digest is of."""
    text = text.replace("\r\n", "\n")
    assert "</script" not in text.lower() and "<!--" not in text, "would end early"
    return text


def _shipped(name: str) -> str:
    return files("analysis.report").joinpath(name).read_text(encoding="utf-8")


def _version() -> str | None:
    try:
        return importlib.metadata.version("megalaunch")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return None
