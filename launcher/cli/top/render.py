"""Drawing of a `Snapshot` as the lines of one screen; nothing here reads a file."""

import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from launcher.cli.top.sections import Section, shared
from launcher.cli.top.snapshot import Budget, Failure, Running, Snapshot, Training, Waiting
from launcher.cli.top.text_cells import Cell, clean, duration, fitted, flowing, rows
from launcher.results.columns import figure

WIDE = 120
"""Cells of a terminal from which on a trial is one line; below it is two."""
LABEL = 44
"""Most cells of a failed trial's label."""
LISTED = 10
"""Waiting trials that are listed where the height has no limit."""
REMARKS = 3

OUTCOMES = {"ok": "green", "rejected": "dim", "pruned": "dim"}
BAD = "red"


def picture(snapshot: Snapshot, width: int, height: int | None, foot: str = "") -> list[Text]:
    """Return the lines of a screen of so many cells.

    Args:
        snapshot: the values to draw.
        width: cells of a line.
        height: lines of the screen; None is as many as it takes.
        foot: text at the end of the last line.
    """
    head = [*_head(snapshot, width), *_remarks(snapshot, width)]
    last = flowing([Cell(text=_idle_message(snapshot), style="bold"), Cell(text=foot)], width)[:1]
    # Only as many trials are drawn as could be seen: a sweep may have thousands.
    max_waiting = LISTED if height is None else height
    max_trials = max(len(snapshot.running), len(snapshot.failures)) if height is None else height
    sections = [
        Section(
            title="running",
            items=_running(snapshot.running[:max_trials], width),
            total=len(snapshot.running),
        ),
        Section(
            title="failed",
            items=_failures(snapshot.failures[:max_trials], width),
            total=len(snapshot.failures),
        ),
        Section(
            title="waiting",
            items=_waiting(snapshot.waiting[:max_waiting], width),
            total=snapshot.queued + snapshot.not_started,
        ),
    ]
    if height is not None:
        head = head[: max(height - len(last), 0)]
        height -= len(head) + len(last)
    return [
        *head,
        *shared([section for section in sections if section.total], height, width),
        *last,
    ]


def _head(snapshot: Snapshot, width: int) -> list[Text]:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(snapshot.time))
    first = Text(_end_of(clean(snapshot.folder), width - len(clock) - 2), style="bold")
    first.append(f"  {clock}", style="not bold")
    counts = [Cell(text=f"{snapshot.ended}/{snapshot.points} {snapshot.unit}s ended")]
    counts += [
        Cell(text=f"{count} {name}", style=OUTCOMES.get(name, BAD))
        for name, count in snapshot.outcomes
    ]
    counts += [
        Cell(text=f"{count} {name}", style=style)
        for name, count, style in (
            ("running", len(snapshot.running), "cyan"),
            ("queued", snapshot.queued, ""),
            ("not started", snapshot.not_started, ""),
        )
        if count
    ]
    lines = [fitted(first, width), *flowing(counts, width)]
    if snapshot.training:
        lines += flowing([Cell(text=text) for text in _training(snapshot.training)], width)
    lines += flowing([Cell(text=text) for text in _budget(snapshot)], width)
    return lines


def _end_of(text: str, width: int) -> str:
    """Cut the beginning of a path that is too long."""
    return text if len(text) <= width else f"…{text[len(text) - max(width, 1) + 1 :]}"


def _training(training: Training) -> Iterator[str]:
    if training.stage:
        yield f"stage {training.stage}"
    yield f"step {training.step:,}/{training.steps:,}"
    yield f"{training.tokens:,} of {training.total_tokens:,} tokens"
    if training.seconds_left is not None:
        yield f"{duration(training.seconds_left)} left at this speed"
    if training.checkpoint is not None:
        seconds = training.checkpoint_ago
        age = "" if seconds is None else f", {duration(seconds)} ago"
        yield f"checkpoint of step {training.checkpoint:,}{age}"


def _budget(snapshot: Snapshot) -> Iterator[str]:
    budget = snapshot.budget
    yield f"{_hours(budget.gpu_hours)} GPU hours{_of_hours(budget)}"
    if budget.max_trials is not None:
        trials_left = max(budget.max_trials - budget.trials, 0)
        yield f"{budget.trials} of {budget.max_trials} trials, {trials_left} left"
    if budget.seconds_left is not None and not snapshot.training:
        bound = "at most " if budget.may_stop else "about "
        yield f"{bound}{duration(budget.seconds_left)} left"
    if snapshot.best:
        yield f"best {snapshot.best[0]}, {figure(snapshot.goal, snapshot.best[1])}"


