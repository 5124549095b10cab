"""Which ended trials go again, and which nodes all trials keep away from."""

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.campaign.retry import RetryPolicy, blamed, failures, unfit_nodes
from launcher.request.request import Request
from launcher.results.outcomes import OUTCOMES, Outcome
from launcher.results.record import Figures, RunRecord
from launcher.results.run_folder import Status
from launcher.schedulers.options import SchedulerOptions
from tests.conftest import spec


def record(outcome: Outcome, steps: int | None = None, *bad_hosts: str) -> RunRecord:
    figures = Figures(steps=steps)
    return RunRecord(spec=spec(), outcome=outcome, figures=figures, bad_hosts=bad_hosts)


def policy(output: Path, **changes: object) -> RetryPolicy:
    base = spec()
    request = Request(
        model=base.model,
        layout=base.layout,
        cluster=base.cluster,
        train=base.train,
        data=base.data,
        backend=base.backend,
        scheduler=SchedulerOptions(),
        output=str(output),
    )
    changed = replace(request, **changes)
    return RetryPolicy(changed, changed.folder)  # type: ignore[arg-type]


AGAIN: dict[Outcome, bool] = {
    "ok": False,
    "rejected": False,
    "pruned": False,
    "oom": False,
    "hang": True,
    "assertion": False,
    "nccl": True,
    "node": True,
    "disk": False,
    "data": False,
    "diverged": False,
    "preempted": True,
    "timeout": False,
    "cancelled": False,
    "failed": False,
}
"""First ends that are followed by another attempt at once."""

BY_COMMAND: tuple[Outcome, ...] = ("disk", "data", "cancelled")
"""Ends that besides these are followed by one once the command is given again."""


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_first_end(outcome: Outcome, tmp_path: Path) -> None:
    trials = policy(tmp_path)
    assert trials.again(record(outcome)) is AGAIN[outcome]
    by_command = AGAIN[outcome] or outcome in BY_COMMAND
    assert trials.again(record(outcome), by_command=True) is by_command


def test_a_timeout_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    assert not policy(tmp_path).again(record("timeout", 5))
    assert policy(tmp_path, checkpoint_every=5).again(record("timeout", 5))


def test_retry_is_of_the_command_alone(tmp_path: Path) -> None:
    trials = policy(tmp_path, retry=("failed",))
    assert trials.again(record("failed"), by_command=True)
    assert not trials.again(record("failed"))
    assert not trials.again(record("oom"), by_command=True)


@pytest.mark.parametrize(
    ("outcome", "limits", "again"),
    [
        ("hang", {"max_hangs": 1}, False),
        ("hang", {"max_hangs": 2, "max_attempts": 1}, True),
        ("nccl", {"max_attempts": 1}, False),
        ("node", {"max_attempts": 2, "max_hangs": 1}, True),
        ("preempted", {"max_attempts": 1}, True),
    ],
)
def test_limits_count_what_failed(
    outcome: Outcome, limits: dict[str, int], again: bool, tmp_path: Path
) -> None:
    assert policy(tmp_path, **limits).again(record(outcome)) is again


@pytest.mark.parametrize(
    ("stopped", "limit", "more"),
    [
        ("timeout", 10.0, True),
        ("timeout", 20.0, False),
        ("timeout", None, False),
        ("oom", 10.0, False),
    ],
)
def test_more_time(stopped: str, limit: float | None, more: bool, tmp_path: Path) -> None:
    status = Status(state="ended", stopped=stopped, time_limit=limit)  # type: ignore[arg-type]
    assert policy(tmp_path, time_limit=20.0).has_more_time(status) is more


NCCL, NODE, HANG, PREEMPTED = "nccl", "node", "hang", "preempted"


@pytest.mark.parametrize(
    ("continues", "ends", "count"),
    [
        # Ends as (outcome, steps), the last one first.
        (False, [(NCCL, 5)], 1),
        (False, [(NCCL, 5), (NCCL, 3)], 2),  # each starts anew: steps are no progress
        (False, [(NCCL, 5), (NCCL, 3), (NODE, 3), (NCCL, 1)], 2),
        (False, [(NCCL, 5), (PREEMPTED, 3), (NCCL, 3), ("cancelled", None), (NCCL, 1)], 3),
        (True, [(NCCL, 5)], 1),
        (True, [(NCCL, None), (NCCL, None)], 2),
        (True, [(NCCL, 5), (NCCL, 5)], 2),
        (True, [(NCCL, 6), (NCCL, 5)], 1),  # it got further
        (True, [(NCCL, 5), (NCCL, 5), (NCCL, 4), (NCCL, 4)], 2),
        (True, [(NCCL, 5), (NCCL, 4), (NCCL, 9)], 3),  # but not further than the first
        (True, [(HANG, 5), (NCCL, 5)], 1),
        # Steps of a preempted attempt are no failure's progress.
        (True, [(NCCL, 6), (PREEMPTED, 9), (NCCL, 6)], 2),
    ],
)
def test_failures_in_a_row(
    continues: bool, ends: list[tuple[Outcome, int | None]], count: int
) -> None:
    last, *earlier = [record(outcome, steps) for outcome, steps in ends]
    assert failures(last, earlier, continues) == count


def test_blamed_nodes_of_all_attempts() -> None:
    assert blamed([]) == set()
    assert blamed([record("node", 1, "n1"), record("nccl", 2, "n2", "n1")]) == {"n1", "n2"}


@pytest.mark.parametrize(
    ("blamed_by", "unfit"),
    [
        ({}, set()),
        ({"a": {"n1"}}, set()),
        ({"a": {"n1"}, "b": {"n1"}}, {"n1"}),
        ({"a": {"n1"}, "b": {"n2"}}, set()),
        ({"a": {"n1", "n2"}, "b": {"n1"}}, set()),  # a fails wherever it runs
        ({"a": {"n1", "n2"}, "b": {"n1"}, "c": {"n1"}, "d": set()}, {"n1"}),
    ],
)
def test_unfit_nodes(blamed_by: dict[str, set[str]], unfit: set[str]) -> None:
    assert unfit_nodes(blamed_by) == unfit


def test_a_trial_keeps_away_from_the_nodes_of_its_attempts(tmp_path: Path) -> None:
    trials = policy(tmp_path)
    seed_7 = replace(spec(), train=replace(spec().train, seed=7))
    trials.again(record("node", None, "n1"))
    trials.again(replace(record("node", None, "n2"), spec=seed_7))
    assert trials.avoided(spec()) == {"n1"}
    assert trials.avoided(seed_7) == {"n2"}
    assert trials.avoided(spec(global_batch=16)) == set()
