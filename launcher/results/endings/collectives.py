"""The ranks that a hang waits for, from the collectives that each rank had come to.

Written by `launcher.workers.process.flight_recorder`. A rank that waits in a collective waits for
those of its group that have not come to it; whoever is waited for and waits for nobody is to blame.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from launcher.decode import Whole, decode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json
from launcher.results.run_folder import RunFolder

PEER = re.compile(r"(?:send|recv) \d+(?:->|<-)(\d+)$")
"""Name of a send or a receive, with the rank in the group of the other side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One collective, or a send or receive."""

    number: Whole
    """Position among the collectives of its group, from 1."""
    operation: str
    point_to_point: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """One process group, as one of its ranks knows it."""

    name: str
    description: str
    ranks: tuple[int, ...] | None
    """Global ranks; None where that is not known."""
    last: Operation | None = None
    """The last collective that this rank came to."""
    pending: tuple[Operation, ...] = ()
    """Operations that have not ended."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Ranks that a hang waits for, and the operation that they are missing from."""

    ranks: tuple[int, ...]
    operation: str
    silent: bool = False
    """True where one of them wrote nothing: it may have been ended before it could."""

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.ranks[:SHOWN]))
        more = f" and {len(self.ranks) - SHOWN} more" if len(self.ranks) > SHOWN else ""
        noun = "rank" if len(self.ranks) == 1 else "ranks"
        verb = "is" if len(self.ranks) == 1 else "are"
        return f"{noun} {shown}{more} {verb} missing from {self.operation}"


SHOWN = 8
"""Ranks that are named."""


def read(folder: RunFolder, ranks: int) -> dict[int, tuple[Group, ...]]:
    """Read the groups of each rank that wrote them and whose file can be read."""
    records = {}
    for rank in range(ranks):
        with suppress(ReadError, ConfigError):
            groups = read_json(folder.collectives(rank))
            records[rank] = decode(tuple[Group, ...], groups)
    return records


def missing(records: Mapping[int, Sequence[Group]]) -> Missing | None:
    """Return the ranks that all others wait for in the end; None where that cannot be told.

    Args:
        records: groups by the rank that wrote them; a rank that could not write any is missing.
    """
    waits = [wait for rank, groups in records.items() for wait in _waits(rank, groups, records)]
    waiting = {wait.rank for wait in waits}
    blamed = [wait for wait in waits if (wait.awaited - waiting)]
    if not blamed:
        return None
    waiters = Counter(wait.operation for wait in blamed)
    ((operation, _),) = waiters.most_common(1)
    ranks = {rank for wait in blamed if wait.operation == operation for rank in wait.awaited}
    absent = sorted(ranks - waiting)
    return Missing(tuple(absent), operation, any(rank not in records for rank in absent))


@dataclass(frozen=True, slots=True)
class _Wait:
    """One rank that waits for others."""

    rank: int
    awaited: frozenset[int]
    operation: str


def _waits(
    rank: int, groups: Sequence[Group], records: Mapping[int, Sequence[Group]]
) -> Iterator[_Wait]:
    for group in groups:
        if group.ranks is None or not group.pending:
            continue
        first = group.pending[0]
        text = f"{first.operation} of {_group_text(group)}"
        if first.point_to_point:
            peer = PEER.search(first.operation)
            if peer and int(peer[1]) < len(group.ranks):
                yield _Wait(rank, frozenset({group.ranks[int(peer[1])]}), text)
            continue
        awaited = {
            other
            for other in group.ranks
            if other != rank and _came_to(records.get(other, ()), group.name) < first.number
        }
        if awaited:
            operation = f"{first.operation} number {first.number} of {_group_text(group)}"
            yield _Wait(rank, frozenset(awaited), operation)


def _came_to(groups: Sequence[Group], name: str) -> int:
    """Number of the last collective of a group that a rank came to; 0 is none."""
    last = next((group.last for group in groups if group.name == name), None)
    return last.number if last else 0


def _group_text(group: Group) -> str:
    ranks = group.ranks or ()
    shown = ", ".join(map(str, ranks[:SHOWN])) + (", ..." if len(ranks) > SHOWN else "")
    return f"{group.description.lower()} (ranks {shown})"
