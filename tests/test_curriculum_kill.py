"""A staged run that is killed at random moments ends, bit by bit, like one that was left alone."""

import random
from pathlib import Path

import pytest

from tests import kills


@pytest.mark.timeout(900)
def test_killed_five_times(tmp_path: Path, cache: Path) -> None:
    random.seed(20261122)
    left_alone, disturbed = tmp_path / "a", tmp_path / "b"
    for folder in (left_alone, disturbed):
        folder.mkdir()
    assert kills.finished(left_alone, cache) == 0
    hits = [kills.killed(disturbed, cache, kind) for kind in kills.KINDS]
    assert all(hits), "a moment did not come"
    assert kills.finished(disturbed, cache) == 0
    assert kills.outcome(disturbed / "four_stage") == kills.outcome(left_alone / "four_stage")
    assert list(disturbed.glob("four_stage/*/attempts/*")), "no kill hit a stage that had begun"
