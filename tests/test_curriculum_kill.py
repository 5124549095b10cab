"""A staged run that is killed at random moments ends, bit by bit, like one that was left alone."""

import random
from pathlib import Path

import pytest

from launcher.results.run_folder import RunFolder
from tests import kills


def test_killed_five_times(tmp_path: Path, cache: Path) -> None:
    random.seed(20261122)
    left_alone, disturbed = tmp_path / "a", tmp_path / "b"
    for folder in (left_alone, disturbed):
        folder.mkdir()
    assert kills.finished(left_alone, cache) == 0
    for name in kills.STAGES:
        check_against_the_plan(RunFolder(left_alone / "four_stage" / name))
    hits = [kills.killed(disturbed, cache, kind) for kind in kills.KINDS]
    assert all(hits), "a moment did not come"
    assert kills.finished(disturbed, cache) == 0
    assert kills.outcome(disturbed / "four_stage") == kills.outcome(left_alone / "four_stage")
    assert list(disturbed.glob("four_stage/*/attempts/*")), "no kill hit a stage that had begun"


def check_against_the_plan(run: RunFolder) -> None:
    """Learning rates, and the blend: off by half a per cent or by the two samples it may be."""
    spec, result = run.spec(), run.result()
    assert result is not None
    for line in run.steps():
        assert line["lr"] == pytest.approx(spec.rate(line["step"]), rel=1e-6)
    count, total = spec.samples_through(spec.last), sum(spec.data.blend.values())
    for source, weight in spec.data.blend.items():
        expected = weight / total
        assert abs(result["samples"][source] / count - expected) < max(0.005, 2 / count)
    assert sum(result["samples"].values()) == count
