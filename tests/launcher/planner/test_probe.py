"""Trials with fewer micro batches per step: how many, and what they tell of the whole step."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from launcher.planner import probe
from launcher.planner.points import Points
from launcher.planner.steptime import TimeConstants
from tests.launcher.planner.made import FIXED, only, points

STEPS = np.array([12.0])


def pipeline(**changes: Any) -> Points:
    """128 micro batches through 8 stages."""
    return points(**{"layers": 32, "pp": 8, "gpus": 8, "global_batch": 128, **changes})


def ratio(point: Points, constants: TimeConstants, micro_batches: float) -> float:
    whole = probe.step_seconds(point, constants, None)
    return float((whole / probe.step_seconds(point, constants, np.array([micro_batches])))[0])


@pytest.mark.parametrize("vpp", [1, 2, 4])
@pytest.mark.parametrize("micro_batches", [16, 32, 64])
def test_the_bubble_is_that_of_the_schedule(micro_batches: int, vpp: int) -> None:
    """A step is (m + (p - 1) / v) micro batches long where nothing happens once."""
    constants = dataclasses.replace(only(FIXED.time), step=1e-12)
    point = pipeline(vpp=vpp, vocab=1, memory_rate=1e30)
    bubble = 7 / vpp
    expected = (128 + bubble) / (micro_batches + bubble)
    assert ratio(point, constants, micro_batches) == pytest.approx(expected, rel=2e-3)


def test_a_step_is_linear_in_its_micro_batches() -> None:
    point = pipeline(dp=1, gpus=64, global_batch=1024, zero=1, shards=8)
    seconds = [
        float(probe.step_seconds(point, FIXED.time, np.array([m]))[0]) for m in (16.0, 32.0, 64.0)
    ]
    assert seconds[2] - seconds[1] == pytest.approx(2 * (seconds[1] - seconds[0]), rel=1e-9)
    assert probe.step_seconds(point, FIXED.time, np.array([0.0])) == probe.step_seconds(
        point, FIXED.time, None
    )


@pytest.mark.parametrize("wrong", [0.5, 2.0])
@pytest.mark.parametrize("constant", ["exposed_gradients", "step", "network", "memory"])
def test_what_happens_once_a_step_may_be_off_by_half(constant: str, wrong: float) -> None:
    """The whole step that is derived is off by a few percent at the most."""
    point = pipeline(gpus=64, global_batch=1024, zero=1, shards=8)
    told = getattr(FIXED.time, constant)
    real = dataclasses.replace(FIXED.time, **{constant: told * wrong})
    derived = ratio(point, FIXED.time, 16) / ratio(point, real, 16)
    assert derived == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        (1e9, 0),  # all of them fit
        (1e-9, 16),  # none does: as few as tell the speed
    ],
)
def test_a_trial_has_as_many_as_fit(seconds: float, chosen: int) -> None:
    assert probe.micro_batches(pipeline(), FIXED.time, STEPS, seconds) == chosen


def test_a_trial_takes_the_seconds_that_it_may() -> None:
    point = pipeline()
    for count in (20.0, 40.0, 70.0):
        seconds = float((STEPS * probe.step_seconds(point, FIXED.time, np.array([count])))[0])
        (chosen,) = probe.micro_batches(point, FIXED.time, STEPS, seconds)
        assert chosen in (16, 32, 64) and count / 2 < chosen <= count
        (nearly,) = probe.micro_batches(point, FIXED.time, STEPS, seconds * 1.02)
        assert nearly == chosen, "a slightly other prediction is the same trial"


def test_few_micro_batches_are_left_as_they_are() -> None:
    point = pipeline(global_batch=16)
    assert probe.micro_batches(point, FIXED.time, STEPS, 1e-9) == 0
