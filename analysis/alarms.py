"""Alarms of the spike detector in logged series, and how they compare with labelled events."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis.loading.series import Series, read
from launcher.errors import ConfigError
from launcher.spec.spike_guard import SpikeGuard
from launcher.spikes.detector import Detector, Event, Kind, Quantity
from launcher.spikes.ladder import Ladder

if TYPE_CHECKING:
    import pandas as pd

    from analysis.runs import Runs

SLACK = 10
"""Iterations before the start and after the end of a labelled event in which an alarm is for it."""


@dataclass(slots=True)
class Alarm:
    """An event from its first step to its end. Figures as in `launcher.spikes.detector.Event`."""

    kind: Kind
    """Kind of the event."""
    of: Quantity
    """Quantity that it happened to."""
    step: int
    """Step at which it was seen."""
    value: float | None
    """Value at that step; None where it is not finite."""
    baseline: float | None
    """Baseline from before it began; None where it was not known yet."""
    size: float | None
    """Excess of the worst value until its end over the baseline: nats of a loss, times of a
    norm."""
    end: Literal["recovery", "divergence"] | None = None
    """None where the log ends first, or shows no end of it."""
    steps: int | None = None
    """From its start, or that of what it made worse, to its end; of a creep, to ``step``."""


@dataclass(frozen=True, slots=True)
class Label:
    """An event that somebody found."""

    start: int
    end: int

    def covers(self, step: int) -> bool:
        """Return True if an alarm at this step is for it."""
        return self.start - SLACK <= step <= self.end + SLACK


@dataclass(frozen=True, kw_only=True, slots=True)
class SpikeVerdict:
    """Alarms of one series, and what the ladder would have done about them."""

    series: Series
    alarms: Sequence[Alarm]
    actions: Mapping[str, int] = field(default_factory=dict)
    """Actions of the ladder besides apply, and how often it would have taken each."""
    labels: Sequence[Label] | None = None
    """None where there are no labels at all."""

    @property
    def detected(self) -> int:
        """Labelled events with an alarm."""
        labels = self.labels or ()
        return sum(any(label.covers(alarm.step) for alarm in self.alarms) for label in labels)

    @property
    def false_alarms(self) -> int:
        """Alarms for none of the labelled events."""
        return sum(not self.is_labelled(alarm) for alarm in self.alarms)

    def is_labelled(self, alarm: Alarm) -> bool:
        """Return True if an alarm is for a labelled event."""
        return any(label.covers(alarm.step) for label in self.labels or ())


def of_runs(runs: "Runs") -> "pd.DataFrame":
    """Return the table of `analysis.spikes`."""
    import pandas as pd

    rows = []
    for place in runs.places:
        with suppress(ConfigError):  # nothing is logged, or its row in the table says what is wrong
            for series in read(place.run.metrics, place.name):
                alarms = judge(series, SpikeGuard()).alarms
                labels = {"sweep": place.sweep, "folder": place.name}
                rows += [labels | asdict(alarm) for alarm in alarms]
    names = ["sweep", "folder", *(field.name for field in fields(Alarm))]
    return pd.DataFrame(rows, columns=names).convert_dtypes()


def judge(series: Series, guard: SpikeGuard, labels: Sequence[Label] | None = None) -> SpikeVerdict:
    """Run the detector and the ladder over a series, as if it were just being trained."""
    detector, ladder = Detector(guard), Ladder(guard)
    alarms: list[Alarm] = []
    ongoing: dict[Quantity, list[Alarm]] = {"loss": [], "grad_norm": []}
    actions: Counter[str] = Counter()
    stage = series.points[0].stage
    for point in series.points:
        if point.stage != stage:
            detector.expect_shift(point.step)
            stage = point.stage
        reading = detector.update(point.step, point.loss, point.norm)
        for event in reading.events:
            alarms += _fold(event, ongoing)
        action = ladder.decide(reading).kind
        if action != "apply":
            actions[action] += 1
    return SpikeVerdict(series=series, alarms=alarms, actions=dict(actions), labels=labels)


def _fold(event: Event, ongoing: dict[Quantity, list[Alarm]]) -> list[Alarm]:
    """Alarm that an event begins, or none; an end is written into the alarms that it ends."""
    if event.kind in ("recovery", "divergence"):
        for alarm in ongoing[event.of]:
            alarm.end, alarm.steps, alarm.size = event.kind, event.steps, event.size
        ongoing[event.of] = []
        return []
    if event.start == event.step:
        ongoing[event.of] = []  # what was open before has no end
    alarm = Alarm(event.kind, event.of, event.step, event.value, event.baseline, event.size)
    if event.kind == "creep":  # by then it has not come back
        alarm.end, alarm.steps = "divergence", event.steps
        return [alarm]
    ongoing[event.of].append(alarm)
    return [alarm]


def read_labels(path: Path) -> dict[str, list[Label]]:
    """Labelled events by the name of their file. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--labels: {path}: {reason}") from error
    labels: dict[str, list[Label]] = {}
    for number, row in enumerate(rows, 2):
        try:
            labels.setdefault(_cell(row, "file"), []).append(_label(row))
        except ValueError as error:
            raise ConfigError(f"--labels: {path}:{number}: {error}") from error
    return labels


