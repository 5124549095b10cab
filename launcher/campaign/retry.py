"""What the earlier attempts of a run say: how often it failed the same way, and on which nodes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from launcher.errors import ReadError
from launcher.results import summary
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec

INNOCENT = {"preempted", "cancelled"}
"""Ends that say nothing about a run: they neither count nor part those that do."""

UNFIT = 2
"""Trials that have to point at a node before all others keep away from it."""


def earlier(folder: RunFolder, spec: RunSpec) -> Iterator[RunRecord]:
    """Records of the attempts set aside, the last one first; ``spec`` is that of the one after.

    One whose launcher died with it has no end of its own, and is left out.
    """
    for path in folder.attempts():
        with suppress(ReadError):  # where a stage went on at another layout: of all until then
            spec = RunFolder(path).spec()
        status = RunFolder(path).readable_status()
        if status is not None and status.state == "ended":
            yield summary.record(spec, path)


def failures(found: RunRecord, before: Sequence[RunRecord], continues: bool) -> int:
    """Ends in a row of the same outcome, this one included, with no progress between them.

    Args:
        found: how it ended now.
        before: how it ended before, the last one first.
        continues: each attempt goes on where the one before was, instead of starting again. Then
            progress is to get further than any attempt before.
    """
    ends = [end for end in (found, *before) if end is found or end.outcome not in INNOCENT]
    count = 0
    for number, end in enumerate(ends, 1):
        if end.outcome != found.outcome:
            break
        count = number
        furthest = max((other.figures.steps or 0 for other in ends[number:]), default=0)
        if continues and (end.figures.steps or 0) > furthest:
            break
    return count


def blamed(records: Sequence[RunRecord]) -> set[str]:
    """Nodes that any of these ends points at."""
    return {host for record in records for host in record.bad_hosts}


def unfit(blamed_by: Mapping[str, set[str]]) -> set[str]:
    """Nodes at which several trials point, so that no other is sent there."""
    # A trial that fails on several nodes speaks against itself.
    counts = Counter(node for nodes in blamed_by.values() for node in nodes if len(nodes) == 1)
    return {node for node, count in counts.items() if count >= UNFIT}
