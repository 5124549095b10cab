"""Sums, lists and estimates over the points of the watched folders."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.top.snapshot import Budget, Failure, Running, Training, Waiting
from launcher.cli.top.watched_sweep import WatchedSweep
from launcher.cli.top.watched_trial import WatchedTrial
from launcher.results.columns import GOALS, SPEED
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import RunRecord
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec

LIVE = {"queued", "running"}
UNWRITTEN = "SLURM has ended it; the same command, or launch cancel, writes down how"


@dataclass(frozen=True, kw_only=True, slots=True)
class PointState:
    """A point of a watched folder, and its state."""

    sweep: WatchedSweep
    name: str
    label: str
    state: str
    """A `watched_sweep.State`, or the end by the batch system where the folder has none yet."""
    record: RunRecord | None
    """Record of its end, where its folder has one."""
    job_state: str
    """State of its job in the batch system; "" where that was not asked."""

    @property
    def trial(self) -> WatchedTrial:
        """Its folder, which must exist."""
        return self.sweep.trials[self.name]

    @property
    def spec(self) -> RunSpec | None:
        """Its spec; None where none has been written yet."""
        return self.sweep.spec(self.name)


def outcomes(points: Sequence[PointState]) -> tuple[tuple[str, int], ...]:
    """Count the points that ended by outcome, ok first and the most frequent next."""
    open_states = {*LIVE, "not started"}
    ends = [p.record.outcome if p.record else p.state for p in points if p.state not in open_states]
    return tuple(
        sorted(Counter(ends).items(), key=lambda item: (item[0] != "ok", -item[1], item[0]))
    )


def running(points: Sequence[PointState], now: float) -> list[Running]:
    """Return the figures of the trials that run."""
    return [
        point.trial.running(point.label, now)
        for point in points
        if point.state == "running" and point.spec
    ]


def waiting(points: Sequence[PointState], now: float) -> list[Waiting]:
    """Return the queued trials, and those not started whose spec is known."""
    queued = [_queued(point, now) for point in points if point.state == "queued"]
    not_started = [point for point in points if point.state == "not started" and point.spec]
    return queued + [Waiting(label=point.label, queued=False) for point in not_started]


def _queued(point: PointState, now: float) -> Waiting:
    written = point.trial.written
    return Waiting(
        label=point.label,
        queued=True,
        since=None if written is None else max(now - written, 0.0),
        job_state=" ".join(filter(None, [point.trial.job, point.job_state])),
    )


def failures(points: Sequence[PointState], now: float) -> list[Failure]:
    """Attempts that did not end well, the newest first; before them those without a record."""
    unrecorded = [
        Failure(
            label=p.label,
            outcome=p.state,
            cause=UNWRITTEN,
            log=_log(p, SweepFolder(p.sweep.folder).run(p.name).logs),
            ago=None,
        )
        for p in points
        if p.state not in (*LIVE, "not started", "ended")
    ]
    ended = [(end, log, p) for p in points for end, log in _ends(p) if _failed(end)]
    ended.sort(key=lambda end: -(end[0].ended or 0.0))
    return unrecorded + [
        Failure(
            label=point.label + _attempt(end, point),
            outcome=end.outcome,
            cause=end.cause or "",
            log=_log(point, log),
            ago=None if end.ended is None else max(now - end.ended, 0.0),
        )
        for end, log, point in ended
    ]


def _attempt(end: RunRecord, point: PointState) -> str:
    """Number of the attempt in brackets; "" for the latest one."""
    return "" if end is point.record else f" (attempt {end.attempt})"


def _log(point: PointState, logs: Path) -> str:
    """Path of a folder of logs, relative to the folder that is shown."""
    return str(logs.relative_to(point.sweep.root))


def _ends(point: PointState) -> Iterator[tuple[RunRecord, Path]]:
    return point.sweep.ends(point.name, point.record)


def _failed(end: RunRecord) -> bool:
    return end.outcome not in (*NEVER_RAN, "ok")


def goal(points: Sequence[PointState]) -> str:
    """Column of which the best is sought; speed where sweeps seek different ones."""
    goals = {point.sweep.goal for point in points}
    return goals.pop() if len(goals) == 1 else SPEED


def best(points: Sequence[PointState]) -> tuple[str, float] | None:
    """Label of the best point that ran well, and its value of the `goal`."""
    sought = goal(points)
    sign = -1 if GOALS[sought].better == "less" else 1
    values = [
        (point.label, value)
        for point in points
        if point.record and point.record.outcome == "ok"
        if (value := getattr(point.record.figures, sought)) is not None
    ]
    return max(values, key=lambda labelled: sign * labelled[1], default=None)


def budget(points: Sequence[PointState], now: float) -> Budget:
    """Spending so far, and the limits where there is one sweep; several have their own."""
    ends = [end for point in points for end, _ in _ends(point)]
    gpu_seconds = sum(end.spec.cluster.gpus * (end.seconds or 0.0) for end in ends)
    for point in points:
        if point.state == "running" and point.spec:
            gpu_seconds += point.spec.cluster.gpus * point.trial.elapsed(now)
    tried = [p.record for p in points if p.record and p.record.outcome not in NEVER_RAN]
    sweeps = list({id(point.sweep): point.sweep for point in points}.values())
    limits = sweeps[0].limits if len(sweeps) == 1 else None
    return Budget(
        gpu_hours=gpu_seconds / 3600,
        max_gpu_hours=limits.gpu_hours if limits else None,
        trials=len(tried),
        max_trials=limits.trials if limits else None,
        seconds_left=_seconds_left(points, tried, now) if limits else None,
        may_stop=limits is None or limits.may_stop,
    )


def _seconds_left(
    points: Sequence[PointState], tried: Sequence[RunRecord], now: float
) -> float | None:
    """Seconds that the open points take, as many at once as run now, each as long as the mean."""
    durations = [end.seconds for end in tried if end.seconds]
    running_now = [point for point in points if point.state == "running"]
    if not durations or not running_now:
        return None
    mean = sum(durations) / len(durations)
    waits = sum(point.state in ("queued", "not started") for point in points)
    remainders = sum(max(mean - point.trial.elapsed(now), 0.0) for point in running_now)
    return (mean * waits + remainders) / len(running_now)


def training(points: Sequence[PointState], now: float) -> Training | None:
    """Progress of a run, by itself or in stages; None where its specs cannot be read."""
    stages = [point for point in points if point.spec]
    if not stages:
        return None
    current = _current(stages)
    spec, last = current.spec, stages[-1].spec
    assert spec and last
    step = _step(current, spec)
    tokens, total_tokens = spec.tokens_through(step), last.tokens_through(last.last)
    runs = current.state == "running" and current.name in current.sweep.trials
    speed = current.trial.speed() if runs else None
    checkpoint = _checkpoint(stages)
    written = checkpoint[1] if checkpoint else None
    stage = spec.stage
    number = f"{stage.number}/{len(points)} " if stage and len(points) > 1 else ""
    return Training(
        stage=f"{number}{stage.name}" if stage else "",
        step=step,
        steps=last.last,
        tokens=tokens,
        total_tokens=total_tokens,
        seconds_left=(total_tokens - tokens) / speed if speed else None,
        checkpoint=checkpoint[0] if checkpoint else None,
        checkpoint_ago=None if written is None else max(now - written, 0.0),
    )


def _current(points: Sequence[PointState]) -> PointState:
    """The stage that runs, else the first one that is not done."""
    candidates = [point for point in points if point.state == "running"]
    candidates += [point for point in points if not point.record or point.record.outcome != "ok"]
    return [*candidates, points[-1]][0]


def _step(point: PointState, spec: RunSpec) -> int:
    """The last step that is done, as far as it is known."""
    if point.record:
        return spec.first + (point.record.figures.steps or 0)
    trial = point.sweep.trials.get(point.name)
    if trial and trial.steps:
        return trial.steps[-1].step
    checkpoint = _checkpoint([point])
    return checkpoint[0] if checkpoint else spec.first


def _checkpoint(points: Sequence[PointState]) -> tuple[int, float | None] | None:
    """Step and time of the newest checkpoint of these stages, which are in their order."""
    trials = [trial for p in reversed(points) if (trial := p.sweep.trials.get(p.name))]
    for trial in trials:
        with suppress(OSError):
            if checkpoint := trial.newest_checkpoint():
                return checkpoint
    return None
