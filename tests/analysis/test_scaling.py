"""Scaling of runs on few and on many accelerators.

Modules: analysis.scaling.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from analysis import plan, table
from launcher.results.record import Figures, Planned, Prediction, RunRecord
from launcher.spec.run import RunSpec
from tests.conftest import spec


def sized(nodes: int, batch: int, **layout: Any) -> RunSpec:
    base = spec(global_batch=batch)
    return replace(
        base,
        cluster=replace(base.cluster, nodes=nodes),
        layout=replace(base.layout, **layout),
    )


def ran(nodes: int, batch: int, speed: float | None, **layout: Any) -> RunRecord:
    outcome = "ok" if speed else "oom"
    figures = Figures(tokens_per_s=speed)
    return RunRecord(spec=sized(nodes, batch, **layout), outcome=outcome, figures=figures)


def card(name: str, nodes: int, batch: int, speed: float) -> RunRecord:
    record = ran(nodes, batch, speed)
    cluster = record.spec.cluster
    cluster = replace(cluster, accelerator=replace(cluster.accelerator, name=name))
    return replace(record, spec=replace(record.spec, cluster=cluster))


CASES: list[tuple[str, list[RunRecord], list[float | None]]] = [
    ("strong and weak", [ran(1, 8, 100), ran(2, 8, 160), ran(2, 16, 190), ran(4, 32, 360)],
     [100, 80, 95, 90]),
    ("each by its like", [ran(1, 8, 80), ran(1, 16, 100), ran(2, 16, 160), ran(4, 32, 240), ran(4, 24, 200)],
     [100, 100, 80, 75, 50]),
    ("the fewest failed", [ran(1, 8, None), ran(2, 8, 100), ran(4, 8, 150)], [None, 100, 75]),
    ("of those that ran", [replace(ran(1, 8, 100), outcome="oom"), ran(2, 8, 100), ran(4, 8, 150)],
     [None, 100, 75]),
    ("whatever is remarked", [replace(ran(1, 8, 100), remark="a damaged line"), ran(2, 8, 160)],
     [100, 80]),
    ("other cards", [ran(1, 8, 100), card("b", 2, 8, 160), card("b", 4, 8, 240)], [None, 100, 75]),
    ("one size", [ran(2, 8, 100), ran(2, 16, 90)], [None, None]),
    ("layouts apart", [ran(1, 8, 100), ran(2, 8, 100, tp=2), ran(4, 8, 150, tp=2)],
     [None, 100, 75]),
]  # fmt: skip


@pytest.mark.parametrize(("records", "percent"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_per_cent_of_the_speed_on_the_fewest(
    records: list[RunRecord], percent: list[float | None]
) -> None:
    records = [replace(record, row=n) for n, record in enumerate(records)]
    column = table.frame(records, "row")["scaling_pct"]
    assert [None if pd.isna(value) else round(value, 6) for value in column] == percent


def test_a_plan_has_that_of_its_predictions() -> None:
    points = [
        Planned(
            spec=sized(nodes, 8), row=row, rejected=None, prediction=Prediction(step_ms=step_ms)
        )
        for row, (nodes, step_ms) in enumerate([(1, 400.0), (4, 125.0)])
    ]
    assert list(plan.frame(points, "row")["scaling_pct"]) == [100.0, 80.0]
