"""Limit of a step: the seconds after which a rank without a finished one counts as hung."""

HANG_SECONDS = 300.0
"""Least limit: a step may wait for a file system, or for kernels to be compiled."""

HANG_STEPS = 5.0
"""Steps in whose time one must end. Predicted steps are off by half at the most published runs
(docs/planner.md), and the slowest step of a healthy run takes a few times the median."""


def hang_seconds(step_seconds: float | None) -> float:
    """Limit of a step that is expected to take so long; the least one where nothing is expected."""
    return max(HANG_SECONDS, HANG_STEPS * (step_seconds or 0.0))
