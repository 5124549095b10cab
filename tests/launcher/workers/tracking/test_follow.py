"""Metrics that a rollback replaces, as a tracker passes them on.

Modules: launcher.workers.tracking.samples.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.results import tracking
from launcher.results.run_folder import RunFolder, Status
from launcher.spec.tracking import Tracking
from launcher.workers import metrics_history
from launcher.workers.tracking import follow
from launcher.workers.tracking import tracker as tracker
from launcher.workers.tracking.samples import NewSamples
from tests.launcher.workers import ranks
from tests.launcher.workers.tracking.test_tracker import events_of, scalars

Over = Callable[[], bool]

LOGGED = [1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 2, 3]
"""Steps of the lines that `rollbacks` writes: two of them, the second one further back."""

LOSSES = itertools.count()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0)
    folder = RunFolder(tmp_path / "run")
    folder.create(ranks.spec())
    return folder


def rollbacks(run: RunFolder) -> Over:
    """Return an ``over`` that writes or rolls back at each call, until the run is over."""
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
    lines = list(follow.follow(run, rollbacks(run)))
    assert [line["step"] for line in lines] == LOGGED
    assert lines[:1] + lines[-2:] == run.steps()


def test_the_next_attempt_is_not_followed(run: RunFolder) -> None:
    """Leave its lines to a tracker of its own, but read the last ones of this attempt."""
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
    tracker._to_tensorboard(tracked, run, rollbacks(run), NewSamples(run, 0))
    (path,) = (run.path / "tensorboard").iterdir()
    visible: dict[int, float] = {}
    values = iter(scalars(path))
    for event in events_of(path):
        if event.HasField("session_log"):
            visible = {step: value for step, value in visible.items() if step < event.step}
        elif event.summary.value:
            step, _, value = next(values)
            assert step not in visible
            visible[step] = value
    assert visible == {line["step"]: line["loss"] for line in run.steps()}


def test_wandb_is_told_every_step_once(run: RunFolder) -> None:
    """Log at steps of W&B's own that only rise, in the next attempt too."""

    class Run:
        logged: list[tuple[int, int]] = []  # noqa: RUF012

        def define_metric(self, *_: Any, **__: Any) -> None:
            pass

        def log(self, line: dict[str, Any], step: int) -> None:
            self.logged.append((step, line[tracker.STEP]))

    tracker._log(None, Run(), run, rollbacks(run), NewSamples(run, 0))
    wandb_steps = [number for number, _ in Run.logged]
    assert [step for _, step in Run.logged] == LOGGED
    assert wandb_steps == list(range(1, len(LOGGED) + 1))
    for lost in (4, 5):
        run.add_event("rollback", 6, steps_lost=lost)
    write(run, 4)
    Run.logged.clear()
    tracker._log(None, Run(), run, lambda: True, NewSamples(run, 0))
    assert [step for _, step in Run.logged] == [1, 2, 3, 4]
    assert Run.logged[-1][0] > wandb_steps[-1]
