"""Retry of runs that have ended, and the nodes that they keep away from then."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from launcher.errors import ReadError
from launcher.request.request import Request
from launcher.results import summary
from launcher.results.outcomes import NEXT_STEP
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder, Status
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec

INNOCENT = {"preempted", "cancelled"}
"""Outcomes that say nothing about a run: they neither count nor part those that do."""

UNFIT = 2
"""Trials that have to point at a node before all others keep away from it."""


class RetryPolicy:
    """Decides on a request's trials, by all their attempts, this launcher's and others'."""

    def __init__(self, request: Request, folder: SweepFolder) -> None:
        self._request, self._sweep = request, folder
        self._blamed: dict[str, set[str]] = {}
        """Nodes that the attempts of a trial point at, by its name."""

    def again(self, record: RunRecord, by_command: bool = False) -> bool:
        """Return True if another attempt is to replace a record; remember the nodes to blame.

        Args:
            record: of the last attempt.
            by_command: somebody has given the command again, and may have mended what was wrong.
        """
        request, step = self._request, NEXT_STEP[record.outcome]
        if by_command and (step == "stop" or record.outcome in ("cancelled", *request.retry)):
            return True
        continues = request.checkpoint_every is not None
        if record.outcome == "timeout" and continues:
            step = "requeue"  # the next attempt goes on where this one was
        if step not in ("requeue", "elsewhere") or record.outcome == "cancelled":
            return False
        earlier = list(earlier_ends(self._folder(record.spec), record.spec))
        self._blamed[record.spec.name] = blamed([record, *earlier])
        if record.outcome in INNOCENT:
            return True
        limit = request.max_hangs if record.outcome == "hang" else request.max_attempts
        return failures(record, earlier, continues) < limit

    def runs_again(self, spec: RunSpec, status: Status) -> bool:
        """Return True if the same command runs a trial once more that has ended."""
        if self.has_more_time(status):
            return True
        return self.again(summary.record_of(spec, self._folder(spec)), by_command=True)

    def has_more_time(self, status: Status) -> bool:
        """Return True if a trial that ran out of time is given more of it now."""
        limit = status.time_limit
        return (
            status.stopped == "timeout" and limit is not None and self._request.time_limit > limit
        )

    @property
    def unfit(self) -> set[str]:
        """Nodes that no trial is sent to."""
        return unfit_nodes(self._blamed)

    def avoided(self, spec: RunSpec) -> set[str]:
        """Nodes that a trial is not sent to: its earlier attempts point at them."""
        folder = self._folder(spec)
        status = folder.readable_status()
        if spec.name not in self._blamed and (status or folder.attempts()):
            last = summary.record_of(spec, folder)
            ends = [last] if status and status.state == "ended" else []
            self._blamed[spec.name] = blamed([*ends, *earlier_ends(folder, last.spec)])
        return self._blamed.get(spec.name, set())

    def _folder(self, spec: RunSpec) -> RunFolder:
        return self._sweep.run(spec.name)


def earlier_ends(folder: RunFolder, spec: RunSpec) -> Iterator[RunRecord]:
    """Yield the records of attempts set aside, the last one first.

    An attempt whose launcher died with it has no end of its own, and is left out.

    Args:
        folder: of the run.
        spec: of the attempt after them.
    """
    for attempt in folder.attempts():
        with suppress(ReadError):  # where a stage went on at another layout: of all until then
            spec = attempt.spec()
        status = attempt.readable_status()
        if status is not None and status.state == "ended":
            yield summary.record_of(spec, attempt)


def failures(record: RunRecord, earlier: Sequence[RunRecord], continues: bool) -> int:
    """Count ends in a row of the same outcome, this one included, without progress in between.

    Args:
        record: of the last attempt.
        earlier: of the attempts before it, the last one first.
        continues: each attempt goes on where the one before was, instead of starting again. Then
            progress is to get further than any attempt before.
    """
    ends = [record, *(end for end in earlier if end.outcome not in INNOCENT)]
    count = 0
    for number, end in enumerate(ends, 1):
        if end.outcome != record.outcome:
            break
        count = number
        furthest = max((earlier_end.figures.steps or 0 for earlier_end in ends[number:]), default=0)
        if continues and (end.figures.steps or 0) > furthest:
            break
    return count


def blamed(records: Sequence[RunRecord]) -> set[str]:
    """Nodes that any of these records points at."""
    return {host for record in records for host in record.bad_hosts}


def unfit_nodes(blamed_by: Mapping[str, set[str]]) -> set[str]:
    """Nodes at which several trials point, so that no other is sent there."""
    # A trial that fails on several nodes speaks against itself.
    counts = Counter(node for nodes in blamed_by.values() for node in nodes if len(nodes) == 1)
    return {node for node, count in counts.items() if count >= UNFIT}
