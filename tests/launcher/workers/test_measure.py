"""Loss and gradient norm of a step over all ranks."""

import math

import pytest

from launcher.workers import measure
from launcher.workers.engines.engine import RankStep

ROWS = [
    # rows of loss sum, tokens and norm; loss, norm
    ([[6.0, 3, 2.0]], 2.0, 2.0),
    ([[6.0, 3, 2.0], [2.0, 1, 2.5]], 2.0, 2.5),
    ([[0.0, 0, 2.0], [8.0, 2, 2.0]], 4.0, 2.0),  # the first rank leaves the loss to the second
    ([[8.0, 2, math.nan], [0.0, 0, 3.0]], 4.0, math.nan),
    ([[8.0, 2, 3.0], [0.0, 0, math.nan]], 4.0, math.nan),
    ([[math.nan, 2, 1.0], [2.0, 1, 1.0]], math.nan, 1.0),
]


@pytest.mark.parametrize(("rows", "loss", "norm"), ROWS)
def test_reduce(
    rows: list[list[float]], loss: float, norm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(measure, "gather", lambda figures: sent.append(figures) or rows)
    figures = measure.reduce(RankStep(loss_sum=rows[0][0], tokens=int(rows[0][1]), grad_norm=1.5))
    assert sent == [[*rows[0][:2], 1.5]] or math.isnan(rows[0][0])
    assert figures.loss == pytest.approx(loss, nan_ok=True)
    assert figures.grad_norm == pytest.approx(norm, nan_ok=True)
