"""Literals that every match of a regex has.

Module: launcher.results.endings.literals.
"""

import pytest

from launcher.results.endings.literals import literals
from launcher.results.endings.patterns import PATTERNS


@pytest.mark.parametrize(
    ("regex", "texts"),
    [
        ("Address already in use", ("Address already in use",)),
        (r"\bgaierror: |Name or service", ("gaierror: ", "Name or service")),
        (r"STEP \S+ CANCELLED AT \d", (" CANCELLED AT ",)),
        (r"fork: (?:retry: )?Cannot allocate", ("Cannot allocate",)),
        (r"[Ee]rror 80[23]: ", ("rror 80",)),
        (r"(?:abcd|efghi)+x", ("abcd", "efghi")),
        (r"^(?=.*stopping)", ("stopping",)),
        # Nothing that every match has, or too little.
        (r"(?i:stopping)", ()),
        (r"(?!stopping)\w", ()),
        (r"(?:stopping)?\d", ()),
        (r"stopping|\d", ()),
        (r"abc\d", ()),
    ],
)
def test_literals(regex: str, texts: tuple[str, ...]) -> None:
    assert literals(regex) == texts


def test_almost_every_pattern_has_some() -> None:
    assert sum(not literals(pattern.regex) for pattern in PATTERNS) < len(PATTERNS) / 20
