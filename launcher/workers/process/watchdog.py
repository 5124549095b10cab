"""End a rank that stopped making progress, with the stacks of all its threads in its log."""

import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from launcher.results.hanging import HANG_SECONDS, hang_seconds
from launcher.workers.process import stacks

SETUP_FACTOR = 10
"""Limit for set-up, in limits of a short step: it imports, tokenises and allocates. Also for a
checkpoint."""
FIRST_STEP_FACTOR = 2
"""What the first step may take besides, in limits of a short step: it compiles kernels and makes
communicators."""
GRACE_SECONDS = 5.0
"""Seconds from the dump to the end, so that every rank has dumped before the first one is gone."""
BACKSTOP_SECONDS = 20.0
"""Seconds after its limit until a rank that cannot even run this thread is ended."""
POLL_SECONDS = 0.2
STEP, CHECKPOINT, EVALUATION = "no step finished", "checkpoint not written", "evaluation not done"
"""Messages on what was under way."""
MEDIAN_STEPS = 100
"""Latest steps whose median a limit follows."""


class Watchdog:
    """Counts the seconds since the last finished step; ends the process when there are too many."""

    def __init__(
        self,
        seconds: float,
        silent: Callable[[], Iterable[int]] = tuple,
        follows: bool = False,
        last_words: Callable[[], None] = lambda: None,
    ) -> None:
        """Start watching.

        Args:
            seconds: limit of one step.
            silent: returns the processes whose stacks this one has to dump besides its own.
            follows: True where the limit follows the median of the steps that are measured.
            last_words: writes what else is known of the hang, before the end.
        """
        self._seconds, self._silent, self._follows = seconds, silent, follows
        self._last_words = last_words
        self._short = HANG_SECONDS if follows else seconds
        """Limit of a short step, which what is no step has a multiple of."""
        self._durations: deque[float] = deque(maxlen=MEDIAN_STEPS)
        self._began: float | None = None
        """Time at which the step that now runs began; None where that is not known."""
        self._step: int | None = None
        self._unfinished = STEP
        faulthandler.enable()
        stacks.permit()
        self._allow(self._short * SETUP_FACTOR)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @property
    def step(self) -> int:
        """Last finished step."""
        return self._step or 0

    def ready(self, step: int = 0) -> None:
        """Note that set-up is over and the first step after ``step`` begins."""
        self._step, self._began = step, None  # the first step compiles: it is not measured
        self._allow(self._seconds + self._short * FIRST_STEP_FACTOR)

    def saving(self) -> None:
        """Note that a checkpoint is being written, until the next `beat`."""
        self._unfinished, self._began = CHECKPOINT, None
        self._allow(self._short * SETUP_FACTOR)

    def evaluating(self) -> None:
        """Note that as many micro batches as a step has are evaluated, until this or `beat`.

        They take less than that step, but for what their shapes need the first time.
        """
        self._unfinished, self._began = EVALUATION, None
        self._allow(self._seconds + self._short * FIRST_STEP_FACTOR)

    def beat(self, step: int) -> None:
        """Note that step ``step`` is done, its checkpoint and evaluation where there are any."""
        self._step, self._unfinished = step, STEP
        self._measure()
        self._began = time.monotonic()
        if self._follows and self._durations:
            self._seconds = hang_seconds(statistics.median(self._durations))
        self._allow(self._seconds)

    def _measure(self) -> None:
        """Note how long the step that has ended took."""
        if self._began is not None:
            self._durations.append(time.monotonic() - self._began)

    def stop(self) -> None:
        """Stop watching: nothing is left to wait for."""
        self._allow(float("inf"))

    def _allow(self, seconds: float) -> None:
        self._allowed = seconds
        self._deadline = time.monotonic() + seconds
        if seconds == float("inf"):
            faulthandler.cancel_dump_traceback_later()
        else:
            # Runs in C: for a rank that is stuck in a call which holds the interpreter's lock.
            faulthandler.dump_traceback_later(seconds + BACKSTOP_SECONDS, exit=True)

    def _watch(self) -> None:
        while time.monotonic() < self._deadline:
            time.sleep(POLL_SECONDS)
        print(self._message(), file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        end_time = time.monotonic() + GRACE_SECONDS
        # In a thread of its own: whatever becomes of it, the end comes.
        threading.Thread(target=self._last_words, daemon=True).start()
        stacks.dump([os.getpid(), *self._silent()])
        time.sleep(max(end_time - time.monotonic(), 0))
        os._exit(1)

    def _message(self) -> str:
        if self._step is None and self._unfinished == STEP:
            return f"HangError: set-up not finished within {self._allowed:g} s"
        return f"HangError: {self._unfinished} within {self._allowed:g} s (last step {self.step})"
