"""The table of a plan: in which order, and what it costs."""

import pytest

from analysis.plan import frame
from launcher.errors import ConfigError
from launcher.results.record import Planned, Prediction
from tests.conftest import spec


def point(row: int, oom: float, step_ms: float = 100.0, memory: float = 10.0) -> Planned:
    prediction = Prediction(memory_gib=memory, oom=oom, step_ms=step_ms)
    return Planned(row=row, spec=spec(), rejected=None, prediction=prediction)


def test_the_most_promising_comes_first() -> None:
    rows = frame([point(1, 0.0, 120.0), point(2, 0.5, 80.0), point(3, 0.0, 110.0)])
    assert rows["row"].tolist() == [3, 1, 2]


def test_where_nothing_fits_what_misses_by_least_comes_first() -> None:
    rows = frame(
        [point(1, 1.0, memory=900.0), point(2, 1.0, 80.0, 120.0), point(3, 1.0, memory=300.0)]
    )
    assert rows["row"].tolist() == [2, 3, 1]


def test_a_column_that_is_empty_sorts_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        frame([point(1, 0.0)], sort="price")
    assert str(caught.value) == "--sort: price is empty in all rows"
