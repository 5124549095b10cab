"""The nodes that a failure points at, and the figures of a run's metrics."""

from dataclasses import replace

import pytest

from launcher.results.endings.classify import EndVerdict
from launcher.results.endings.collectives import Missing
from launcher.results.metrics import Brief
from launcher.results.outcomes import Outcome
from launcher.results.record import Prediction
from launcher.results.run_folder import Status
from launcher.results.summary import blamed_nodes, measured, p95
from launcher.spec.batch_ramp import BatchRamp
from tests.conftest import spec

TWO = ("n1", "n2")
DONE, EXITED, KILLED, LOST = 0, 1, -9, None


@pytest.mark.parametrize(
    ("outcome", "rank", "nodes", "codes", "blamed"),
    [
        # One node has nobody else to blame.
        ("node", None, ("n1",), (), ("n1",)),
        ("nccl", 0, ("n1",), (EXITED, EXITED), ("n1",)),
        # A failed node is that of the rank that shows it: two ranks a node here.
        ("node", 0, TWO, (), ("n1",)),
        ("node", 1, TWO, (), ("n1",)),
        ("node", 2, TWO, (), ("n2",)),
        ("node", 3, TWO, (), ("n2",)),
        ("node", None, TWO, (), ()),
        ("node", 4, TWO, (), ()),  # a rank of no node that is known
        # A failed collective: healthy ranks end with codes of their own, the node's do not.
        ("nccl", 0, TWO, (EXITED, EXITED, KILLED, KILLED), ("n2",)),
        ("nccl", 0, TWO, (LOST, LOST, EXITED, LOST), ("n1",)),
        ("nccl", 0, TWO, (DONE, DONE, LOST, KILLED), ("n2",)),
        ("nccl", 0, TWO, (EXITED, LOST, LOST, EXITED), ()),  # both have spoken
        ("nccl", 0, TWO, (KILLED, LOST, LOST, KILLED), ()),  # neither has: any may have failed
        ("nccl", 0, TWO, (), ()),
        ("nccl", 0, TWO, (EXITED, EXITED), ("n2",)),  # codes of a node are missing
        # Any other outcome says nothing about nodes.
        ("oom", 0, ("n1",), (EXITED, KILLED), ()),
        ("hang", 2, TWO, (LOST, LOST, LOST, LOST), ()),
        ("nccl", 0, (), (EXITED,), ()),  # this machine names no nodes
    ],
)
def test_blamed_nodes(
    outcome: Outcome,
    rank: int | None,
    nodes: tuple[str, ...],
    codes: tuple[int | None, ...],
    blamed: tuple[str, ...],
) -> None:
    status = Status(state="ended", nodes=nodes, exit_codes=codes)
    verdict = EndVerdict(outcome, "cause", rank)
    assert blamed_nodes(status, verdict, spec(gpus=2)) == blamed


@pytest.mark.parametrize(
    ("nodes", "ranks", "blamed"),
    [(TWO, (2,), ("n2",)), (TWO, (2, 3), ("n2",)), (TWO, (1, 2), ()), (("n1",), (0,), ())],
)
def test_a_hang_points_at_the_node_that_is_waited_for(
    nodes: tuple[str, ...], ranks: tuple[int, ...], blamed: tuple[str, ...]
) -> None:
    status, absent = Status(state="ended", nodes=nodes), Missing(ranks, "all_reduce")
    assert blamed_nodes(status, EndVerdict("hang"), spec(gpus=2), absent) == blamed
    silent = Missing(ranks, "all_reduce", silent=True)  # perhaps ended before they could write
    assert blamed_nodes(status, EndVerdict("hang"), spec(gpus=2), silent) == ()
    found_before = replace(status, bad_nodes=("n9",))
    assert blamed_nodes(found_before, EndVerdict("hang"), spec(gpus=2), absent) == ("n9",)


@pytest.mark.parametrize("outcome", ["node", "nccl", "oom", "failed"])
def test_a_failed_check_names_its_nodes(outcome: Outcome) -> None:
    status = Status(state="ended", nodes=TWO, bad_nodes=("n2",))
    assert blamed_nodes(status, EndVerdict(outcome, "cause", 0), spec()) == ("n2",)


def steps(*step_ms: float | None, attempt: int = 1, first: int = 1) -> list[Brief]:
    return [
        Brief(step=step, step_ms=ms, loss=9.0 - step, attempt=attempt)
        for step, ms in enumerate(step_ms, first)
    ]


@pytest.mark.parametrize(
    ("lines", "step_ms"),
    [
        ([], None),
        (steps(900.0, 800.0), None),  # both are untimed
        (steps(900.0, 800.0, 100.0), 100.0),
        (steps(900.0, 800.0, 100.0, None, 102.0), 101.0),
        # The last attempt counts, which has untimed steps of its own, unless none is timed.
        (steps(9.0, 9.0, 50.0) + steps(9.0, 9.0, 70.0, attempt=2, first=4), 70.0),
        (steps(9.0, 9.0, 50.0, 52.0) + steps(9.0, attempt=2, first=5), 50.0),
    ],
)
def test_the_speed_is_that_of_timed_steps(lines: list[Brief], step_ms: float | None) -> None:
    figures = measured(spec(steps=10, untimed_steps=2), lines, {}, [], None)
    assert figures.step_ms_p50 == step_ms
    assert figures.tokens_per_s == (step_ms and pytest.approx(8 * 32 / step_ms * 1000))


def test_steps_of_a_trial_stand_for_those_of_the_whole_batch() -> None:
    base = spec(steps=10, untimed_steps=0)
    probe = replace(base, train=replace(base.train, probe_micro_batches=1))
    lines, expected = steps(100.0, 100.0), Prediction(step_ms=3000.0, probe_step_ms=1000.0)
    figures = measured(probe, lines, {}, [], expected)
    assert figures.step_ms_p50 == figures.step_ms_p95 == 300.0
    assert figures.tokens_per_s == pytest.approx(8 * 32 / 0.3)
    for unknown in (None, Prediction(step_ms=3000.0), Prediction()):  # no figure, and no wrong one
        figures = measured(probe, lines, {}, [], unknown)
        assert (figures.step_ms_p50, figures.tokens_per_s, figures.steps) == (None, None, 2)
    assert measured(base, lines, {}, [], expected).step_ms_p50 == 100.0


def test_steps_of_a_smaller_batch_are_not_timed() -> None:
    base = spec(steps=10, untimed_steps=0)
    ramp = BatchRamp(start=4, increment=4, samples=8)
    ramped = replace(base, train=replace(base.train, batch_ramp=ramp))
    lines = [Brief(step=step, step_ms=10.0 * ramped.batch_at(step)) for step in range(1, 11)]
    assert {line.step_ms for line in lines} == {40.0, 80.0}
    assert measured(ramped, lines, {}, [], None).step_ms_p50 == 80.0


@pytest.mark.parametrize(
    ("values", "percentile"), [([], None), ([3.0], 3.0), ([float(n) for n in range(101)], 95.0)]
)
def test_p95(values: list[float], percentile: float | None) -> None:
    assert p95(values) == percentile
