"""End a rank that stopped making progress, with the stacks of all its threads in its log."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable

from launcher.workers.process import stacks

SETUP_FACTOR = 10
"""Set-up may take this many times as long as a step: it imports, tokenises and allocates. So may
a checkpoint."""
FIRST_STEP_FACTOR = 3
"""The first step may: kernels are compiled and communicators made."""
GRACE_SECONDS = 5.0
"""From the dump to the end, so that every rank has dumped before the first one is gone."""
BACKSTOP_SECONDS = 20.0
"""How long after its limit a rank that cannot even run this thread is ended."""
POLL_SECONDS = 0.2


class Watchdog:
    """Counts the seconds since the last finished step; ends the process when there are too many."""

    def __init__(self, seconds: float, silent: Callable[[], Iterable[int]] = tuple) -> None:
        """Start watching.

        Args:
            seconds: what one step may take.
            silent: processes whose stacks this one has to show, besides its own.
        """
        self._seconds, self._silent = seconds, silent
        self._step: int | None = None
        self._saving = False
        faulthandler.enable()
        stacks.permit()
        self._allow(seconds * SETUP_FACTOR)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @property
    def step(self) -> int:
        """The last finished step."""
        return self._step or 0

    def ready(self, step: int = 0) -> None:
        """Set-up is over, the first step after ``step`` begins."""
        self._step = step
        self._allow(self._seconds * FIRST_STEP_FACTOR)

    def saving(self) -> None:
        """A checkpoint is being written, until the next `beat`."""
        self._saving = True
        self._allow(self._seconds * SETUP_FACTOR)

    def beat(self, step: int) -> None:
        """Step ``step`` is done, and its checkpoint where there is one."""
        self._step, self._saving = step, False
        self._allow(self._seconds)

    def stop(self) -> None:
        """There is nothing left to wait for."""
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
        last = time.monotonic() + GRACE_SECONDS
        stacks.dump([os.getpid(), *self._silent()])
        time.sleep(max(last - time.monotonic(), 0))
        os._exit(1)

    def _message(self) -> str:
        if self._step is None:
            return f"HangError: set-up not finished within {self._allowed:g} s"
        what = "checkpoint not written" if self._saving else "no step finished"
        return f"HangError: {what} within {self._allowed:g} s (last step {self._step})"
