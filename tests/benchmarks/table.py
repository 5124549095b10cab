"""The table of many runs: from cold, from what was kept of them, and after one new run.

    python -m tests.benchmarks.table                     # 10,000 folders of 1,000 steps: 4 GB
    python -m tests.benchmarks.table --folders 1000      # a tenth of it

The folders are made by hand, as a run leaves them, each with other figures, and there is no
records.jsonl: nothing but the folders knows anything.
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from launcher.results.run_folder import RunFolder, Status
from launcher.spec.run import RunSpec
from tests.conftest import spec

LINE = (
    '{"step": %d, "tokens": %d, "loss": %.15f, "grad_norm": %.15f, "step_ms": %.12f,'
    ' "tokens_per_s": %.12f, "tflops_per_gpu": %.17f, "mem_min_gib": %.15f, "mem_max_gib": %.15f,'
    ' "mem_allocated_min_gib": null, "mem_allocated_max_gib": null, "power_min_w": null,'
    ' "power_max_w": null, "stage": null, "lr": %.17f, "samples": "%016x", "attempt": 1,'
    ' "action": null}\n'
)


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(dir=options.below))
    try:
        began = time.perf_counter()
        for number in range(options.folders):
            make(folder, number, options.steps)
        size = sum(path.stat().st_size for path in folder.glob("*/metrics.jsonl"))
        print(
            f"{options.folders} folders, {size / 1e9:.2f} GB of metrics, made in"
            f" {time.perf_counter() - began:.0f} s"
        )
        cold = _table(folder, "from cold")
        _table(folder, "the second time", cold)
        make(folder, options.folders, options.steps)
        _table(folder, "after one new run", cold)
    finally:
        shutil.rmtree(folder)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--below", help="a folder to make them in")
    return parser.parse_args()


def make(folder: Path, number: int, steps: int) -> None:
    """A run's folder, as it is once it has ended."""
    spec = _spec(number)
    run = RunFolder(folder / spec.name)
    run.create(spec)
    run.write_status(
        Status(state="ended", exit_codes=(0, 0), started=1.0, ended=2.0 + number, host="node")
    )
    run.write_result({"memory_kind": "rss"})
    noise = random.Random(number)
    usual = 200 + number / 100
    text = []
    for step in range(1, steps + 1):
        ms = usual * noise.gauss(1, 0.02)
        text.append(
            LINE
            % (
                step,
                step * 1536,
                7 - step / 400,
                noise.random(),
                ms,
                1.5e6 / ms,
                3.2 / ms,
                0.5,
                0.55,
                1e-3,
                number * steps + step,
            )
        )
    run.metrics.write_text("".join(text))
    (run.logs / "rank0.txt").write_text("process\n")


def _spec(number: int) -> RunSpec:
    base = spec()
    layout = replace(base.layout, micro_batch=1 + number)
    return replace(base, layout=layout, train=replace(base.train, steps=1000))


def _table(folder: Path, what: str, cold: float | None = None) -> float:
    """Run the command, and say what it took."""
    command = "import sys; from launcher.cli import main; sys.exit(main())"
    earlier = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    began = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", command, "table", str(folder)],
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
    )
    took = time.perf_counter() - began
    peak = max(earlier, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 2**20
    share = "" if cold is None else f", 1/{cold / took:.0f} of it"
    print(
        f"{what}: {took:.2f} s{share}, {peak:.2f} GiB at the most in one process,"
        f" {len(process.stdout.splitlines())} lines"
    )
    return took


if __name__ == "__main__":
    sys.exit(main())
