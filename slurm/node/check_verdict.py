"""Which nodes of a job are unfit, from what each said of itself."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.decode import decode
from launcher.errors import LaunchError
from launcher.files import read_json
from launcher.schedulers.options import Checks
from slurm.node.node_check import NodeReport

SHOWN = 3
"""Causes of one node that are told; a node with eight bad cards has eight."""

Reports = Mapping[str, NodeReport]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What to do: go on where nothing is named here."""

    bad: dict[str, str] = field(default_factory=dict)
    """The cause of each unfit node, one line, without its name."""
    disk_full: str | None = None
    """What is wrong with the disk, where it is the disk and not the nodes: other nodes are no
    help."""


def read_reports(folder: Path, nodes: Sequence[str], printed: str = "") -> list[NodeReport]:
    """The reports of the nodes that gave one: in their files, or printed by those that could not
    write one.

    Files are opened by name and never listed: NFS may still show the folder as it was.
    """
    found: list[object] = []
    for line in printed.splitlines():
        if line.startswith("{"):
            with suppress(ValueError):
                found.append(json.loads(line))
    for node in nodes:
        with suppress(LaunchError):
            found.append(read_json(folder / f"{node}.json"))
    reports = []
    for data in found:
        with suppress(LaunchError):  # what else a node prints; a file of other code
            reports.append(decode(NodeReport, data))
    return [report for report in reports if report.node in nodes]


def verdict(
    reports: Iterable[NodeReport],
    nodes: Sequence[str],
    started: float,
    ended: float,
    checks: Checks,
) -> Verdict:
    """Judge the nodes.

    Args:
        reports: of those that answered.
        nodes: all of the job; the first is where ``started`` and ``ended`` were taken.
        started: before the check, seconds since the epoch.
        ended: after it. A clock that is right lies between the two, however slow the check was.
        checks: what is allowed.
    """
    said = {report.node: report for report in reports}
    disk = _disk(said, nodes)
    causes: dict[str, list[str]] = {node: [] for node in nodes}
    for node in nodes:
        if node not in said:
            causes[node].append("did not answer the check")
            continue
        faults = said[node].faults
        theirs = [f for f in faults if f.kind != "space" and (f.kind != "disk" or disk is None)]
        causes[node] += [fault.text for fault in theirs]
    others = [report for node, report in said.items() if node != nodes[0]]
    off = {report.node: _beyond(report.time, started, ended) for report in others}
    wrong = {node: by for node, by in off.items() if abs(by) > checks.clock_seconds}
    for node, text in (*_clocks(wrong, said, nodes), *_versions(said, nodes)):
        causes[node].append(text)
    bad = {node: _line(texts) for node, texts in causes.items() if texts}
    return Verdict(bad=bad, disk_full=disk)


def _disk(reports: Reports, nodes: Sequence[str]) -> str | None:
    """A disk too small, or one that no node can use."""
    said = [reports[node].faults for node in nodes if node in reports]
    small = [fault.text for faults in said for fault in faults if fault.kind == "space"]
    broken = [[fault.text for fault in faults if fault.kind == "disk"] for faults in said]
    everywhere = broken[0] if broken and all(broken) else []
    return next(iter(small + everywhere), None)


def _beyond(moment: float, started: float, ended: float) -> float:
    """Seconds before the start, negative, or after the end; 0 in between."""
    return min(moment - started, 0.0) + max(moment - ended, 0.0)


def _clocks(
    wrong: Mapping[str, float], reports: Reports, nodes: Sequence[str]
) -> list[tuple[str, str]]:
    first, others = nodes[0], [node for node in nodes[1:] if node in reports]
    ways = {by > 0 for by in wrong.values()}
    if len(others) > 1 and len(ways) == 1 and all(node in wrong for node in others):
        # It is the first that is wrong: all others are early, or all are late.
        return [(first, _clock(-min(wrong.values(), key=abs), "the others"))]
    return [(node, _clock(by, first)) for node, by in wrong.items()]


def _clock(seconds: float, other: str) -> str:
    way = "ahead of" if seconds > 0 else "behind"
    return f"clock {abs(seconds):.1f} s {way} {other}"


def _versions(reports: Reports, nodes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The minority; among equals, what the first of the nodes has is right."""
    there = [node for node in nodes if node in reports]
    for name in dict.fromkeys(name for node in there for name in reports[node].versions):
        have = {n: reports[n].versions[name] for n in there if name in reports[n].versions}
        right, count = Counter(have.values()).most_common(1)[0]
        rest = "the others" if 1 < count == len(have) - 1 else _holder(have, right)
        for node, what in have.items():
            if what != right:
                yield node, f"{name} {what or 'missing'}, {rest} {right or 'missing'}"


def _holder(have: Mapping[str, str | None], value: str | None) -> str:
    return next(node for node, what in have.items() if what == value)


def _line(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
