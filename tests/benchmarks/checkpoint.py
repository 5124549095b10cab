"""Copying, hashing and writing of one rank's checkpoint: each alone, and all together.

    python -m tests.benchmarks.checkpoint [--mib N] [--copy-mib-s N] [--write-mib-s N]

A card and a file system are stubs that take the time that their rates say; SHA-256 and the rest are
real. Target: all together take at most 1.2 times as long as the slowest alone.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from launcher.workers.checkpoints.tensorfile import CHUNK, HashedFile

TARGET = 1.2
MIB = 2**20


class SlowFile:
    """A file on a file system of a rate."""

    def __init__(self, file: Any, rate: float) -> None:
        self._file, self._rate = file, rate

    def write(self, view: memoryview) -> int:
        """Write, and take as long as the rate says."""
        began = time.perf_counter()
        written: int = self._file.write(view)
        time.sleep(max(view.nbytes / self._rate - (time.perf_counter() - began), 0))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--copy-mib-s", type=float, default=1000.0, help="from the card")
    parser.add_argument("--write-mib-s", type=float, default=600.0, help="of the file system")
    options = parser.parse_args()
    size, copy_rate = options.mib * MIB, options.copy_mib_s * MIB
    write_rate = options.write_mib_s * MIB
    chunk = torch.zeros(CHUNK // 4)
    count = size // CHUNK

    def copied() -> Any:
        time.sleep(CHUNK / copy_rate)
        return chunk.numpy()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        alone = {
            "copy": seconds(lambda: [copied() for _ in range(count)]),
            "hash": seconds(lambda: hashed(chunk.numpy(), count)),
            "write": seconds(lambda: written(path, chunk.numpy(), count, write_rate)),
        }
        together = seconds(lambda: saved(path, copied, count, write_rate))
    for name, took in [*alone.items(), ("together", together)]:
        print(f"{name:9} {took:6.2f} s  {options.mib / took:7.0f} MiB/s")
    ratio = together / max(alone.values())
    print(f"together / slowest: {ratio:.3f} (target {TARGET}); one after the other"
          f" {sum(alone.values()) / max(alone.values()):.3f}")  # fmt: skip
    return int(ratio > TARGET)


def seconds(work: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def hashed(data: Any, count: int) -> None:
    """Hash as much as is saved."""
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(memoryview(data).cast("B"))
    digest.hexdigest()


def written(path: Path, data: Any, count: int, rate: float) -> None:
    """Write as much as is saved."""
    with path.open("wb") as file:
        slow = SlowFile(file, rate)
        for _ in range(count):
            slow.write(memoryview(data).cast("B"))


def saved(path: Path, copied: Callable[[], Any], count: int, rate: float) -> None:
    """Save as a rank does."""
    file = HashedFile(path)
    file._file = SlowFile(file._file, rate)  # type: ignore[assignment]
    for _ in range(count):
        file.write(copied())
    file.finish()
    file.close()


if __name__ == "__main__":
    sys.exit(main())
