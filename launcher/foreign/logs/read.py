"""A log of any kind: fed once, line by line, to the readers that may know it."""

import dataclasses
import math
from collections.abc import Sequence

from launcher.errors import ReadError
from launcher.foreign.figures import Measured
from launcher.foreign.logs import arguments
from launcher.foreign.logs.context import Surroundings
from launcher.foreign.logs.deepspeed import DeepSpeed
from launcher.foreign.logs.ending import Ending
from launcher.foreign.logs.huggingface import HuggingFace
from launcher.foreign.logs.lines import cleaned
from launcher.foreign.logs.megatron import Megatron
from launcher.foreign.logs.nemo import Nemo
from launcher.foreign.logs.reader import LogReader
from launcher.foreign.logs.torchtitan import Torchtitan
from launcher.foreign.source import Found, Source
from launcher.results.classify import EndVerdict
from launcher.results.imported import Imported

KINDS: tuple[type[LogReader], ...] = (Megatron, Nemo, Torchtitan, HuggingFace, DeepSpeed)
"""A log with steps of several is of the first: DeepSpeed's engine prints below any trainer."""

IMPOSSIBLE = 100.0
"""Percent of the peak."""


def read(source: Source, kinds: Sequence[type[LogReader]] = KINDS) -> list[Found]:
    """The run of a log.

    Raises:
        ReadError: it cannot be read, or is no log of these kinds.
    """
    readers = [(kind(), Ending()) for kind in kinds]
    around = Surroundings()
    for line in cleaned(source.path):
        around.feed(line)
        for index, (log, ending) in enumerate(readers):
            if _fed(log, ending, line) and log.steps and index + 1 < len(readers):
                del readers[index + 1 :]  # one of these can no longer be the kind
                break
    for log, _ in readers:
        log.close()
    chosen = _chosen(readers)
    if chosen is None:
        looked = "; ".join(kind.looks_like for kind in kinds)
        raise ReadError(f"{source.path}: no log of a known kind: looked for {looked}")
    log, ending = chosen
    return [found(source, log, around, ending.verdict(log))]


def _fed(log: LogReader, ending: Ending, line: str) -> bool:
    """Give a line to a reader. True where it is one of a step."""
    starts = log.starts
    step = log.feed(line)
    if step:
        ending.step()
    else:
        ending.feed(line)
    if log.starts > max(starts, 1):
        ending.start()
    return step


def _chosen(readers: Sequence[tuple[LogReader, Ending]]) -> tuple[LogReader, Ending] | None:
    """The first that found steps, else the first that knows the log at all."""
    for test in (lambda log: bool(log.steps), lambda log: log.known):
        for log, ending in readers:
            if test(log):
                return log, ending
    return None


def found(source: Source, log: LogReader, around: Surroundings, verdict: EndVerdict) -> Found:
    """What a reader gathered, as a run."""
    measured = _measured(source, log, around)
    figures, remarks = measured.figures(), _remarks(log)
    if verdict.outcome == "ok" and not log.steps:
        remarks.append("no step is logged")
    if (figures.mfu_pct or 0) > IMPOSSIBLE:
        remarks.append(f"MFU {figures.mfu_pct:.0f} % is impossible and left out")
        figures = dataclasses.replace(figures, mfu_pct=None)
    seconds, ended = _times(around, measured)
    return Found(
        lines=measured.lines(),
        total=log.total,
        unread=log.unread,
        first_unread=log.first_unread,
        imported=Imported(
            format=log.name,
            source=source.name,
            path=str(source.path.resolve()),
            sha256=source.sha256,
            known=measured.known,
            outcome=verdict.outcome,
            cause=verdict.cause,
            remark="; ".join(remarks) or None,
            figures=figures,
            stated_tflops_per_gpu=measured.stated(),
            seconds=seconds,
            ended=ended,
            job_id=around.job_id,
            hosts=tuple(sorted(around.hosts)),
            commit=around.commit,
        ),
    )


def _measured(source: Source, log: LogReader, around: Surroundings) -> Measured:
    facts = around.facts | log.facts
    model = arguments.model(facts)
    known = arguments.known(facts, log.backend, model.params)
    steps = [log.steps[number].finite() for number in sorted(log.steps)]
    if known.global_batch is None and steps and steps[-1].batch:
        known = dataclasses.replace(known, global_batch=int(steps[-1].batch))
    return Measured(
        steps=steps,
        known=known,
        shape=model.shape,
        accelerator=source.accelerator(around.card),
        memory={rank: gib for rank, gib in log.memory.items() if math.isfinite(gib)},
    )


def _times(around: Surroundings, measured: Measured) -> tuple[float | None, float | None]:
    """Seconds it took and when it ended; not of a log in which only its beginning has times."""
    if around.began is None or around.ended is None:
        return None, None
    seconds = around.ended - around.began
    return (seconds, around.ended) if seconds >= measured.seconds / 2 else (None, None)


def _remarks(log: LogReader) -> list[str]:
    out = []
    if log.starts > 1:
        out.append(f"{log.starts} starts in one log")
    if log.repeated:
        out.append(f"{log.repeated} step lines repeat an earlier step, of which the last counts")
    if log.stopped and not log.done:
        out.append(log.stopped)
    if log.total is None and log.finished is None and log.steps:
        out.append("the log does not say how many steps it was to do")
    return out
