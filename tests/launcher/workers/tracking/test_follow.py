"""What a tracker passes on of metrics that a rollback replaces."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.results import tracking
from launcher.results.run_folder import RunFolder, Status
from launcher.results.tracking import Tracking
from launcher.workers import metrics_history
from launcher.workers.tracking import follow
from launcher.workers.tracking import tracker as tracker
from launcher.workers.tracking.samples import News
from tests.launcher.workers import ranks
from tests.launcher.workers.tracking.test_tracker import events_of, scalars

Over = Callable[[], bool]

LOGGED = [1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 2, 3]
"""The steps of `told`: two rollbacks, the second one further back."""

LOSSES = itertools.count()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0)
    folder = RunFolder(tmp_path / "run")
    folder.create(ranks.spec())
    return folder


def told(run: RunFolder) -> Over:
    """Have something happen at each look whether the run is over."""
    write(run, 1, 2, 3)

    def first() -> None:
        write(run, 4, 5)

    def back() -> None:
        write(run, 6)
        metrics_history.give_up(run, 2)
        write(run, 3)

    def further() -> None:
        write(run, 4, 5, 6)

    def last() -> None:
        metrics_history.give_up(run, 1)
        write(run, 2, 3)

    happens = iter([lambda: None, first, back, lambda: None, further, last])

    def over() -> bool:
        happened = next(happens, None)
        if happened:
            happened()
        return happened is None

    return over


def write(run: RunFolder, *steps: int) -> None:
    """Lines as training writes them, none of which is like another."""
    with run.metrics.open("a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, "loss": next(LOSSES) / 2}) + "\n")


def test_what_comes_after_a_rollback_is_followed(run: RunFolder) -> None:
    lines = list(follow.follow(run, told(run)))
    assert [line["step"] for line in lines] == LOGGED
    assert lines[:1] + lines[-2:] == run.steps()


def test_the_next_attempt_is_not_followed(run: RunFolder) -> None:
    """Its lines are for a tracker of its own; the last ones of this one are still read."""
    status = Status(state="running", attempt=1, started=1.0)
    run.write_status(status)
    write(run, 1)
    looks: Iterator[bool] = iter([False, False, True])

    def over() -> bool:
        last = next(looks)
        if last:
            write(run, 2)
            assert run.next_attempt() == 2
            run.write_status(replace(status, attempt=2))
            write(run, 2, 3)
        return last

    assert [line["step"] for line in follow.follow(run, over)] == [1, 2]


def test_tensorboard_forgets_what_is_given_up(run: RunFolder) -> None:
    tracking.write(run, Tracking(), run.spec(), "")
    tracked = tracking.read(run)
    assert tracked
    tracker._to_tensorboard(tracked, run, told(run), News(run, 0))
    (path,) = (run.path / "tensorboard").iterdir()
    there: dict[int, float] = {}
    values = iter(scalars(path))
    for event in events_of(path):
        if event.HasField("session_log"):
            there = {step: value for step, value in there.items() if step < event.step}
        elif event.summary.value:
            step, _, value = next(values)
            assert step not in there
            there[step] = value
    assert there == {line["step"]: line["loss"] for line in run.steps()}


def test_wandb_is_told_every_step_once(run: RunFolder) -> None:
    """Its own step only rises, in the next attempt too."""

    class Run:
        logged: list[tuple[int, int]] = []  # noqa: RUF012

        def define_metric(self, *_: Any, **__: Any) -> None:
            pass

        def log(self, line: dict[str, Any], step: int) -> None:
            self.logged.append((step, line[tracker.STEP]))

    tracker._log(None, Run(), run, told(run), News(run, 0))
    own = [number for number, _ in Run.logged]
    assert [step for _, step in Run.logged] == LOGGED and own == list(range(1, len(LOGGED) + 1))
    for lost in (4, 5):
        run.add_event("rollback", 6, steps_lost=lost)
    write(run, 4)
    Run.logged.clear()
    tracker._log(None, Run(), run, lambda: True, News(run, 0))
    assert [step for _, step in Run.logged] == [1, 2, 3, 4] and Run.logged[-1][0] > own[-1]
