"""The limit of a step: as stated, or following the steps that are measured.

Modules: launcher.workers.process.watchdog, launcher.results.hanging.
"""

from collections.abc import Iterator

import pytest

from launcher.results.hanging import hang_seconds
from launcher.workers.process import watchdog as module
from launcher.workers.process.watchdog import Watchdog


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Idle:
    """Thread that does not run: nothing here comes to its end."""

    def __init__(self, **options: object) -> None:
        pass

    def start(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module.threading, "Thread", Idle)
    yield clock
    module.faulthandler.cancel_dump_traceback_later()


def beats(watchdog: Watchdog, clock: Clock, *seconds: float) -> float:
    """Finish steps of so many seconds; the limit after them."""
    for step, duration in enumerate(seconds, watchdog.step + 1):
        clock.now += duration
        watchdog.beat(step)
    return watchdog._allowed


@pytest.mark.parametrize(("step", "limit"), [(None, 300.0), (2.0, 300.0), (1277.8, 6389.0)])
def test_a_limit_is_five_predicted_steps(step: float | None, limit: float) -> None:
    assert hang_seconds(step) == pytest.approx(limit)


def test_a_stated_limit_stays(clock: Clock) -> None:
    watchdog = Watchdog(20.0)
    watchdog.ready()
    assert watchdog._allowed == 60.0
    assert beats(watchdog, clock, 50, 15, 15, 15) == 20.0


def test_a_limit_follows_the_median_of_the_steps_after_the_first(clock: Clock) -> None:
    watchdog = Watchdog(6389.0, follows=True)
    assert watchdog._allowed == 3000.0, "set-up does not depend on the length of a step"
    watchdog.ready()
    assert watchdog._allowed == 6389.0 + 600.0
    assert beats(watchdog, clock, 5000) == 6389.0  # it compiles: what it took tells nothing
    assert beats(watchdog, clock, 1200) == 6000.0
    assert beats(watchdog, clock, 600, 620, 640) == pytest.approx(3150.0)
    watchdog.saving()
    assert watchdog._allowed == 3000.0
    clock.now += 2000  # the time of a checkpoint is not that of a step
    watchdog.beat(5)
    assert beats(watchdog, clock, 610) == pytest.approx(3100.0)


def test_an_evaluation_has_the_limit_of_a_step_and_of_what_is_new_in_it(clock: Clock) -> None:
    watchdog = Watchdog(6389.0, follows=True)
    watchdog.ready()
    beats(watchdog, clock, 5000, 1200)
    for _ in range(2):
        clock.now += 6500
        watchdog.evaluating()
        assert watchdog._allowed == 6000.0 + 600.0
        assert watchdog._message() == ("HangError: evaluation not done within 6600 s (last step 2)")
    watchdog.beat(2)
    assert watchdog._allowed == 6000.0, "its time is not that of a step"
    assert watchdog._message() == "HangError: no step finished within 6000 s (last step 2)"


def test_short_steps_keep_the_least_limit(clock: Clock) -> None:
    watchdog = Watchdog(300.0, follows=True)
    watchdog.ready()
    assert beats(watchdog, clock, 1, 0.2, 0.2) == 300.0
