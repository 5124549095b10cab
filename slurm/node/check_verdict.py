"""Verdict on the nodes of a job, from the report of each: the unfit ones, and why."""

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
from slurm.node.node_check import Kind, NodeReport

MAX_CAUSES = 3
"""Causes of one node to name; a node with eight bad cards has eight."""

Reports = Mapping[str, NodeReport]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeVerdict:
    """Nodes and disk that keep a job from starting; it may start where nothing is named."""

    bad: dict[str, str] = field(default_factory=dict)
    """The cause of each unfit node, one line, without its name."""
    disk_full: str | None = None
    """Fault of the disk, where it is the disk and not the nodes: other nodes are no help."""
    no_compiler: str | None = None
    """Fault of the compiler, where no node has one: it is the installation."""


def read_reports(folder: Path, nodes: Sequence[str], printed: str = "") -> list[NodeReport]:
    """Return the reports of the nodes that gave one, in their files or printed for want of a disk.

    Files are opened by name and never listed: NFS may still show the folder as it was.
    """
    contents: list[object] = []
    for line in printed.splitlines():
        if line.startswith("{"):
            with suppress(ValueError):
                contents.append(json.loads(line))
    for node in nodes:
        with suppress(LaunchError):
            contents.append(read_json(folder / f"{node}.json"))
    reports = []
    for data in contents:
        with suppress(LaunchError):  # other output of a node, or a file of another version
            reports.append(decode(NodeReport, data))
    return [report for report in reports if report.node in nodes]


def judge_nodes(
    reports: Iterable[NodeReport],
    nodes: Sequence[str],
    started: float,
    ended: float,
    checks: Checks,
) -> NodeVerdict:
    """Judge the nodes.

    Args:
        reports: of the nodes that answered.
        nodes: all of the job; the first is where ``started`` and ``ended`` were taken.
        started: before the check, seconds since the epoch.
        ended: after it. A clock that is right lies between the two, however slow the check was.
        checks: the limits.
    """
    by_node = {report.node: report for report in reports}
    disk, compiler = _disk(by_node, nodes), _everywhere("compiler", by_node, nodes)
    causes: dict[str, list[str]] = {node: [] for node in nodes}
    for node in nodes:
        if node not in by_node:
            causes[node].append("did not answer the check")
            continue
        faults = by_node[node].faults
        shared = {"space"}  # of the disk, not of the node
        shared |= set() if disk is None else {"disk"}
        shared |= set() if compiler is None else {"compiler"}
        causes[node] += [fault.text for fault in faults if fault.kind not in shared]
    later_nodes = [report for node, report in by_node.items() if node != nodes[0]]
    offsets = {report.node: _beyond(report.time, started, ended) for report in later_nodes}
    wrong = {node: offset for node, offset in offsets.items() if abs(offset) > checks.clock_seconds}
    for node, text in (*_clocks(wrong, by_node, nodes), *_versions(by_node, nodes)):
        causes[node].append(text)
    bad = {node: _line(texts) for node, texts in causes.items() if texts}
    return NodeVerdict(bad=bad, disk_full=disk, no_compiler=compiler)


def _disk(reports: Reports, nodes: Sequence[str]) -> str | None:
    """Fault of a disk that is too small, or that no node can use."""
    fault_lists = [reports[node].faults for node in nodes if node in reports]
    small = [fault.text for faults in fault_lists for fault in faults if fault.kind == "space"]
    return next(iter(small), None) or _everywhere("disk", reports, nodes)


def _everywhere(kind: Kind, reports: Reports, nodes: Sequence[str]) -> str | None:
    """Fault of a kind that every node has which answered."""
    fault_lists = [reports[node].faults for node in nodes if node in reports]
    texts = [[fault.text for fault in faults if fault.kind == kind] for faults in fault_lists]
    return texts[0][0] if texts and all(texts) else None


def _beyond(moment: float, started: float, ended: float) -> float:
    """Seconds before the start, negative, or after the end; 0 in between."""
    return min(moment - started, 0.0) + max(moment - ended, 0.0)


def _clocks(
    offsets: Mapping[str, float], reports: Reports, nodes: Sequence[str]
) -> list[tuple[str, str]]:
    first, answered = nodes[0], [node for node in nodes[1:] if node in reports]
    directions = {offset > 0 for offset in offsets.values()}
    if len(answered) > 1 and len(directions) == 1 and all(node in offsets for node in answered):
        # It is the first that is wrong: all others are early, or all are late.
        return [(first, _clock(-min(offsets.values(), key=abs), "the others"))]
    return [(node, _clock(offset, first)) for node, offset in offsets.items()]


def _clock(seconds: float, reference: str) -> str:
    direction = "ahead of" if seconds > 0 else "behind"
    return f"clock {abs(seconds):.1f} s {direction} {reference}"


def _versions(reports: Reports, nodes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the nodes whose versions are a minority; among equals the first node is right."""
    answered = [node for node in nodes if node in reports]
    for name in dict.fromkeys(name for node in answered for name in reports[node].versions):
        installed = {
            node: reports[node].versions[name]
            for node in answered
            if name in reports[node].versions
        }
        usual, count = Counter(installed.values()).most_common(1)[0]
        reference = "the others" if 1 < count == len(installed) - 1 else _holder(installed, usual)
        for node, version in installed.items():
            if version != usual:
                yield node, f"{name} {version or 'missing'}, {reference} {usual or 'missing'}"


def _holder(installed: Mapping[str, str | None], value: str | None) -> str:
    return next(node for node, version in installed.items() if version == value)


def _line(texts: Sequence[str]) -> str:
    suffix = f"; and {len(texts) - MAX_CAUSES} more" if len(texts) > MAX_CAUSES else ""
    return "; ".join(texts[:MAX_CAUSES]) + suffix
