"""What a person sees while a sweep runs: on stderr, so that stdout holds the table alone."""

import shlex
import time
from collections import Counter
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from launcher.campaign.campaign import Loop, started_as
from launcher.campaign.jobs import edited
from launcher.campaign.observer import Watch
from launcher.campaign.stage_history import changes, told
from launcher.decode import encode
from launcher.errors import ReadError
from launcher.results.classify import tail
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec

REFRESH = 0.5
"""Seconds between two readings of the running trials' metrics."""
PER_TRIAL = 0.02
"""Seconds more for each trial: a batch system may hold hundreds."""
SHOWN = 20
"""Running trials with a line of their own."""


SAID = ("WARNING ", "checkpoint took ")
"""How lines of a rank begin that a person should see."""
WARNED = 5
"""Of them, for each attempt."""


class Progress(Watch):
    """A live view on a terminal; elsewhere one line for each trial that ends."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.labels: dict[str, str] = {}
        self.started = time.monotonic()
        self.looked = 0.0
        self.before = 0
        """Trials that had a record already."""

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def start(self, loop: Loop) -> None:
        """Say how much there is to do."""
        self.labels = loop.trials.labels
        self.before = len(loop.records)
        counts = _counts(loop)
        to_run = len(loop.points) - self.before
        unit = loop.request.unit
        points = f"{len(loop.points)} {unit}{'' if len(loop.points) == 1 else 's'}"
        line = f"{loop.folder}: {points}, {counts}{to_run} to run"
        self.console.print(line, soft_wrap=True)
        folders = [RunFolder(loop.folder / spec_id) for spec_id in loop.adopted]
        said = [edited(folders, loop.request.scheduler, loop.request.time_limit)]
        said += [_remade(loop.points[folder.path.name], folder) for folder in folders]
        back = f"launch cancel {shlex.quote(str(loop.folder))} takes them back"
        for line in filter(None, said):
            self.console.print(f"launch: {line}; {back}", soft_wrap=True)

    def tick(self, loop: Loop) -> None:
        """Draw the live view, at most every `REFRESH` seconds."""
        pause = max(REFRESH, len(loop.running) * PER_TRIAL)
        if self.console.is_terminal and time.monotonic() - self.looked > pause:
            self.looked = time.monotonic()
            lines = [line for s in loop.running.values() if (line := self._line(loop, s))]
            waiting = len(loop.running) - len(lines)
            queued = f"{waiting} queued, " if waiting else ""
            counts = f"{_counts(loop)}{queued}{self._eta(loop)}"
            head = f"{len(loop.records)}/{len(loop.points)}  {counts}"
            self.live.update(Group(Text(head, style="bold"), *lines[:SHOWN]), refresh=True)

    def ended(self, loop: Loop, found: RunRecord, again: bool) -> None:
        """One line for the trial that ended."""
        place = f"[{len(loop.records)}/{len(loop.points)}]"
        label = self.labels[found.spec.name]
        what = _speed(found.figures.tokens_per_s) if found.outcome == "ok" else found.cause
        once_more = "  (runs again)" if again else ""
        line = f"{place} {found.outcome:9} {label}  {what or ''}{once_more}"
        self.console.print(Text(line), soft_wrap=True)
        if loop.request.checkpoint_every:
            self._warn(RunFolder(loop.folder / found.spec.name))

    def _warn(self, folder: RunFolder) -> None:
        """What ranks said of their checkpoints: it is in nobody's table."""
        logs = sorted(folder.logs.glob("rank*.txt"))
        lines = (line for log in logs for line in tail(log).splitlines())
        said = list(dict.fromkeys(line for line in lines if line.startswith(SAID)))
        for line in said[:WARNED]:
            self.console.print(Text(f"      {line}"), soft_wrap=True)
        if len(said) > WARNED:
            self.console.print(f"      and {len(said) - WARNED} more in {folder.logs}")

    def _line(self, loop: Loop, spec: RunSpec) -> Text | None:
        """A running trial's last step; None for one that waits for room."""
        folder = RunFolder(loop.folder / spec.name)
        try:
            status, steps = folder.status(), folder.steps()
        except ReadError:
            return None
        if status is None or status.state != "running":
            return None
        if not steps:
            return Text(f"  {self.labels[spec.name]}  starting")
        last = steps[-1]
        loss = "" if last["loss"] is None else f"  loss {last['loss']:.3f}"
        step = f"step {last['step']}/{spec.last}"
        return Text(f"  {self.labels[spec.name]}  {step}{loss}  {_speed(last['tokens_per_s'])}")

    def _eta(self, loop: Loop) -> str:
        done = len(loop.records) - self.before
        if not done:
            return ""
        left = len(loop.points) - len(loop.records)
        seconds = (time.monotonic() - self.started) / done * left
        return f" ETA {int(seconds // 60)}:{int(seconds % 60):02d}"


def _remade(spec: RunSpec, folder: RunFolder) -> str:
    """That a stage was started at another layout than the one of now, in a line; "" otherwise."""
    changed = [*changes(encode(started_as(spec, folder)), encode(spec))]
    return f"{spec.name} goes on as it was started: {told(changed)} is for later" if changed else ""


def _counts(loop: Loop) -> str:
    counts = Counter(found.outcome for found in loop.records.values())
    return "".join(f"{number} {outcome}, " for outcome, number in counts.most_common())


def _speed(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s:,.0f} tokens/s"
