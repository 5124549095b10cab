"""Trials with fewer micro batches per step, and what they tell of the whole step.

A step is linear in its micro batches from the first full pipeline on: each adds its forward and
backward pass in the slowest stage, while the bubble, the optimizer and the reduction of gradients
come once. So a measured step of some micro batches, times the ratio that the formulas give, is the
step of all of them: exact in the bubble, and off by the error of what comes once, less as the
trial has more of them.
"""

import dataclasses

import numpy as np

from launcher.planner import steptime
from launcher.planner.points import Array, Points
from launcher.planner.steptime import TimeConstants

PIPELINES = 2
"""Micro batches of a trial for each pipeline stage, at the least: as many are under way at once as
in a whole step, so that its memory is that of the run, and more than half of its time is no
bubble."""


def micro_batches(points: Points, constants: TimeConstants, steps: Array, seconds: float) -> Array:
    """Micro batches per step with which the steps of a trial take so many seconds by prediction.

    As few as `PIPELINES` times the stages, times a power of two (a slightly different prediction
    is to give the same trial), where even those take longer; 0 where all of them do not.
    """
    least = PIPELINES * points.pp
    whole, short = (steps * step_seconds(points, constants, m) for m in (None, least))
    each = (whole - short) / np.maximum(points.accumulation - least, 1)
    room = np.maximum((seconds - short) / np.maximum(each, 1e-12), 0.0)
    chosen = least * 2.0 ** np.floor(np.log2(1 + room / least))
    return np.where((whole > seconds) & (chosen < points.accumulation), chosen, 0.0)


def step_seconds(points: Points, constants: TimeConstants, micro_batches: Array | None) -> Array:
    """Seconds of a step of so many micro batches; None and 0 are all of `points.accumulation`."""
    if micro_batches is None:
        return steptime.step_time(points, constants).total
    chosen = np.where(micro_batches > 0, micro_batches, points.accumulation)
    batch = chosen * points.micro_batch * points.dp
    return steptime.step_time(dataclasses.replace(points, global_batch=batch), constants).total
