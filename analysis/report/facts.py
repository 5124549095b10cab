"""Facts of a part of the report in words and small tables: the best, the lost, the versions."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import pandas as pd

from analysis import table
from analysis.charts.sweep import kind_of
from analysis.report import markup
from analysis.report.markup import Html, tag
from analysis.report.parts import Part, gpu_hours
from launcher.results.columns import SPEED, figure
from launcher.results.outcomes import NEVER_RAN, OUTCOMES, advice
from launcher.spec.layout import DEGREES, layout_label

Fact = tuple[str, str, str | None]
"""A title, a figure, and what there is to say about it."""

BEST = (
    ("tflops_per_gpu", "TFLOP/s per card"),
    ("mfu_pct", "% MFU"),
    ("step_ms_p50", "ms a step"),
    ("mem_max_gib", "GiB"),
    ("eta_days", "days for all tokens"),
)
"""Columns of the fastest layout that stand beside its speed, and their units."""

STAGE_HEADS = ("stage", "outcome", "steps", "tokens until", "first loss", "last loss", "attempts",
               "spikes", "rollbacks", "GPU hours", "layout")  # fmt: skip

VERSIONS = (
    ("commit", "commit"),
    ("code", "digest of the code"),
    ("backend", "engine"),
    ("optimizer", "optimizer"),
    ("expert_product", "product of experts"),
    ("hosts", "hosts"),
)
"""Columns that say what ran a part and where, and how they are called."""

CAUSES = 4
"""Kinds of causes of an outcome that are named."""

LISTED = 12
"""Hosts, commits or digests that are named."""


def cards(facts: Iterable[Fact]) -> Html:
    """Facts as a row of small cards."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", title), tag("dd", value, small and tag("small", small)))
            for title, value, small in facts
        ),
        _class="facts",
    )


def of_part(part: Part, price: float | None) -> Iterator[Fact]:
    """The figures of a part."""
    unit = "stages" if part.kind == "curriculum" else "runs" if part.imported else "points"
    counts = part.table["outcome"].value_counts()
    if part.kind == "run":
        yield "outcome", str(counts.index[0]), None
    else:
        by_outcome = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        yield unit, f"{len(part.table):,}", by_outcome
    if part.best is not None:
        yield _best(part)
    yield from _hours(part, price)
    yield from _goodput(part)


def outcomes(part: Part) -> Html | None:
    """Outcomes of the points, what they took, and what to do about them; None where all is well."""
    counts = part.table["outcome"].value_counts()
    if set(counts.index) <= {"ok"}:
        return None
    hours = gpu_hours(part)
    rows = []
    for outcome, count in counts.items():
        ended_so = part.table["outcome"] == outcome
        # No command of this project runs again what others started.
        next_step = "" if part.foreign[ended_so].all() else _advice(str(outcome))
        rows.append(
            (
                outcome,
                f"{count:,}",
                hour(hours.get(outcome)),
                _causes(part.table.loc[ended_so, "cause"].dropna()),
                tag("div", next_step, _class="text"),
            )
        )
    heads = ("outcome", "points", "GPU hours", "most frequent causes", "what to do")
    count = len(heads) - part.imported  # nothing is to do about runs of others
    return markup.table(heads[:count], [row[:count] for row in rows], (1, 2), stacks=True)


def stages(part: Part) -> Html | None:
    """The stages of a curriculum, one row each."""
    if part.kind != "curriculum":
        return None
    by_folder = dict(list(part.attempts.groupby("folder", sort=False)))
    tokens = part.steps.groupby("folder")["tokens"].max().dropna()
    rows = []
    for _, row in part.table.iterrows():
        attempts = by_folder.get(row["folder"], part.attempts.iloc[:0])
        rows.append(
            [
                row["stage"],
                row["outcome"],
                _cell(row, "steps"),
                f"{int(tokens[row['folder']]):,}" if row["folder"] in tokens.index else "",
                _cell(row, "loss_first"),
                _cell(row, "loss_last"),
                str(len(attempts)),
                _cell(row, "spikes"),
                _cell(row, "rollbacks"),
                hour(pd.to_numeric(attempts["gpu_hours"]).sum(min_count=1)),
                _layout(row),
            ]
        )
    return markup.table(STAGE_HEADS, rows, numbers=range(2, 10))


