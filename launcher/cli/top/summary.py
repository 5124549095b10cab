"""What the points of the folders that are watched add up to."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.top.snapshot import Budget, Failure, Running, Training, Waiting
from launcher.cli.top.watched_sweep import Sweep
from launcher.cli.top.watched_trial import Trial
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import RunRecord
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec

LIVE = {"queued", "running"}
UNWRITTEN = "SLURM has ended it; the same command, or launch cancel, writes down how"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Where a point stands."""

    sweep: Sweep
    name: str
    label: str
    state: str
    """Of `top_sweep.State`, or how a batch system says that it ended where its folder does not."""
    record: RunRecord | None
    """How it ended, where its folder says so."""
    said: str
    """What the batch system says of it; "" where it was not asked."""

    @property
    def trial(self) -> Trial:
        """Its folder; it has one."""
        return self.sweep.trials[self.name]

    @property
    def spec(self) -> RunSpec | None:
        """What it is; None where nobody has written it down yet."""
        return self.sweep.spec(self.name)


def outcomes(points: Sequence[Point]) -> tuple[tuple[str, int], ...]:
    """How many ended in which way, ok first and the most frequent next."""
    open_ = {*LIVE, "not started"}
    ends = [p.record.outcome if p.record else p.state for p in points if p.state not in open_]
    return tuple(
        sorted(Counter(ends).items(), key=lambda item: (item[0] != "ok", -item[1], item[0]))
    )


def running(points: Sequence[Point], now: float) -> list[Running]:
    """Those that run."""
    found = [point for point in points if point.state == "running" and point.spec]
    return [point.trial.running(point.label, now) for point in found]


def waiting(points: Sequence[Point], now: float) -> list[Waiting]:
    """Those that do not run yet and of which more is known than their number."""
    queued = [_queued(point, now) for point in points if point.state == "queued"]
    others = [point for point in points if point.state == "not started" and point.spec]
    return queued + [Waiting(label=point.label, queued=False) for point in others]


def _queued(point: Point, now: float) -> Waiting:
    written = point.trial.written
    return Waiting(
        label=point.label,
        queued=True,
        since=None if written is None else max(now - written, 0.0),
        said=" ".join(filter(None, [point.trial.job, point.said])),
    )


def failures(points: Sequence[Point], now: float) -> list[Failure]:
    """Attempts that did not end well, the newest first; those with no end of their own before."""
    lost = [
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
    ended.sort(key=lambda one: -(one[0].ended or 0.0))
    return lost + [
        Failure(
            label=point.label + _attempt(end, point),
            outcome=end.outcome,
            cause=end.cause or "",
            log=_log(point, log),
            ago=None if end.ended is None else max(now - end.ended, 0.0),
        )
        for end, log, point in ended
    ]


def _attempt(end: RunRecord, point: Point) -> str:
    """Which attempt it was, where there was a later one."""
    return "" if end is point.record else f" (attempt {end.attempt})"


def _log(point: Point, logs: Path) -> str:
    """A folder of logs, relative to the folder that is shown."""
    return str(logs.relative_to(point.sweep.shown))


def _ends(point: Point) -> Iterator[tuple[RunRecord, Path]]:
    return point.sweep.ends(point.name, point.record)


def _failed(end: RunRecord) -> bool:
    return end.outcome not in (*NEVER_RAN, "ok")


def best(points: Sequence[Point]) -> tuple[str, float] | None:
    """Label and tokens per second of the fastest."""
    ends = [(point.label, point.record) for point in points if point.record]
    speeds = [
        (label, end.figures.tokens_per_s)
        for label, end in ends
        if end.outcome == "ok" and end.figures.tokens_per_s is not None
    ]
    return max(speeds, key=lambda one: one[1], default=None)


def budget(points: Sequence[Point], now: float) -> Budget:
    """What was spent, and what may be. Limits are those of one sweep; several have their own."""
    ends = [end for point in points for end, _ in _ends(point)]
    spent = sum(end.spec.cluster.gpus * (end.seconds or 0.0) for end in ends)
    for point in points:
        if point.state == "running" and point.spec:
            spent += point.spec.cluster.gpus * point.trial.elapsed(now)
    tried = [p.record for p in points if p.record and p.record.outcome not in NEVER_RAN]
    sweeps = list({id(point.sweep): point.sweep for point in points}.values())
    limits = sweeps[0].limits if len(sweeps) == 1 else None
    return Budget(
        gpu_hours=spent / 3600,
        most_gpu_hours=limits.gpu_hours if limits else None,
        trials=len(tried),
        most_trials=limits.trials if limits else None,
        left=_left(points, tried, now) if limits else None,
        may_stop=limits is None or limits.may_stop,
    )


def _left(points: Sequence[Point], tried: Sequence[RunRecord], now: float) -> float | None:
    """Seconds that the open points take, as many at once as run now, each as long as the others."""
    took = [end.seconds for end in tried if end.seconds]
    at_once = [point for point in points if point.state == "running"]
    if not took or not at_once:
        return None
    each = sum(took) / len(took)
    waits = sum(point.state in ("queued", "not started") for point in points)
    rest = sum(max(each - point.trial.elapsed(now), 0.0) for point in at_once)
    return (each * waits + rest) / len(at_once)


def training(points: Sequence[Point], now: float) -> Training | None:
    """How far a run is, by itself or in stages; None where its specs cannot be read."""
    known = [(point, spec) for point in points if (spec := point.spec)]
    if not known:
        return None
    at = _current([point for point, _ in known])
    spec, last = at.spec, known[-1][1]
    assert spec
    step = _step(at, spec)
    done, total = spec.tokens_through(step), last.tokens_through(last.last)
    speed = at.trial.speed() if at.state == "running" and at.name in at.sweep.trials else None
    checkpoint = _checkpoint([point for point, _ in known])
    written = checkpoint[1] if checkpoint else None
    stage = spec.stage
    number = f"{stage.number}/{len(points)} " if stage and len(points) > 1 else ""
    return Training(
        stage=f"{number}{stage.name}" if stage else "",
        step=step,
        steps=last.last,
        tokens=done,
        total_tokens=total,
        left=(total - done) / speed if speed else None,
        checkpoint=checkpoint[0] if checkpoint else None,
        checkpoint_ago=None if written is None else max(now - written, 0.0),
    )


def _current(points: Sequence[Point]) -> Point:
    """The stage that runs, else the first one that is not done."""
    first = [point for point in points if point.state == "running"]
    first += [point for point in points if not point.record or point.record.outcome != "ok"]
    return [*first, points[-1]][0]


def _step(point: Point, spec: RunSpec) -> int:
    """The last step that is done, as far as it is known."""
    if point.record:
        return spec.first + (point.record.figures.steps or 0)
    trial = point.sweep.trials.get(point.name)
    if trial and trial.steps:
        return trial.steps[-1].step
    checkpoint = _checkpoint([point])
    return checkpoint[0] if checkpoint else spec.first


def _checkpoint(points: Sequence[Point]) -> tuple[int, float | None] | None:
    """The newest one of these stages, which are in their order."""
    trials = [trial for p in reversed(points) if (trial := p.sweep.trials.get(p.name))]
    for trial in trials:
        with suppress(OSError):
            if found := trial.newest_checkpoint():
                return found
    return None
