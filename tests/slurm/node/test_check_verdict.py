"""The verdict on the nodes of a job, from their reports."""

from typing import Any

import pytest

from launcher.schedulers.options import Checks
from slurm.node.check_verdict import NodeVerdict, judge_nodes
from slurm.node.node_check import Fault, NodeReport


def report(
    node: int, *faults: tuple[Any, str], time: float = 101, **versions: str | None
) -> NodeReport:
    return NodeReport(
        node=f"node{node}",
        time=time,
        versions=versions,
        seconds=0.1,
        faults=tuple(Fault(kind=kind, text=text) for kind, text in faults),
    )


FULL = ("disk", "/out: No space left on device")
SPACE = ("space", "/out: no room for 1.0 TiB of checkpoints: No space left on device")
NEW, OLD = {"torch": "2.13.0"}, {"torch": "2.6.0"}


@pytest.mark.parametrize(
    ("reports", "count", "bad", "disk"),
    [
        ([report(1), report(2)], 2, {}, None),
        ([report(1)], 3, {2: "did not answer the check", 3: "did not answer the check"}, None),
        ([report(1, ("ecc", "a"), ("xid", "b")), report(2)], 2, {1: "a; b"}, None),
        ([report(1, *[("ecc", c) for c in "abcde"])], 1, {1: "a; b; c; and 2 more"}, None),
        # The disk.
        ([report(1, FULL), report(2, FULL)], 2, {}, FULL[1]),
        ([report(1, FULL)], 1, {}, FULL[1]),
        ([report(1), report(2, FULL)], 2, {2: FULL[1]}, None),
        ([report(1, FULL), report(2, FULL, ("ecc", "a"))], 3, {2: "a", 3: "did not answer the check"}, FULL[1]),
        ([report(1, SPACE), report(2)], 2, {}, SPACE[1]),
        ([], 1, {1: "did not answer the check"}, None),
        # Clocks: the check took from 100 to 110, and 5 s are allowed.
        ([report(1), report(2, time=95), report(3, time=115)], 3, {}, None),
        ([report(1), report(2, time=94.5), report(3)], 3, {2: "clock 5.5 s behind node1"}, None),
        ([report(1), report(2, time=3710)], 2, {2: "clock 3600.0 s ahead of node1"}, None),
        ([report(1), report(2, time=90), report(3, time=91)], 3, {1: "clock 9.0 s ahead of the others"}, None),
        ([report(1), report(2, time=90), report(3, time=120)], 3, {2: "clock 10.0 s behind node1", 3: "clock 10.0 s ahead of node1"}, None),
        # Versions.
        ([report(1, **NEW), report(2, **NEW), report(3, **OLD)], 3, {3: "torch 2.6.0, the others 2.13.0"}, None),
        ([report(1, **OLD), report(2, **NEW), report(3, **NEW)], 3, {1: "torch 2.6.0, the others 2.13.0"}, None),
        ([report(1, **OLD), report(2, **NEW)], 2, {2: "torch 2.13.0, node1 2.6.0"}, None),
        ([report(1, **OLD), report(2, torch=None)], 2, {2: "torch missing, node1 2.6.0"}, None),
        ([report(1, **OLD), report(2, **NEW), report(3, **OLD), report(4, **NEW)], 4, {2: "torch 2.13.0, node1 2.6.0", 4: "torch 2.13.0, node1 2.6.0"}, None),
        ([report(1, FULL), report(2, **NEW)], 2, {1: FULL[1]}, None),
        ([report(1, python="3.11", **NEW), report(2, python="3.12", **OLD)], 2, {2: "python 3.12, node1 3.11; torch 2.6.0, node1 2.13.0"}, None),
    ],
)  # fmt: skip
def test_verdict(
    reports: list[NodeReport], count: int, bad: dict[int, str], disk: str | None
) -> None:
    nodes = [f"node{number}" for number in range(1, count + 1)]
    expected = NodeVerdict(
        bad={f"node{number}": cause for number, cause in bad.items()}, disk_full=disk
    )
    assert judge_nodes(reports, nodes, 100, 110, Checks()) == expected


GCC = ("compiler", "no C compiler: torch.compile needs gcc, clang or CC")


@pytest.mark.parametrize(
    ("reports", "bad", "compiler"),
    [
        ([report(1, GCC), report(2)], {"node1": GCC[1]}, None),
        ([report(1, GCC), report(2, GCC)], {}, GCC[1]),
        ([report(1, GCC), report(2, GCC, ("ecc", "a"))], {"node2": "a"}, GCC[1]),
        ([report(1, GCC)], {"node2": "did not answer the check"}, GCC[1]),
    ],
)
def test_a_compiler_that_no_node_has_is_the_fault_of_none(
    reports: list[NodeReport], bad: dict[str, str], compiler: str | None
) -> None:
    verdict = judge_nodes(reports, ["node1", "node2"], 100, 110, Checks())
    assert verdict == NodeVerdict(bad=bad, no_compiler=compiler)
