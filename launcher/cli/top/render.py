"""What was seen in a folder as the lines of one screen; nothing here reads a file."""

import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from launcher.cli.top.sections import Section, shared
from launcher.cli.top.snapshot import Budget, Failure, Look, Running, Training, Waiting
from launcher.cli.top.text_cells import Cell, clean, duration, fitted, flowing, rows

WIDE = 120
"""Cells of a terminal from which on a trial is one line; below it is two."""
LABEL = 44
"""Cells of what tells a failed trial from the others, at the most."""
LISTED = 10
"""Waiting trials that are listed where there is no end of room."""
REMARKS = 3

OUTCOMES = {"ok": "green", "rejected": "dim", "pruned": "dim"}
BAD = "red"


def picture(look: Look, width: int, height: int | None, foot: str = "") -> list[Text]:
    """The lines of a screen of so many cells.

    Args:
        look: what there is to see.
        width: cells of a line.
        height: lines of the screen; None is as many as it takes.
        foot: what the last line says besides whether anything runs.
    """
    head = [*_head(look, width), *_remarks(look, width)]
    last = flowing([Cell(text=_standing(look), style="bold"), Cell(text=foot)], width)[:1]
    most = LISTED if height is None else height
    whole = max(len(look.running), len(look.failures)) if height is None else height
    sections = [
        Section(title="running", items=_running(look.running[:whole], width),
                total=len(look.running)),
        Section(title="failed", items=_failures(look.failures[:whole], width),
                total=len(look.failures)),
        Section(title="waiting", items=_waiting(look.waiting[:most], width),
                total=look.queued + look.not_started),
    ]  # fmt: skip
    if height is not None:
        head = head[: max(height - len(last), 0)]
        height -= len(head) + len(last)
    return [*head, *shared([one for one in sections if one.total], height, width), *last]


def _head(look: Look, width: int) -> list[Text]:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(look.time))
    first = Text(_end_of(clean(look.folder), width - len(clock) - 2), style="bold")
    first.append(f"  {clock}", style="not bold")
    counts = [Cell(text=f"{look.ended}/{look.points} {look.unit}s ended")]
    counts += [
        Cell(text=f"{count} {name}", style=OUTCOMES.get(name, BAD)) for name, count in look.outcomes
    ]
    counts += [
        Cell(text=f"{count} {name}", style=style)
        for name, count, style in (
            ("running", len(look.running), "cyan"),
            ("queued", look.queued, ""),
            ("not started", look.not_started, ""),
        )
        if count
    ]
    lines = [fitted(first, width), *flowing(counts, width)]
    if look.training:
        lines += flowing([Cell(text=text) for text in _training(look.training)], width)
    lines += flowing([Cell(text=text) for text in _budget(look)], width)
    return lines


def _end_of(text: str, width: int) -> str:
    """A path that is too long without its beginning."""
    return text if len(text) <= width else f"…{text[len(text) - max(width, 1) + 1 :]}"


def _training(one: Training) -> Iterator[str]:
    if one.stage:
        yield f"stage {one.stage}"
    yield f"step {one.step:,}/{one.steps:,}"
    yield f"{one.tokens:,} of {one.total_tokens:,} tokens"
    if one.left is not None:
        yield f"{duration(one.left)} left at this speed"
    if one.checkpoint is not None:
        ago = "" if one.checkpoint_ago is None else f", {duration(one.checkpoint_ago)} ago"
        yield f"checkpoint of step {one.checkpoint:,}{ago}"


def _budget(look: Look) -> Iterator[str]:
    budget = look.budget
    yield f"{_hours(budget.gpu_hours)} GPU hours{_of_hours(budget)}"
    if budget.most_trials is not None:
        left = max(budget.most_trials - budget.trials, 0)
        yield f"{budget.trials} of {budget.most_trials} trials, {left} left"
    if budget.left is not None and not look.training:
        at_most = "at most " if budget.may_stop else "about "
        yield f"{at_most}{duration(budget.left)} left"
    if look.best:
        yield f"best {look.best[0]}, {look.best[1]:,.0f} tokens/s"