def versions(part: Part) -> Html:
    """Code, engine and hosts that ran it."""
    facts = []
    for column, title in VERSIONS:
        values = part.attempts["hosts"] if column == "hosts" else part.table[column]
        words = sorted({word for value in values.dropna() for word in str(value).split()})
        if words:
            more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
            facts.append(f"{title} {', '.join(words[:LISTED])}{more}")
    return tag("p", "; ".join(facts) or "No version is known.", _class="dim")


def _causes(causes: "pd.Series[str]") -> Html:
    """The most frequent kinds, each by an example."""
    kinds = causes.map(kind_of)
    counts = kinds.value_counts()
    lines = [
        f"{count:,} x {causes[kinds == kind].iloc[0]}" if len(causes) > 1 else causes.iloc[0]
        for kind, count in counts.head(CAUSES).items()
    ]
    if len(counts) > CAUSES:
        lines.append(f"{counts[CAUSES:].sum():,} of {len(counts) - CAUSES} other kinds")
    return tag("div", "\n".join(lines), _class="text")


def _best(part: Part) -> Fact:
    best = cast("pd.Series[Any]", part.best)
    figures = [
        f"{table.cell(name, best[name])} {unit}" for name, unit in BEST if not pd.isna(best[name])
    ]
    title = {"sweep": "fastest layout", "curriculum": "fastest stage", "run": "speed"}[part.kind]
    if part.imported and part.kind == "sweep":
        title = "fastest run"
    if part.goal != SPEED and part.kind == "sweep" and best["outcome"] == "ok":
        title = f"best {part.goal}"
        figures.insert(0, figure(part.goal, best[part.goal]))
    if best["outcome"] != "ok":
        figures.append(f"outcome {best['outcome']}")
    name = f"{part.names[part.names.index == best.name].iloc[0]}: " if part.kind != "run" else ""
    return title, f"{best['tokens_per_s']:,.0f} tokens/s", name + ", ".join(figures)


def _hours(part: Part, price: float | None) -> Iterator[Fact]:
    hours = gpu_hours(part)
    if not len(hours):
        return
    lost = hours.drop(index="ok", errors="ignore").sum()
    in_ok = f"{hour(hours.get('ok', 0.0))} in {'runs' if part.kind != 'curriculum' else 'stages'}"
    unknown = int(part.attempts["gpu_hours"].isna().sum())
    more = f"; of {unknown} attempts it is not known" if unknown else ""
    yield "GPU hours", hour(hours.sum()), f"{in_ok} that went well, {hour(lost)} in others{more}"
    if price is not None:
        yield "price", f"{hours.sum() * price:,.2f}", f"at {price:g} per GPU hour"


def _goodput(part: Part) -> Iterator[Fact]:
    """Share of the time in steps that count; in a sweep the rest, starts of trials, is no loss."""
    useful, total = part.useful_seconds, part.seconds
    if part.kind != "sweep" and useful is not None and total:
        share = min(100 * useful / total, 100.0)
        spans = (
            f"{useful:,.0f} s in steps that were kept, of {total:,.0f} s from its start to its end"
        )
        yield "goodput", f"{share:.1f} %", spans


def _advice(outcome: str) -> str:
    if outcome == "ok":
        return ""
    if outcome == "unreadable":
        return "its folder is damaged; remove it, and the same command runs it again"
    if outcome in NEVER_RAN:
        return "nothing: it never ran, and cannot or need not"
    return advice(outcome, None) if outcome in OUTCOMES else "it has not ended"


def _layout(row: "pd.Series[Any]") -> str:
    degrees = {name: row[name] for name in DEGREES if not pd.isna(row[name])}
    label = layout_label(degrees, f"zero{row['zero']}", f"{row['gpus']} cards")
    return label if pd.isna(row["backend"]) else f"{row['backend']} {label}"


def _cell(row: "pd.Series[Any]", name: str) -> str:
    return "" if pd.isna(row[name]) else table.cell(name, row[name])


def hour(hours: Any) -> str:
    """GPU hours as a person reads them; nothing where they are unknown."""
    if hours is None or pd.isna(hours):
        return ""
    return f"{hours:,.1f}" if hours >= 100 else f"{hours:,.3g}"
