"""Terms of one prediction: they add up, and are those of the formulas."""

import numpy as np
import pytest

from launcher.planner import memory, steptime
from launcher.planner.explain import MEANING, terms
from launcher.planner.points import GIB
from tests.launcher.planner.made import FIXED, points


@pytest.mark.parametrize(
    ("pp", "groups"),
    [
        (1, ["memory", "step"]),
        (2, ["memory, first stage", "memory, last stage", "memory", "step"]),
        (
            4,
            ["memory, first stage", "memory, middle stage", "memory, last stage", "memory", "step"],
        ),
    ],
)
def test_each_stage_that_differs_is_shown(pp: int, groups: list[str]) -> None:
    rows = list(terms(points(pp=pp, gpus=pp), FIXED))
    assert list(dict.fromkeys(row["of"] for row in rows)) == groups


def test_terms_add_up() -> None:
    point = points()
    rows = list(terms(point, FIXED))
    for group, unit, total in (
        ("memory", "gib", memory.fullest_rank(point, FIXED.memory).allocated[0] / GIB),
        ("step", "ms", steptime.step_time(point, FIXED.time).total[0] * 1e3),
    ):
        together = [row[unit] for row in rows if (row["of"], row["term"]) == (group, "together")]
        assert together == [pytest.approx(total, abs=0.05)]
        shares = [row["share_pct"] for row in rows if row["of"] == group and row["meaning"]]
        assert sum(shares) == pytest.approx(100, abs=0.5)


def test_every_term_says_what_it_is() -> None:
    rows = list(terms(points(), FIXED))
    named = {row["term"]: row["meaning"] for row in rows if row["meaning"]}
    assert named.keys() == {name for meanings in MEANING.values() for name in meanings}


def test_memory_of_an_unknown_device_is_not_shown() -> None:
    known, unknown = (list(terms(points(memory=size), FIXED)) for size in (40 * GIB, np.inf))
    assert [row["gib"] for row in known if row["term"] == "there is"] == [40.0]
    assert "there is" not in [row["term"] for row in unknown]
