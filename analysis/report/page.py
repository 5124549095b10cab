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
from analysis.report.parts import Part, gpu_hours, parts, placed
from launcher.files import write_text

if TYPE_CHECKING:
    from analysis.runs import Runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a report says besides what the runs say."""

    title: str
    price: float | None = None
    """Of one GPU hour; None where nobody knows it."""
    commit: str | None = None
    """Of this project's checkout, which makes the report."""
    made: datetime = field(default_factory=lambda: datetime.now(UTC))


def write(runs: "Runs", path: Path, options: Options) -> None:
    """Write the report of runs as one file, whole or not at all. Raises WorkError."""
    write_text(path, html(runs, options))


def html(runs: "Runs", options: Options) -> str:
    """The report of runs: a document that needs no other and no network."""
    table = placed(runs.table(unfinished=True))
    found = parts(table, *map(placed, (runs.steps(), runs.events(), runs.attempts())))
    drawn = sections.Drawn()
    body = joined([
        tag("header", *_head(found, runs.notes, options)),
        sections.contents(found),
        *(sections.section(part, n, options.price, drawn) for n, part in enumerate(found)),
        sections.points(len(table), grid.shared_line(table)),
    ])  # fmt: skip
    scripts = {"plotly": _script(get_plotlyjs()), "script": _script(_shipped("page.js"))}
    return Template(_shipped("page.html")).substitute(
        policy=_policy(scripts.values()), title=joined([options.title]), body=body,
        style=_shipped("page.css"), points=grid.payload(table), charts=script_json(drawn.figures),
        **scripts,
    )  # fmt: skip


def _head(found: Sequence[Part], notes: Sequence[str], options: Options) -> list[Html]:
    version = _version()
    by = " ".join(word for word in ("megalaunch", version, options.commit) if word)
    made = f"{options.made:%Y-%m-%d %H:%M} UTC"
    head = [
        tag("h1", options.title),
        tag("p", f"Made {made} by {by}, with plotly {plotly.__version__}.", _class="dim"),
    ]
    if len(found) > 1:
        head.append(cards(_totals(found, options.price)))
    if notes:
        head.append(tag("ul", *(tag("li", note) for note in notes), _class="warn"))
    return head


def _totals(found: Sequence[Part], price: float | None) -> list[Fact]:
    """Of several parts together."""
    well = sum(len(part.ok) for part in found)
    hours = sum(float(gpu_hours(part).sum()) for part in found)
    facts: list[Fact] = [
        ("sweeps and runs", str(len(found)), None),
        ("points", f"{sum(len(part.table) for part in found):,}", f"{well:,} ran well"),
        ("GPU hours", hour(hours), None),
    ]
    if price is not None:
        facts.append(("price", f"{hours * price:,.2f}", f"at {price:g} per GPU hour"))
    return facts


def _policy(scripts: Iterable[str]) -> str:
    """Nothing is fetched, no script runs but these two, and nothing is sent."""
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline';"
            " img-src data: blob:; base-uri 'none'; form-action 'none'")  # fmt: skip


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
