"""End of a log -> outcome and cause, by the messages of `launcher.results.endings.classify`."""

import math
import re
from collections import deque
from dataclasses import dataclass, field

from launcher.foreign.logs.prefixes import split
from launcher.foreign.logs.reader import LogReader
from launcher.results.endings.classify import EndVerdict, last_resort, verdict_of_log

FIRST_LINES, LAST_LINES = 2000, 4000
"""Lines that are kept of what follows the last step: the first error is near its beginning, what
the batch system says near its end."""

LONGEST, LONGEST_END = 2000, 500
"""Characters of a line that are kept, and of its end: there a launcher says how a command ended."""

EARLIER_LINES = 400
"""Lines that are kept of before the last step: output of several streams is not in order."""

EARLIER_STEPS = 100
"""Lines of steps after which a message has ended nothing: a buffer of stdout holds fewer."""

# A bar has no end of line, so that whatever another stream prints stands behind it.
BAR = re.compile(r"\[\d[\d:]*<[^\]\[]*\]")
STEP_ENDS = re.compile(BAR.pattern + r"|\{'loss'[^}]*\}|: +[-+\w.]+ \|(?=\S)")
"""Ends of what a step line says of its step: of a bar, of a dict, of a field."""
# Output of several streams is not in order: these may stand before steps that came before them.
ENDS = re.compile(
    r"Traceback \(most recent|^srun: error: |\*\*\* (?:JOB|STEP) |exits with return code"
    r"|\(exitcode: -?\d+\)|^terminate called|\(core dumped\)"
)
SHORTEST = len("Killed")
"""Characters of a message at least."""


@dataclass
class EndClassifier:
    """Outcome of a log by its last lines, of which it keeps few however long the log is."""

    _first: list[str] = field(default_factory=list)
    _last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    _earlier: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=EARLIER_LINES))
    """Lines, and how many of steps there were before."""
    _steps: int = 0
    """Lines of steps: what a start prints before the first is no end, however it warns."""

    def feed(self, line: str) -> None:
        """Take a line that is none of a step."""
        if "%|" in line and (behind := _behind(line, BAR)):
            self._keep(line[: -len(behind)])
            line = split(behind.lstrip()).text
        self._keep(line)

    def _keep(self, line: str) -> None:
        lines = self._first if len(self._first) < FIRST_LINES else self._last
        whole = len(line) <= LONGEST + LONGEST_END
        lines.append(line if whole else f"{line[:LONGEST]} ... {line[-LONGEST_END:]}")

    def step(self, line: str = "") -> None:
        """Note that a step was done, and take what stands behind it on its line: no line before
        ended the run."""
        before = [*self._first[-EARLIER_LINES:], *self._last]
        if self._steps or any(ENDS.search(line) for line in before):
            self._earlier.extend((self._steps, line) for line in before)
        self._steps += 1
        self._first.clear()
        self._last.clear()
        if line[-1:] not in ("|", "]", "}") and (behind := _behind(line, STEP_ENDS)):
            self._keep(split(behind.lstrip()).text)

    def start(self) -> None:
        """Note that the run begins anew: lines before ended another start."""
        self._first.clear()
        self._last.clear()
        self._earlier.clear()
        self._steps = 0

    def _lately(self) -> list[str]:
        """Lines from before the last step that may have ended the run."""
        return [line for steps, line in self._earlier if self._steps - steps <= EARLIER_STEPS]

    def verdict(self, log: LogReader) -> EndVerdict:
        """Outcome and cause."""
        stopped = _stopped(log)
        if log.done or (stopped and stopped.outcome == "ok"):  # ranks do not leave at the same time
            return _diverged(log) or EndVerdict("ok")
        newest = "\n".join((*self._first, *self._last))
        message = verdict_of_log(newest) or verdict_of_log("\n".join(self._lately()))
        # A batch system that ends a run says not why its loss is none: what diverged is said first.
        if message and message.outcome not in ("timeout", "cancelled", "preempted"):
            return message
        known = _diverged(log) or message or stopped or last_resort(newest)
        return known or EndVerdict("failed", _silent(log))


def _behind(line: str, ends: re.Pattern[str]) -> str:
    """Text behind the last of some ends in a line; "" where there is hardly any."""
    end = max((match.end() for match in ends.finditer(line)), default=len(line))
    behind = line[end:]
    return behind if len(behind.strip()) >= SHORTEST else ""


def _diverged(log: LogReader) -> EndVerdict | None:
    """EndVerdict on a run whose last losses are not finite; None where they are."""
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
    """EndVerdict on a run that ended itself before its last step; None where it did not."""
    message = log.stopped
    if message is None:
        return None
    if "SIG" in message or "signal" in message:
        return EndVerdict("preempted", message)
    if "minutes" in message or "Time limit" in message or "Signaling" in message:
        return EndVerdict("timeout", message)
    return EndVerdict("ok")  # --exit-interval: as many steps as were asked for


def _silent(log: LogReader) -> str:
    total = "" if log.total is None else f" of {log.total}"
    if log.last is None:
        return f"the log ends before the first step{total} without saying why"
    return f"the log ends at iteration {log.last}{total} without saying why"
