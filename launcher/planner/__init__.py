"""What a spec will cost, before it runs.

A planner is a pure function of a spec and of the records so far (which correct it); it returns
a `Prediction` whose unknown parts are None. The sweep asks it for every point, and again after
each record, and writes what it said beside what was measured.
"""

from collections.abc import Callable, Sequence

from launcher.record import Prediction, RunRecord
from launcher.spec import RunSpec

Planner = Callable[[RunSpec, Sequence[RunRecord]], Prediction]


def unknown(_: RunSpec, __: Sequence[RunRecord]) -> Prediction:
    """Predicts nothing."""
    return Prediction()


PLANNERS: dict[str, Planner] = {"none": unknown}
