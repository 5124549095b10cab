"""`launch plan` on a grid of more than 100,000 points, on one core: seconds and resident memory.

Beside it, in the same run, the same grid written down and read back as CSV by pandas: what any
tool would need that only copies such a table.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

SECONDS, MIB = 10.0, 1024.0
GRID = """\
name: large
axes:
  backend: [megatron, deepspeed]
  layout:
    tp: [1, 2, 4, 8]
    pp: [1, 2, 4]
    zero: [0, 1]
    micro_batch: [1, 2, 4, 8]
    recompute: [none, selective, full]
  model: {sequence: [2048, 4096, 8192]}
  train: {global_batch: [256, 512, 768, 1024, 1280, 1536, 1792, 2048, 3072, 4096]}
  cluster: {nodes: [1, 2, 4, 8, 16, 32]}
"""
WORDS = ["plan", "sweep=large", "model=llama_7b", "train=pretrain", "cluster=h100"]


def main() -> int:
    """Print the figures; 1 where one is above its limit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "sweep").mkdir()
        (place / "sweep" / "large.yaml").write_text(GRID)
        table = place / "plan.csv"
        seconds, mib = planned([*WORDS, "--config-dir", folder, "-o", str(table)])
        with table.open() as file:
            plans = [row["plan"] for row in csv.DictReader(file)]
        began = time.perf_counter()
        pd.read_csv(table).to_csv(place / "copy.csv", index=False)
        copied = time.perf_counter() - began
    counts = ", ".join(f"{plans.count(kind):,} {kind}" for kind in sorted(set(plans)))
    print(f"{len(plans):,} points: {counts}")
    checks = [
        (seconds <= SECONDS * len(plans) / 1e5, f"{seconds:.1f} s on one core"
         f" ({1e5 * seconds / len(plans):.1f} s per 100,000 points, limit {SECONDS:g})"),
        (mib <= MIB, f"{mib:.0f} MiB (limit {MIB:g})"),
        (True, f"{seconds / copied:.1f} times as long as reading and writing its table"),
    ]  # fmt: skip
    for good, line in checks:
        print("yes" if good else "NO ", line)
    return 0 if all(good for good, _ in checks) else 1


def planned(words: list[str]) -> tuple[float, float]:
    """Seconds and peak resident MiB of the command, on one core."""
    code = "import sys; from launcher.cli import main; sys.exit(main())"
    began = time.perf_counter()
    process = psutil.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
    process.cpu_affinity([min(os.sched_getaffinity(0))])
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.05)
    if process.wait():
        raise SystemExit(f"launch plan ended with {process.returncode}")
    return time.perf_counter() - began, peak / 2**20


if __name__ == "__main__":
    sys.exit(main())
