"""Cost of the spike guard in a step, and how well its thresholds carry over to other runs.

    python -m tests.benchmarks.spikes [DIR]

Microseconds of a step with a loss and a norm, calm and in a spike, in turns with reading one line
of metrics (json.loads), which is the yardstick that hits the same machine. Exit code 1 above
`LIMIT`.

With a folder of series, spike_labels.csv and clean_runs.txt it also chooses the thresholds anew
without one run, or without one family of runs, and counts what they do on what was left out.
"""

import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.alarms import SpikeVerdict, judge, read_labels
from analysis.loading.series import read
from launcher.spec.spike_guard import SpikeGuard
from launcher.spikes.detector import Detector
from launcher.spikes.ladder import Ladder

LIMIT = 50.0
"""Microseconds a step."""
STEPS, TURNS = 2000, 9
LINE = json.dumps(
    {
        "step": 12345,
        "tokens": 6321000,
        "loss": 2.3456789,
        "grad_norm": 0.2345,
        "lr": 1.2e-4,
        "step_ms": 812.3,
        "tokens_per_s": 630123.0,
        "stage": None,
    }
)
GRID = [
    SpikeGuard(window=window, sigmas=sigmas, loss_nats=nats)
    for window, sigmas, nats in itertools.product(
        (32, 64, 128), (5.0, 6.0, 8.0, 10.0, 12.0), (0.2, 0.25, 0.3, 0.4)
    )
]


def main() -> int:
    """Print the figures; 1 where a step costs too much."""
    calm, spiky, line = (statistics.median(times) for times in zip(*_turns(), strict=True))
    print(
        f"a calm step {calm:.1f} us, a step at the edge of a spike {spiky:.1f} us (limit {LIMIT:g}):"
        f" {calm / line:.1f} and {spiky / line:.1f} times reading a line of metrics"
    )
    if len(sys.argv) > 1:
        leave_out(Path(sys.argv[1]))
    return int(max(calm, spiky) > LIMIT)


def _turns() -> Iterator[tuple[float, float, float]]:
    noise = random.Random(0)
    calm = [(2.3 + noise.gauss(0, 0.02), 0.25 + noise.uniform(-0.05, 0.05)) for _ in range(STEPS)]
    # Every value is above the floor and below the noise's limit: the noise is looked at each time.
    wild = [
        (2.3 + noise.choice((-1, 1)), 0.25 * 6.0 ** noise.choice((-1, 1))) for _ in range(STEPS)
    ]
    for _ in range(TURNS):
        yield _microseconds(calm), _microseconds(wild), _reading()


def _microseconds(values: Sequence[tuple[float, float]]) -> float:
    detector, ladder = Detector(SpikeGuard()), Ladder(SpikeGuard())
    began = time.perf_counter()
    for step, (loss, norm) in enumerate(values):
        ladder.decide(detector.update(step, loss, norm))
    return (time.perf_counter() - began) / len(values) * 1e6


def _reading() -> float:
    began = time.perf_counter()
    for _ in range(STEPS):
        json.loads(LINE)
    return (time.perf_counter() - began) / STEPS * 1e6


def leave_out(folder: Path) -> None:
    """Print what thresholds do on runs they were chosen without."""
    labels = read_labels(folder / "spike_labels.csv")
    names = [*labels, *(folder / "clean_runs.txt").read_text().split()]
    runs = [series for name in names for series in read(folder / name, name)]
    verdicts = [[judge(run, guard, labels.get(run.name, [])) for run in runs] for guard in GRID]
    for what, key in (("run", str), ("family", _family)):
        folds = sorted({key(name) for name in names})
        parts = [_fold(verdicts, [key(name) == fold for name in names]) for fold in folds]
        print(f"thresholds chosen without one {what}, {len(folds)} times:")
        for fold, (guard, unseen) in zip(folds, parts, strict=True):
            if what == "family" or any(v.labels for v in unseen) or _alarms(unseen):
                print(
                    f"  {fold[:60]}: {_text(unseen)}; window {guard.window}, sigmas"
                    f" {guard.sigmas:g}, nats {guard.loss_nats:g}"
                )
        print(f"  together: {_text([verdict for _, unseen in parts for verdict in unseen])}")


def _family(name: str) -> str:
    """Model and size: what comes before the version of the software."""
    parts = name.split("__")
    return parts[1].removesuffix("_gb200").removesuffix("_sm").removesuffix("_release")


def _fold(
    verdicts: Sequence[Sequence[SpikeVerdict]], excluded: Sequence[bool]
) -> tuple[SpikeGuard, list[SpikeVerdict]]:
    """The thresholds chosen on all other runs, and the verdicts on those that are left out.

    No alarm on a clean run comes first, then events found; of those that are equal the middle one
    of the grid, so that it is not at the edge of what works. Other alarms of runs with events do
    not count: they are jumps as well, a little smaller than what was labelled.
    """

    def score(column: Sequence[SpikeVerdict]) -> tuple[int, int]:
        fitted = [v for v, skip in zip(column, excluded, strict=True) if not skip]
        return _alarms([v for v in fitted if not v.labels]), -sum(v.found for v in fitted)

    best = min(score(column) for column in verdicts)
    equal = [i for i, column in enumerate(verdicts) if score(column) == best]
    chosen = equal[len(equal) // 2]
    unseen = [v for v, skip in zip(verdicts[chosen], excluded, strict=True) if skip]
    return GRID[chosen], unseen


def _alarms(verdicts: Sequence[SpikeVerdict]) -> int:
    return sum(verdict.false_alarms for verdict in verdicts)


def _text(verdicts: Sequence[SpikeVerdict]) -> str:
    labelled = sum(len(verdict.labels or ()) for verdict in verdicts)
    detected = sum(verdict.found for verdict in verdicts)
    clean = [verdict for verdict in verdicts if not verdict.labels]
    return (
        f"{detected}/{labelled} found, {_alarms(clean)} alarms on {len(clean)} clean runs,"
        f" {_alarms(verdicts) - _alarms(clean)} others"
    )


if __name__ == "__main__":
    sys.exit(main())
