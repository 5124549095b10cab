"""View of a campaign on a terminal: on stderr, so that stdout holds the table alone."""

import shlex
import time
from collections import Counter
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from launcher.campaign.jobs import edited
from launcher.campaign.observer import Observer, Watched
from launcher.campaign.stage_history import changes, describe_changes
from launcher.decode import encode
from launcher.errors import ReadError
from launcher.results import metrics
from launcher.results.columns import SPEED, figure
from launcher.results.endings.classify import tail
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import RunRecord
from launcher.results.run_folder import RunFolder
from launcher.results.summary import started_spec
from launcher.spec.run import RunSpec

REFRESH_SECONDS = 0.5
"""Seconds between two readings of the running trials' metrics."""
SECONDS_PER_TRIAL = 0.02
"""Seconds more for each trial: a batch system may hold hundreds."""
MAX_LINES = 20
"""Running trials with a line of their own."""

WARNINGS = ("WARNING ", "checkpoint took ")
"""Beginnings of the lines of a rank that the user should see."""
MAX_WARNINGS = 5
"""Most lines of them for each attempt."""


class Progress(Observer):
    """A live view on a terminal; elsewhere one line for each trial that ends."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.began = time.monotonic()
        self.drawn = 0.0
        self.recorded_before = 0
        """Number of trials that had a record at the start."""

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def started(self, campaign: Watched) -> None:
        """Print the number of points to run, and the jobs that go on as they were submitted."""
        plan = campaign.plan
        self.recorded_before = len(campaign.records)
        to_run = len(plan.points) - self.recorded_before
        points = f"{len(plan.points)} {plan.request.unit}{'' if len(plan.points) == 1 else 's'}"
        line = f"{plan.folder.path}: {points}, {_counts(campaign)}{to_run} to run"
        self.console.print(line, soft_wrap=True)
        folders = [plan.folder.run(name) for name in campaign.adopted]
        messages = [edited(folders, plan.request.scheduler, plan.request.time_limit)]
        messages += [_changed_layout(plan.points[folder.path.name], folder) for folder in folders]
        hint = f"launch cancel {shlex.quote(str(plan.folder.path))} takes them back"
        for message in filter(None, messages):
            self.console.print(f"launch: {message}; {hint}", soft_wrap=True)

    def refreshed(self, campaign: Watched) -> None:
        """Draw the live view, at most every `REFRESH_SECONDS` seconds."""
        running = campaign.running.values()
        pause = max(REFRESH_SECONDS, len(running) * SECONDS_PER_TRIAL)
        if self.console.is_terminal and time.monotonic() - self.drawn > pause:
            self.drawn = time.monotonic()
            lines = [line for spec in running if (line := _line(campaign, spec))]
            waiting = len(running) - len(lines)
            queued = f"{waiting} queued, " if waiting else ""
            counts = f"{_counts(campaign)}{queued}{self._eta(campaign)}"
            head = f"{len(campaign.records)}/{len(campaign.plan.points)}  {counts}"
            self.live.update(Group(Text(head, style="bold"), *lines[:MAX_LINES]), refresh=True)

    def trial_ended(self, campaign: Watched, record: RunRecord, again: bool) -> None:
        """Print one line for the trial that ended."""
        plan = campaign.plan
        count = f"[{len(campaign.records)}/{len(plan.points)}]"
        speed, goal = record.figures.tokens_per_s, plan.request.points.goal
        sought = None if goal == SPEED else getattr(record.figures, goal)
        reached = "" if sought is None else f"{figure(goal, sought)}  "
        result = (f"{reached}{_speed(speed)}" if record.outcome == "ok" else record.cause) or ""
        once_more = "  (runs again)" if again else ""
        label = plan.labels[record.spec.name]
        line = f"{count} {record.outcome:9} {label}  {result}{once_more}"
        self.console.print(Text(line), soft_wrap=True)
        if plan.request.checkpoint_every:
            self._warn(plan.folder.run(record.spec.name))

    def _warn(self, folder: RunFolder) -> None:
        """Print the warnings of ranks about their checkpoints: no table shows them."""
        lines = (line for log in folder.rank_logs() for line in tail(log).splitlines())
        warnings = list(dict.fromkeys(line for line in lines if line.startswith(WARNINGS)))
        for line in warnings[:MAX_WARNINGS]:
            self.console.print(Text(f"      {line}"), soft_wrap=True)
        if len(warnings) > MAX_WARNINGS:
            more = len(warnings) - MAX_WARNINGS
            self.console.print(f"      and {more} more in {folder.logs}")

    def _eta(self, campaign: Watched) -> str:
        recorded = len(campaign.records) - self.recorded_before
        if not recorded:
            return ""
        to_come = len(campaign.plan.points) - len(campaign.records)
        if (most := campaign.plan.request.points.stop.trials) is not None:
            ran = sum(record.outcome not in NEVER_RAN for record in campaign.records.values())
            to_come = min(to_come, max(most - ran, 0))
        seconds = (time.monotonic() - self.began) / recorded * to_come
        return f" ETA {int(seconds // 60)}:{int(seconds % 60):02d}"


def _line(campaign: Watched, spec: RunSpec) -> Text | None:
    """Return the last step of a running trial; None for one that waits for room."""
    folder, label = campaign.plan.folder.run(spec.name), campaign.plan.labels[spec.name]
    try:
        status, steps = folder.status(), folder.steps()
    except ReadError:
        return None
    if status is None or status.state != "running":
        return None
    if not steps:
        return Text(f"  {label}  starting")
    last = steps[-1]
    number = metrics.number(last["loss"])
    loss = "" if number is None else f"  loss {number:.3f}"
    step = f"step {last['step']}/{spec.last}"
    return Text(f"  {label}  {step}{loss}  {_speed(last['tokens_per_s'])}")


def _changed_layout(spec: RunSpec, folder: RunFolder) -> str:
    """Message on a stage that was started at another layout than the present one, or ""."""
    differences = [*changes(encode(started_spec(folder, spec)), encode(spec))]
    if not differences:
        return ""
    return f"{spec.name} goes on as it was started: {describe_changes(differences)} is for later"


def _counts(campaign: Watched) -> str:
    counts = Counter(record.outcome for record in campaign.records.values())
    return "".join(f"{number} {outcome}, " for outcome, number in counts.most_common())


def _speed(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s:,.0f} tokens/s"
