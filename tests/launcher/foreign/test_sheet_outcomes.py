"""Outcomes as people write them, in a column for it and among notes."""

import pytest

from launcher.foreign import sheet_outcomes
from launcher.results.outcomes import Outcome

CELLS: list[tuple[str, Outcome | None, Outcome | None]] = [
    ("OK", "ok", None),
    ("done", "ok", None),
    ("not finished", "failed", "failed"),
    ("OOM", "oom", "oom"),
    ("no OOM", "ok", None),
    ("finished without errors", "ok", None),
    ("hung at step 3", "hang", "hang"),
    ("started 3 May", "failed", None),  # notes may say so of any run
    ("to do", "pruned", None),
    ("tp 8 looked fast", None, None),
]


@pytest.mark.parametrize(("text", "in_column", "in_notes"), CELLS)
def test_a_cell(text: str, in_column: Outcome | None, in_notes: Outcome | None) -> None:
    assert (sheet_outcomes.stated(text), sheet_outcomes.noted(text)) == (in_column, in_notes)
