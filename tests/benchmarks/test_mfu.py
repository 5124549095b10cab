"""The figures of the MFU benchmark: shares of the peak of the card that is there."""

import pytest

from launcher.sheets import predictions
from launcher.spec.cluster import Accelerator
from tests.benchmarks import mfu
from tests.launcher.workers import ranks

H100, A100 = (predictions.clusters()[name].accelerator for name in ("h100", "a100"))
SPEC = ranks.spec(1, **mfu.BILLION)
FLOPS = SPEC.tokens_per_step * SPEC.model.flops_per_token


@pytest.mark.parametrize(
    ("card", "pct", "line"),
    [
        (H100, 100.0, "the peak of H100-SXM5-80GB is 989.4 TFLOP/s in bf16"),
        (A100, 100 * 989.4 / 312, "the peak of A100-SXM4-80GB is 312 TFLOP/s in bf16"),
        (Accelerator(name="a new one"), None, None),
        (None, None, None),
    ],
    ids=["h100", "a100", "no peak", "no card"],
)
def test_the_share_is_that_of_the_card(
    card: Accelerator | None, pct: float | None, line: str | None
) -> None:
    step_ms = FLOPS / 989.4e12 * 1e3  # as fast as an H100 can be
    results = mfu.figures(SPEC, {"plain": [step_ms, 1e9, step_ms], "megatron": [2 * step_ms]}, card)
    plain, megatron = results["contenders"].values()
    assert plain["peak_pct"] == (pct and pytest.approx(pct))
    assert plain["tflops"] == pytest.approx(989.4)
    assert (plain["times_plain"], megatron["times_plain"]) == (1.0, 0.5)
    shown = mfu.lines(results)
    assert shown[2:] == ([line] if line else [])
    assert ("% of the peak" in shown[0]) == (pct is not None)


def test_who_has_not_run_yet_has_no_figures() -> None:
    results = mfu.figures(SPEC, {"plain": [10.0], "megatron": []}, None)
    assert set(results["contenders"]["megatron"].values()) == {None}
