"""Every point, in the order the axes list them."""

from collections.abc import Sequence

from launcher.record import RunRecord
from launcher.spec import RunSpec
from sweeps.points import Sweep


def grid(_: Sweep, points: Sequence[RunSpec], records: Sequence[RunRecord]) -> list[RunSpec]:
    """The points that have no record yet."""
    known = {record.spec.id for record in records}
    return [spec for spec in points if spec.id not in known]
