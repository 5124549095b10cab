"""Run folders read by several processes: ``python -m analysis.loading.parallel`` is one of them.

Not by multiprocessing, which would start a user's script once more for each of its processes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from analysis.loading.rows import Row, of_folder

ALONE = 100
"""Folders that one process has read before another has started."""

MAX_PROCESSES = 8


def read(paths: Sequence[Path]) -> list[Row]:
    """The rows of folders, in their order."""
    workers = min(len(os.sched_getaffinity(0)), MAX_PROCESSES, len(paths) // ALONE)
    if workers < 2:
        return [of_folder(path) for path in paths]
    shares = [paths[number::workers] for number in range(workers)]
    processes = [_start(share) for share in shares]
    rows: list[Row] = [{}] * len(paths)
    for number, process in enumerate(processes):
        output, _ = process.communicate()
        succeeded = process.returncode == 0  # it may have been killed, out of memory
        share = json.loads(output) if succeeded else map(of_folder, shares[number])
        rows[number::workers] = share
    return rows


def _start(paths: Sequence[Path]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "analysis.loading.parallel"],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as stdin:
        json.dump([str(path) for path in paths], stdin)
    process.stdin = None  # nothing more for `communicate` to write
    return process


if __name__ == "__main__":
    json.dump([of_folder(Path(path)) for path in json.load(sys.stdin)], sys.stdout)
