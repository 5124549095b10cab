"""Many runs: a sweep's points, and strategies that choose which of them to run next.

A strategy is a pure function of the sweep, its runnable points and every record so far; it
returns the specs to run next, best first, and ``[]`` once it wants no more. It starts nothing
and reads no files, so continuing a sweep needs no state of its own.
"""

from collections.abc import Callable, Sequence

from launcher.record import RunRecord
from launcher.spec import RunSpec
from sweeps.grid import grid
from sweeps.points import Sweep, expand, pinned

Strategy = Callable[[Sweep, Sequence[RunSpec], Sequence[RunRecord]], list[RunSpec]]

STRATEGIES: dict[str, Strategy] = {"grid": grid}

__all__ = ["STRATEGIES", "Strategy", "Sweep", "expand", "pinned"]
