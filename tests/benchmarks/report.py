"""`launch report` of 2,000 trials on one core: seconds and megabytes.

Beside it, in the same run, what a reader of the same folders takes that only makes the table: the
rest is the charts and the page.

python -m tests.benchmarks.report      # from the root of the checkout
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.analysis.made import sweep

TRIALS = 2000
SECONDS, MB = 20.0, 15.0


def main() -> int:
    """Print the figures; 1 where one is above its limit."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sweep(place / "sweep", TRIALS)
        page = place / "report.html"
        first = timed("report", str(place / "sweep"), "-o", str(page))
        second = timed("report", str(place / "sweep"), "-o", str(page))
        table = timed("table", str(place / "sweep"), "-o", str(place / "table.csv"))
        size = page.stat().st_size / 1e6
    print(
        f"{TRIALS:,} trials: {first:.1f} s the first time, {second:.1f} s the next"
        f" ({second / table:.1f} times what the table alone takes), {size:.1f} MB"
    )
    return 0 if max(first, second) < SECONDS and size < MB else 1


def timed(*words: str) -> float:
    """Seconds of a command of this checkout's."""
    code = "import sys; from launcher.cli import main; sys.exit(main())"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
