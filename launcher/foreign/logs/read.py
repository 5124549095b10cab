"""A log of any kind: fed once, line by line, to the readers that may know it."""

import dataclasses
import math
from collections.abc import Sequence

from launcher.errors import ReadError
from launcher.foreign.figures import LoggedRun
from launcher.foreign.logs import arguments
from launcher.foreign.logs.context import LogContext
from launcher.foreign.logs.parts import Kinds, LogPart, joined, kind_of, read_part
from launcher.foreign.logs.programs.automodel import AutoModel
from launcher.foreign.logs.programs.composer import Composer
from launcher.foreign.logs.programs.deepspeed import DeepSpeed
from launcher.foreign.logs.programs.huggingface import HuggingFace
from launcher.foreign.logs.programs.internevo import InternEvo
from launcher.foreign.logs.programs.megatron import Megatron
from launcher.foreign.logs.programs.nanotron import Nanotron
from launcher.foreign.logs.programs.nemo import Nemo
from launcher.foreign.logs.programs.torchtitan import Torchtitan
from launcher.foreign.logs.reader import LogReader
from launcher.foreign.source import Source, SourceRun
from launcher.results.endings.classify import EndVerdict
from launcher.results.imported import Imported

KINDS: Kinds = (
    Megatron, Nemo, Torchtitan, Nanotron, Composer, InternEvo, AutoModel, HuggingFace, DeepSpeed,
)  # fmt: skip
"""A log with steps of several is of the first: DeepSpeed's engine prints below any trainer."""

IMPOSSIBLE = 100.0
"""Percent of the peak."""


def read(
    source: Source, kinds: Kinds = KINDS, parts: Sequence[LogPart] | None = None
) -> list[SourceRun]:
    """The run of a log, of one file or of several.

    Args:
        source: its files.
        kinds: programs that it may be of.
        parts: its files, where they have been read.

    Raises:
        ReadError: it cannot be read, or is no log of these kinds.
    """
    parts = parts or [read_part(file, kinds) for file in source.files]
    kind = kind_of(parts)
    if kind is None:
        if not any(file.stat().st_size for file in source.files):
            raise ReadError(f"{source.path}: is empty")
        examples = "; ".join(kind.looks_like for kind in kinds)
        raise ReadError(f"{source.path}: no log of a known kind: looked for {examples}")
    log, context, verdict = joined(parts, kind)
    return [source_run(source, log, context, verdict)]


def source_run(
    source: Source, log: LogReader, context: LogContext, verdict: EndVerdict
) -> SourceRun:
    """Run of what a reader gathered."""
    logged = _logged_run(source, log, context)
    figures, remarks = logged.figures(), _remarks(log)
    if verdict.outcome == "ok" and not log.steps:
        remarks.append("no step is logged")
    if (figures.mfu_pct or 0) > IMPOSSIBLE:
        remarks.append(f"MFU {figures.mfu_pct:.0f} % is impossible and left out")
        figures = dataclasses.replace(figures, mfu_pct=None)
    seconds, ended = _times(context, logged)
    return SourceRun(
        lines=logged.lines(),
        total=log.total,
        unread=log.unread,
        first_unread=log.first_unread,
        imported=Imported(
            format=log.name,
            source=source.name,
            path=str(source.path.resolve()),
            sha256=source.sha256,
            known=logged.facts,
            outcome=verdict.outcome,
            cause=verdict.cause,
            remark="; ".join(remarks) or None,
            figures=figures,
            stated_tflops_per_gpu=logged.stated(),
            seconds=seconds,
            ended=ended,
            job_id=context.job_id,
            hosts=tuple(sorted(context.hosts)),
            commit=context.commit,
        ),
    )


def _logged_run(source: Source, log: LogReader, context: LogContext) -> LoggedRun:
    printed = context.arguments | log.arguments
    model = arguments.model(printed)
    facts = arguments.run_facts(printed, log.backend, model.params)
    steps = [log.steps[number].finite() for number in sorted(log.steps)]
    if facts.global_batch is None and steps and steps[-1].batch:
        facts = dataclasses.replace(facts, global_batch=int(steps[-1].batch))
    return LoggedRun(
        steps=steps,
        facts=facts,
        shape=model.shape,
        accelerator=source.accelerator(context.card),
        memory={rank: gib for rank, gib in log.memory.items() if math.isfinite(gib)},
    )


def _times(context: LogContext, logged: LoggedRun) -> tuple[float | None, float | None]:
    """Seconds that it took and when it ended; None where only the log's beginning has times."""
    if context.began is None or context.ended is None:
        return None, None
    seconds = context.ended - context.began
    return (seconds, context.ended) if seconds >= logged.seconds / 2 else (None, None)


def _remarks(log: LogReader) -> list[str]:
    remarks = []
    if log.starts > 1:
        remarks.append(f"{log.starts} starts in one log")
    if log.repeated:
        remarks.append(
            f"{log.repeated} step lines repeat an earlier step, of which the last counts"
        )
    if log.stopped and not log.done:
        remarks.append(log.stopped)
    if log.total is None and log.finished is None and log.steps:
        remarks.append("the log does not say how many steps it was to do")
    return remarks
