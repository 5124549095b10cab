"""Points that never ran, as one line for each cause: a grid has hundreds of them."""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from launcher.results.outcomes import NEVER_RAN

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
"""Numbers of a cause: causes that differ in nothing else are one."""
LISTED = 3
"""Rows up to which a line names them, for ``launch plan --explain``."""

SHOWN, LONGEST = 30, 40
"""Rows of a plan that are shown of more than so many that may run: nobody will try the others."""

FATES = (("outcome", "cause"), ("plan", "reason"))
"""Columns that say what became of a point, and why: of a table of runs, and of a plan."""


def fold(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that ran, or may run, and a line for each cause of the others.

    A cause that several rows share up to its numbers has the least and the largest of each:
    ``9 pruned  predicted 80.1 to 258.2 GiB, the device has 78.6``.
    """
    columns = next((fate for fate in FATES if fate[0] in rows), None)
    if columns is None:
        return rows, []
    outcome, cause = columns
    never_ran = rows[outcome].isin(NEVER_RAN)
    groups: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    for number, fate, text in rows.loc[never_ran, ["row", outcome, cause]].itertuples(index=False):
        message = "" if pd.isna(text) else str(text)
        groups.setdefault((fate, NUMBER.sub("#", message)), []).append((number, message))
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1])))
    width = max((len(str(len(members))) for _, members in ordered), default=0)
    lines = [
        f"{len(members):>{width}} {fate}  {_joined([text for _, text in members])}{_rows(members)}"
        for (fate, _), members in ordered
    ]
    candidates = rows[~never_ran].reset_index(drop=True)
    if outcome == "plan" and len(candidates) > LONGEST:
        lines.insert(0, f"{len(candidates) - SHOWN} more may run; --all shows every row")
        candidates = candidates.head(SHOWN)
    candidates.attrs = dict(rows.attrs)
    return candidates, lines


def _joined(causes: Sequence[str]) -> str:
    """Return causes that differ in their numbers alone as one."""
    numbers = [*zip(*(NUMBER.findall(cause) for cause in causes), strict=True)]
    ranges = iter([_range(texts) for texts in numbers])
    return NUMBER.sub(lambda match: next(ranges), causes[0])


def _range(texts: Sequence[str]) -> str:
    ordered = sorted(texts, key=_value)
    low, high = ordered[0], ordered[-1]
    return low if _value(low) == _value(high) else f"{low} to {high}"


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def _rows(members: Sequence[tuple[Any, str]]) -> str:
    """Name the rows, where they are few and have numbers."""
    numbers = [str(number) for number, _ in members if not pd.isna(number)]
    if not numbers or len(numbers) > LISTED:
        return ""
    return f" (row{'' if len(numbers) == 1 else 's'} {', '.join(numbers)})"