def _of_hours(budget: Budget) -> str:
    limit = budget.max_gpu_hours
    if limit is None:
        return ""
    return f" of {_hours(limit)}, {_hours(max(limit - budget.gpu_hours, 0.0))} left"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _remarks(snapshot: Snapshot, width: int) -> list[Text]:
    lines = [fitted(Text(clean(text), style="yellow"), width) for text in snapshot.remarks]
    if len(lines) > REMARKS:
        more = f"and {len(lines) - REMARKS + 1} more that cannot be read"
        return [*lines[: REMARKS - 1], fitted(Text(more, style="yellow"), width)]
    return lines


def _idle_message(snapshot: Snapshot) -> str:
    """Message that nothing runs or is queued; "" where something is."""
    if snapshot.running or snapshot.queued:
        return ""
    if not snapshot.not_started:
        return "all ended"
    return f"nothing runs, {snapshot.not_started} left: the same command goes on"


def _running(trials: Sequence[Running], width: int) -> list[list[Text]]:
    identities = [
        [Cell(text=trial.label, style="bold"), Cell(text=_attempt(trial)), Cell(text=trial.place)]
        for trial in trials
    ]
    progress = [_progress(trial) for trial in trials]
    endings = [_limit_and_events(trial) for trial in trials]
    if width >= WIDE:
        lines = [[*a, *b, *c] for a, b, c in zip(identities, progress, endings, strict=True)]
        return [[line] for line in rows(lines, width, gives=0)]
    above = rows([[*a, *b] for a, b in zip(identities, endings, strict=True)], width, gives=0)
    below = [_indented(line, width) for line in rows(progress, width - 2)]
    return [[*pair] for pair in zip(above, below, strict=True)]


def _attempt(trial: Running) -> str:
    return f"attempt {trial.attempt}" if trial.attempt > 1 else ""


def _progress(trial: Running) -> list[Cell]:
    """Cells of its step, loss, speed and memory; a sparkline beside the loss and the speed."""
    loss, speed = (values[-1] if values else None for values in (trial.losses, trial.speeds))
    return [
        Cell(text=_step(trial), style="bold yellow" if trial.stuck else ""),
        Cell(text="" if loss is None else f"loss {loss:.3f}"),
        Cell(series=trial.losses, style="cyan"),
        Cell(text="" if speed is None else f"{speed:,.0f} tokens/s"),
        Cell(series=trial.speeds, style="green"),
        Cell(text="" if trial.memory_gib is None else f"{trial.memory_gib:.3g} GiB"),
    ]


def _step(trial: Running) -> str:
    """Text of the last step, with the time since it was done."""
    since = "" if trial.silent is None else duration(trial.silent)
    if trial.step is None:
        return f"starts, {since}" if since else "starts"
    step = f"{trial.step:,}/{trial.last:,}"
    if trial.stuck:
        return f"{step}, stuck? {since}"
    return f"{step}, {since} ago" if since else step


def _limit_and_events(trial: Running) -> list[Cell]:
    return [
        Cell(text="" if trial.limit is None else f"limit in {duration(trial.limit)}"),
        Cell(text=trial.events, style="yellow"),
    ]


def _failures(failures: Sequence[Failure], width: int) -> list[list[Text]]:
    wide = width >= WIDE
    lines = rows([_failure(failure, wide) for failure in failures], width)
    if wide:
        return [[line] for line in lines]
    causes = [_indented(Text(clean(failure.cause)), width) for failure in failures]
    return [[*pair] for pair in zip(lines, causes, strict=True)]


def _failure(failure: Failure, wide: bool) -> list[Cell]:
    """Cells of its outcome, time, logs and label; the cause beside them where there is room."""
    label = fitted(Text(clean(failure.label)), LABEL).plain if wide else failure.label
    cells = [
        Cell(text=failure.outcome, style=BAD),
        Cell(text="" if failure.ago is None else f"{duration(failure.ago)} ago"),
        Cell(text=failure.log),
        Cell(text=label, style="bold"),
    ]
    return [*cells, Cell(text=failure.cause)] if wide else cells


def _waiting(trials: Sequence[Waiting], width: int) -> list[list[Text]]:
    return [[line] for line in rows([_queued(trial) for trial in trials], width, gives=0)]


def _queued(trial: Waiting) -> list[Cell]:
    since = "" if trial.since is None else f" {duration(trial.since)}"
    state = f"queued{since}" if trial.queued else "not started"
    return [Cell(text=trial.label, style="bold"), Cell(text=state), Cell(text=trial.job_state)]


def _indented(line: Text, width: int) -> Text:
    return fitted(Text("  ").append_text(line), width)
