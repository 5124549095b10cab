"""Time of a completion, beside that of a Python that does nothing, alternately.

python -m tests.benchmarks.completion
python -m tests.benchmarks.completion --busy 4   # beside as many processes that compute
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from tests.conftest import ROOT, command

LINES = ["launch ", "launch pla", "launch layout.", "launch plan model=", "launch table --sort "]
MEASUREMENTS = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=0, metavar="N")
    options = parser.parse_args()
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)
    ]
    try:
        nothing: list[float] = []
        completions: dict[str, list[float]] = {line: [] for line in LINES}
        for _ in range(MEASUREMENTS):
            nothing.append(_milliseconds([sys.executable, "-c", "pass"]))
            for line, times in completions.items():
                text = line.rpartition(" ")[2].rpartition("=")[2]
                times.append(_milliseconds(command(["--complete", "bash", text, line])))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    base = statistics.median(nothing)
    print(f"python -c pass: {base:.0f} ms, at most {max(nothing):.0f}")
    for line, times in completions.items():
        ratio = statistics.median(times) / base
        print(
            f"{line!r}: {statistics.median(times):.0f} ms, at most {max(times):.0f}; {ratio:.2f} of it"
        )
    return 0


def _milliseconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