def _of_hours(budget: Budget) -> str:
    most = budget.most_gpu_hours
    if most is None:
        return ""
    return f" of {_hours(most)}, {_hours(max(most - budget.gpu_hours, 0.0))} left"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _remarks(look: Look, width: int) -> list[Text]:
    lines = [fitted(Text(clean(text), style="yellow"), width) for text in look.remarks]
    if len(lines) > REMARKS:
        more = f"and {len(lines) - REMARKS + 1} more that cannot be read"
        return [*lines[: REMARKS - 1], fitted(Text(more, style="yellow"), width)]
    return lines


def _standing(look: Look) -> str:
    """Whether there is anything to wait for."""
    if look.running or look.queued:
        return ""
    if not look.not_started:
        return "all ended"
    return f"nothing runs, {look.not_started} left: the same command goes on"


def _running(trials: Sequence[Running], width: int) -> list[list[Text]]:
    who = [
        [Cell(text=one.label, style="bold"), Cell(text=_attempt(one)), Cell(text=one.place)]
        for one in trials
    ]
    how, rest = [_progress(one) for one in trials], [_rest(one) for one in trials]
    if width >= WIDE:
        lines = [[*a, *b, *c] for a, b, c in zip(who, how, rest, strict=True)]
        return [[line] for line in rows(lines, width, gives=0)]
    above = rows([[*a, *b] for a, b in zip(who, rest, strict=True)], width, gives=0)
    below = [_indented(line, width) for line in rows(how, width - 2)]
    return [[*both] for both in zip(above, below, strict=True)]


def _attempt(one: Running) -> str:
    return f"attempt {one.attempt}" if one.attempt > 1 else ""


def _progress(one: Running) -> list[Cell]:
    """Its step, loss and speed, each of these with its line."""
    loss, speed = (values[-1] if values else None for values in (one.losses, one.speeds))
    return [
        Cell(text=_step(one), style="bold yellow" if one.stuck else ""),
        Cell(text="" if loss is None else f"loss {loss:.3f}"),
        Cell(series=one.losses, style="cyan"),
        Cell(text="" if speed is None else f"{speed:,.0f} tokens/s"),
        Cell(series=one.speeds, style="green"),
        Cell(text="" if one.memory_gib is None else f"{one.memory_gib:.3g} GiB"),
    ]


def _step(one: Running) -> str:
    """The last step, and how long ago it was done."""
    since = "" if one.silent is None else duration(one.silent)
    if one.step is None:
        return f"starts, {since}" if since else "starts"
    step = f"{one.step:,}/{one.last:,}"
    if one.stuck:
        return f"{step}, stuck? {since}"
    return f"{step}, {since} ago" if since else step


def _rest(one: Running) -> list[Cell]:
    return [
        Cell(text="" if one.limit is None else f"limit in {duration(one.limit)}"),
        Cell(text=one.events, style="yellow"),
    ]


def _failures(ends: Sequence[Failure], width: int) -> list[list[Text]]:
    wide = width >= WIDE
    lines = rows([_failed(one, wide) for one in ends], width)
    if wide:
        return [[line] for line in lines]
    causes = [_indented(Text(clean(one.cause)), width) for one in ends]
    return [[*both] for both in zip(lines, causes, strict=True)]


def _failed(one: Failure, wide: bool) -> list[Cell]:
    """How it ended, when, where, and what it was; the cause where there is room beside it."""
    label = fitted(Text(clean(one.label)), LABEL).plain if wide else one.label
    cells = [
        Cell(text=one.outcome, style=BAD),
        Cell(text=_ago(one)),
        Cell(text=one.log),
        Cell(text=label, style="bold"),
    ]
    return [*cells, Cell(text=one.cause)] if wide else cells


def _ago(one: Failure) -> str:
    return "" if one.ago is None else f"{duration(one.ago)} ago"


def _waiting(trials: Sequence[Waiting], width: int) -> list[list[Text]]:
    return [[line] for line in rows([_queued(one) for one in trials], width, gives=0)]


def _queued(one: Waiting) -> list[Cell]:
    since = "" if one.since is None else f" {duration(one.since)}"
    state = f"queued{since}" if one.queued else "not started"
    return [Cell(text=one.label, style="bold"), Cell(text=state), Cell(text=one.said)]


def _indented(line: Text, width: int) -> Text:
    return fitted(Text("  ").append_text(line), width)
