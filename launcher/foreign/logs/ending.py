"""How a log ends -> outcome and cause, by the messages that `launcher.results.classify` knows."""

import math
from collections import deque
from dataclasses import dataclass, field

from launcher.foreign.logs.reader import LogReader
from launcher.results.classify import EndVerdict, verdict_of_log

BEGINNING, REST = 2000, 4000
"""Lines that are kept after the last step: the first error is near its beginning, what the batch
system says near its end."""

LONGEST = 2000
"""Characters of a line that are kept."""

BEFORE = 400
"""Lines before the last step: output of several streams is not in order."""


@dataclass
class Ending:
    """The lines that may say why a log ends, whatever its length."""

    _first: list[str] = field(default_factory=list)
    _rest: deque[str] = field(default_factory=lambda: deque(maxlen=REST))
    _before: deque[str] = field(default_factory=lambda: deque(maxlen=BEFORE))

    def feed(self, line: str) -> None:
        """Take a line that is none of a step."""
        lines = self._first if len(self._first) < BEGINNING else self._rest
        lines.append(line[:LONGEST])

    def step(self) -> None:
        """A step was done: what was said before did not end it."""
        self._before.extend(self._first[-BEFORE:])
        self._before.extend(self._rest)
        self._first.clear()
        self._rest.clear()

    def start(self) -> None:
        """It begins anew: what was said before ended another one."""
        self._first.clear()
        self._rest.clear()
        self._before.clear()

    def verdict(self, log: LogReader) -> EndVerdict:
        """What became of it."""
        if log.done:
            return _diverged(log) or EndVerdict("ok")
        found = verdict_of_log("\n".join((*self._first, *self._rest)))
        found = found or verdict_of_log("\n".join(self._before))
        if found and found.outcome not in ("timeout", "cancelled", "preempted"):
            return found
        return _diverged(log) or found or _stopped(log) or EndVerdict("failed", _silent(log))


def _diverged(log: LogReader) -> EndVerdict | None:
    """The loss of the last steps is none any more."""
    bad = None
    for number in sorted(log.steps, reverse=True):
        step = log.steps[number]
        if step.loss is None:
            continue
        if math.isfinite(step.loss):
            break
        bad = step
    if bad is None:
        return None
    return EndVerdict("diverged", f"the loss is {bad.loss} from step {bad.step} on")


def _stopped(log: LogReader) -> EndVerdict | None:
    """It ended itself before its last step."""
    said = log.stopped
    if said is None:
        return None
    if "SIG" in said or "signal" in said:
        return EndVerdict("preempted", said)
    if "minutes" in said or "Time limit" in said or "Signaling" in said:
        return EndVerdict("timeout", said)
    return EndVerdict("ok")  # --exit-interval: as many steps as were asked for


def _silent(log: LogReader) -> str:
    of = "" if log.total is None else f" of {log.total}"
    if log.last is None:
        return f"the log ends before the first step{of} without saying why"
    return f"the log ends at iteration {log.last}{of} without saying why"