def _label(row: Mapping[str, str | None]) -> Label:
    """Read a row of labels. Raises ValueError, with what is wrong in one line."""
    start, end = _cell(row, "start_iter"), _cell(row, "end_iter")
    for name, text in (("start_iter", start), ("end_iter", end)):
        if not text.isdecimal():
            raise ValueError(f"{name} {text!r} is no whole number")
    if int(end) < int(start):
        raise ValueError(f"end_iter {end} is before start_iter {start}")
    return Label(int(start), int(end))


def _cell(row: Mapping[str, str | None], name: str) -> str:
    if name not in row:
        raise ValueError(f"no column {name}")
    return (row[name] or "").strip()


def columns(labelled: bool) -> list[str]:
    """Columns of `alarm_rows`."""
    names = ["series", *(field.name for field in fields(Alarm))]
    return [*names, "labelled"] if labelled else names


def alarm_rows(verdict: SpikeVerdict) -> Iterator[dict[str, Any]]:
    """One row per alarm."""
    for alarm in verdict.alarms:
        row = {"series": verdict.series.name, **asdict(alarm)}
        if verdict.labels is not None:
            row["labelled"] = verdict.is_labelled(alarm)
        yield row


def series_row(verdict: SpikeVerdict) -> dict[str, Any]:
    """The counts of one series."""
    series, actions = verdict.series, verdict.actions
    counts = Counter(alarm.kind for alarm in verdict.alarms)
    ends = Counter(alarm.end for alarm in verdict.alarms)
    row = {
        "series": series.name,
        "points": len(series.points),
        "skipped_lines": len(series.skipped),
        "events": len(verdict.alarms),
        **{kind: counts[kind] for kind in ("loss_spike", "norm_spike", "nan", "inf", "creep")},
        "recovered": ends["recovery"],
        "diverged": ends["divergence"],
        "skipped_updates": actions.get("skip", 0),
        "rollbacks": actions.get("roll_back", 0),
        "stops": actions.get("stop", 0),
    }
    if verdict.labels is not None:
        row |= {"labelled": len(verdict.labels), "found": verdict.detected}
        row["false_alarms"] = verdict.false_alarms
    return row


def total(verdicts: Sequence[SpikeVerdict]) -> dict[str, int]:
    """The counts of all series together; with labels also those of the series without an event."""
    rows = [series_row(verdict) for verdict in verdicts]
    sums = {name: sum(row[name] for row in rows) for name in rows[0] if name != "series"}
    calm = [verdict for verdict in verdicts if verdict.labels is not None and not verdict.labels]
    if any(verdict.labels is not None for verdict in verdicts):
        sums["clean_series"] = len(calm)
        sums["clean_false_alarms"] = sum(verdict.false_alarms for verdict in calm)
    return {"series": len(rows), **sums}
