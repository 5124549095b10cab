"""Effects of the axes of a sweep, and its frontier."""

from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.effects import axes, pareto, sensitivity
from launcher.errors import ConfigError
from launcher.results.columns import OF_SPEC
from tests.analysis.grids import made


def test_what_an_axis_costs(tmp_path: Path) -> None:
    runs = analysis.load(made(tmp_path / "a", noise=0, drift=0))
    rows = {row["axis"]: row for row in analysis.sensitivity(runs).to_dict(orient="records")}
    assert rows.keys() == {"tp", "zero", "micro_batch"}
    tp = rows["tp"]  # 100, 110, 120, 130 ms become 140, 150, 160, 170
    assert (tp["base"], tp["value"], tp["pairs"], tp["failed"]) == (1, 2, 4, 0)
    assert (tp["low"], tp["high"]) == (pytest.approx(100 / 140), pytest.approx(130 / 170))
    assert tp["mem_ratio"] == 0.5


def test_what_fails_with_an_axis_is_counted() -> None:
    rows = pd.DataFrame(
        {
            "outcome": ["ok", "oom", "ok", "ok"],
            "tp": [1, 1, 2, 2],
            "zero": [0, 1, 0, 1],
            "sweep": "s",
            "tokens_per_s": [10.0, None, 8.0, 9.0],
            "mem_max_gib": [1.0, None, 1, 1],
        }
    )
    rows = rows.reindex(columns=[*rows.columns, *OF_SPEC]).loc[:, lambda d: ~d.columns.duplicated()]  # type: ignore[attr-defined]
    effects = {row["axis"]: row for row in sensitivity(rows).to_dict(orient="records")}
    assert (effects["tp"]["pairs"], effects["tp"]["failed"], effects["tp"]["mended"]) == (1, 0, 1)
    assert (effects["zero"]["pairs"], effects["zero"]["failed"]) == (1, 1)


def test_the_frontier() -> None:
    rows = pd.DataFrame(
        {
            "outcome": ["ok"] * 4 + ["oom"],
            "tokens_per_s": [9.0, 8, 7, 6, 99],
            "mem_max_gib": [4.0, 5, 2, 2, 0],
        }
    )
    best = pareto(rows, ["tokens_per_s", "mem_max_gib"])
    assert list(best["tokens_per_s"]) == [9, 7]
    with pytest.raises(ConfigError, match=r"^columns: no 'speed'"):
        pareto(rows, ["speed"])


def test_a_column_that_follows_from_another_is_no_axis() -> None:
    rows = pd.DataFrame({name: [None] * 4 for name in OF_SPEC})
    rows = rows.assign(tp=[1, 1, 2, 2], nodes=[1, 1, 2, 2], dp=[8, 8, 4, 4], zero=[0, 1, 0, 1])
    assert axes(rows) == ["nodes", "zero"]


@pytest.mark.parametrize(
    ("column", "best"), [("tokens_per_s", 2), ("step_ms", 1), ("gpus", 1), ("mfu_pct", 2)]
)
def test_less_or_more_is_better_as_the_row_of_the_column_says(column: str, best: int) -> None:
    figures = {"tokens_per_s": [1, 2], "step_ms_p50": [1, 2], "gpus": [1, 2], "mfu_pct": [1, 2]}
    rows = pd.DataFrame({"outcome": ["ok", "ok"], **figures})
    assert list(pareto(rows, [column])["tokens_per_s"]) == [best]
