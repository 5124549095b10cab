"""Parts of a run's log: one for each file, and what they say together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.foreign.logs.context import LogContext
from launcher.foreign.logs.ending import EndClassifier
from launcher.foreign.logs.lines import cleaned
from launcher.foreign.logs.programs.program import ProgramReader
from launcher.results.endings.classify import EndVerdict

OF_A_RANK = ("rank", "local_rank", "params.", "node_rank", "hostname")
"""Beginnings of arguments that differ from rank to rank."""

BELOW = "deepspeed"
"""Kind of log that is in those of any trainer: DeepSpeed's engine prints below them."""

Kinds = Sequence[type[ProgramReader]]


class PartEnd(EndClassifier):
    """End of one file, to which those of others can be joined."""

    def join(self, other: "PartEnd") -> None:
        """Take the last lines of another file: whatever names a cause in one of them does so."""
        self._first.extend((*other._first, *other._last))
        self._earlier.extend((self._steps, line) for line in other._lately())


@dataclass
class LogPart:
    """One file, as the readers that may know it saw it."""

    path: Path
    context: LogContext = field(default_factory=LogContext)
    readers: list[tuple[ProgramReader, PartEnd]] = field(default_factory=list)

    def of(self, kind: type[ProgramReader] | None) -> tuple[ProgramReader, PartEnd] | None:
        """The reader of a kind; None where another kind's steps have shown that it is none."""
        return next((pair for pair in self.readers if type(pair[0]) is kind), None)

    @property
    def kind(self) -> type[ProgramReader] | None:
        """Kind of log; None where no reader knows it."""
        return kind_of([self])

    @property
    def is_head(self) -> bool:
        """Return True for a file that says what the run is, and has none of its steps."""
        pair = self.of(self.kind)
        return pair is not None and not pair[0].steps

    @property
    def is_tail(self) -> bool:
        """Return True for a file with steps that does not say of what run."""
        pair = self.of(self.kind)
        if pair is None or not pair[0].steps:
            return False
        return not pair[0].starts and not _shared_arguments(pair[0])


def read_part(path: Path, kinds: Kinds) -> LogPart:
    """Read one file. Raises ReadError."""
    part = LogPart(path, readers=[(kind(), PartEnd()) for kind in kinds])
    readers = part.readers
    for line, prefix, host in cleaned(path):
        part.context.feed(line, prefix, host)
        for index, (log, ending) in enumerate(readers):
            if _fed(log, ending, line) and log.steps and index + 1 < len(readers):
                del readers[index + 1 :]  # one of these can no longer be the kind
                break
    for log, _ in readers:
        log.close()
    return part


def _fed(log: ProgramReader, ending: PartEnd, line: str) -> bool:
    """Give a line to a reader. True where it is one of a step."""
    starts = log.starts
    step = log.feed(line)
    if step:
        ending.step(line.rstrip())
    else:
        ending.feed(line)
    if log.starts > max(starts, 1):
        ending.start()
    return step


def kind_of(parts: Sequence[LogPart]) -> type[ProgramReader] | None:
    """The first kind that found steps in any of the files, else the first that knows one at all."""
    for test in (lambda log: bool(log.steps), lambda log: log.recognized):
        logs = [log for part in parts for log, _ in part.readers if test(log)]
        if logs:
            order = [type(log) for log, _ in max(parts, key=lambda part: len(part.readers)).readers]
            return min((type(log) for log in logs), key=lambda kind: _place(kind, order))
    return None


def _place(kind: type[ProgramReader], order: Sequence[type[ProgramReader]]) -> int:
    return order.index(kind) if kind in order else len(order)


def joined(
    parts: Sequence[LogPart], kind: type[ProgramReader]
) -> tuple[ProgramReader, LogContext, EndVerdict]:
    """Join the files of one run: each step once, and the end that names a cause."""
    pairs = [pair for part in parts if (pair := part.of(kind))]
    pairs.sort(key=lambda pair: not (pair[0].starts and pair[0].arguments))
    log = pairs[0][0]
    for other, _ in pairs[1:]:
        log.join(other)
    context = parts[0].context
    for part in parts[1:]:
        context.join(part.context)
    return log, context, _verdict(log, [_ending(part, kind) for part in parts])


def _ending(part: LogPart, kind: type[ProgramReader]) -> PartEnd:
    pair = part.of(kind) or part.readers[0]
    return pair[1]


def _verdict(log: ProgramReader, endings: Sequence[PartEnd]) -> EndVerdict:
    if len(endings) == 1:
        return endings[0].verdict(log)
    # The last exception of a text counts, and that of a rank whose peer is gone is none of its own.
    alone = [(ending.verdict(log).outcome == "failed", ending) for ending in endings]
    first, *others = [ending for _, ending in sorted(alone, key=lambda pair: pair[0])]
    for other in others:
        first.join(other)
    return first.verdict(log)


def is_one_run(parts: Sequence[LogPart]) -> bool:
    """Return True where files are of one start of one run.

    They are not where two of them name different jobs, print different arguments, or are of
    different programs; where two have steps of which they share none, or say another loss of the
    same step; and where one that printed its arguments has no steps though another that printed
    them too has: it is another start.
    """
    kind = kind_of(parts)
    jobs = {part.context.job_id for part in parts if part.context.job_id is not None}
    kinds = {part.kind for part in parts if part.kind and not part.is_head} - {kind}
    if len(jobs) > 1 or any(other.name != BELOW for other in kinds if other):
        return False
    logs = [pair[0] for part in parts if (pair := part.of(kind))]
    return _arguments_agree(logs) and _steps_agree(log for log in logs if log.steps)


def _arguments_agree(logs: Sequence[ProgramReader]) -> bool:
    started = [log for log in logs if log.starts]
    if any(bool(log.steps) is not bool(started[0].steps) for log in started):
        return False
    stated: dict[str, str] = {}
    for log in logs:
        arguments = _shared_arguments(log)
        if any(stated.get(name, value) != value for name, value in arguments.items()):
            return False
        stated |= arguments
    return True


def _shared_arguments(log: ProgramReader) -> dict[str, str]:
    """Arguments that every rank of a run has the same."""
    return {name: value for name, value in log.arguments.items() if not name.startswith(OF_A_RANK)}


def _steps_agree(logs: Iterable[ProgramReader]) -> bool:
    losses: dict[int, float | None] = {}
    for log in logs:
        shared = losses.keys() & log.steps.keys()
        if losses and not shared:
            return False
        if any(_differ(losses[number], log.steps[number].loss) for number in shared):
            return False
        for number, step in log.steps.items():
            losses[number] = step.loss if losses.get(number) is None else losses[number]
    return True


def _differ(loss: float | None, other: float | None) -> bool:
    if loss is None or other is None or (math.isnan(loss) and math.isnan(other)):
        return False
    return loss != other


def belong_together(head: LogPart, tail: LogPart) -> bool:
    """Return True where two files that were named one by one say that they are of one run: by
    their job, or since what one announces is what the other does."""
    if head.kind is not tail.kind or not is_one_run([head, tail]):
        return False
    if head.context.job_id is not None and head.context.job_id == tail.context.job_id:
        return True
    announcing, doing = head.of(head.kind), tail.of(tail.kind)
    if announcing is None or doing is None or doing[0].total is None:
        return False
    announced = announcing[0].total or announcing[0].arguments.get("train_iters")
    return str(announced) == str(doing[0].total)
