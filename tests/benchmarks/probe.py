"""Speed of a whole global batch, derived from trials with fewer micro batches, against measured.

    python -m tests.benchmarks.probe [--micro-batches N] [--steps N]

Every layout trains all its micro batches, then some of them; the ratio of the formulas
(`launcher.planner.probe`) turns the shorter step into the whole one. The order of the layouts by
either should be the same.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from launcher.backends import engine_traits
from launcher.planner import probe
from launcher.planner.constants import constants_of
from launcher.planner.points import Points
from launcher.spec.run import RunSpec
from tests.launcher.workers import ranks

LAYOUTS: dict[str, dict[str, Any]] = {
    "dp 2": {},
    "dp 2 zero 2, deepspeed": {"layout__zero": 2, "backend": "deepspeed"},
    "tp 2": {"layout__tp": 2},
    "pp 2": {"layout__pp": 2},
    "pp 2 vpp 2": {"layout__pp": 2, "layout__vpp": 2},
    "pp 2, deepspeed": {"layout__pp": 2, "layout__zero": 0, "backend": "deepspeed"},
}
UNTIMED = 2


def main() -> None:
    """Train, and print measured and derived steps of each layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micro-batches", type=int, default=48, help="of a whole step")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    print(f"{'layout':24} {'whole':>9} {'of 4':>9} {'of 8':>9}   (ms a step; derived, error)")
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in LAYOUTS.items():
            data_parallel = 1 if "tp 2" in name or "pp 2" in name else 2
            batch = 2 * options.micro_batches * data_parallel
            sizes = {"model__hidden": 128, "model__ffn": 512, "train__global_batch": batch}
            spec = ranks.spec(2, **{**sizes, "train__steps": options.steps, **changes})
            print(f"{name:24}", *report(spec, Path(folder) / name), flush=True)


def report(spec: RunSpec, folder: Path) -> list[str]:
    """Cells of a layout's row."""
    whole = step_ms(spec, folder / "whole")
    cells = [f"{whole:9.1f}"]
    for count in (4, 8):
        trial = replace(spec, train=replace(spec.train, probe_micro_batches=count))
        derived = step_ms(trial, folder / str(count)) * ratio(spec, count)
        cells.append(f"{derived:9.1f} ({derived / whole - 1:+.1%})")
    return cells


def step_ms(spec: RunSpec, folder: Path) -> float:
    """Median of the timed steps of one run."""
    run = ranks.train(spec, folder, folder.parent / "cache")
    assert set(run.codes) == {0}, run.log()
    return statistics.median(line["step_ms"] for line in run.steps[UNTIMED:])


def ratio(spec: RunSpec, count: int) -> float:
    """Seconds of a whole step / of one of so many micro batches, by the formulas."""
    points, constants = Points.from_specs([spec], engine_traits), constants_of(None).time
    whole = probe.step_seconds(points, constants, None)
    return float((whole / probe.step_seconds(points, constants, np.array([float(count)])))[0])


if __name__ == "__main__":
    main()
