"""Many runs: a sweep's points, and strategies that choose which of them to run next."""

from launcher.results.columns import GOALS, SPEED
from launcher.results.record import RunRecord
from sweeps.best_first import best_first
from sweeps.expand import Sweep, choices, pinned, specs, unique
from sweeps.halving import halving
from sweeps.listed import grid, in_order, shuffled
from sweeps.search import Answer, Search, Stop, Strategy

STRATEGIES: dict[str, Strategy] = {
    "grid": grid,
    "random": shuffled,
    "best_first": best_first,
    "halving": halving,
    "in_order": in_order,
}

LEARNING = {"best_first", "halving", "in_order"}
"""Strategies that look at results, so that not all points are submitted at once."""

HANDFUL = 8
"""Points up to which all are run where no strategy is named."""


def strategy(sweep: Sweep, points: int) -> tuple[str, Strategy]:
    """Return the name and function of a sweep's strategy; unless named, by the number of points."""
    many = "best_first" if sweep.goal == SPEED else "random"
    name = sweep.strategy or (many if points > HANDFUL else "grid")
    return name, STRATEGIES[name]


def merit(goal: str, record: RunRecord) -> float | None:
    """Value of a goal that a run has, with its sign changed where less is better."""
    value = getattr(record.figures, goal) if record.outcome == "ok" else None
    return -value if value is not None and GOALS[goal].better == "less" else value


__all__ = [
    "LEARNING",
    "STRATEGIES",
    "Answer",
    "Search",
    "Stop",
    "Strategy",
    "Sweep",
    "choices",
    "merit",
    "pinned",
    "specs",
    "strategy",
    "unique",
]
