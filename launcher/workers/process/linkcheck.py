"""Timed all-reduces between the ranks, before anything is built on their connection.

``python -m launcher.workers.process.linkcheck --mib 16 --seconds 60`` does nothing else, and
prints the result.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from launcher.workers.errors import LinkError
from launcher.workers.model import platform

MIB = 1 << 20
REPEATS = 5
"""All-reduces that are timed, after one that sets up the connections."""


@dataclass(frozen=True, slots=True)
class Link:
    """Measured speed of the connection between the ranks."""

    mib: int
    seconds: float
    """Median of the all-reduces."""
    gb_s: float
    """Bus bandwidth as NCCL's tests count it: bytes that each rank sends, and as many received."""


@dataclass(frozen=True, slots=True)
class LinkCheck:
    """Size of each all-reduce, MiB, and limit for all and what comes before, seconds."""

    mib: int
    seconds: float

    @contextmanager
    def limit(self) -> Iterator[None]:
        """End this rank if the block takes too long. It may be stuck in C: no exception helps."""
        timer = threading.Timer(self.seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def measure(self) -> Link:
        """Sum ones over all ranks, once to warm up, then `REPEATS` times; every sum is checked.

        Raises:
            LinkError: a sum is wrong.
        """
        ranks, device = dist.get_world_size(), platform.device()
        data = torch.empty(self.mib * MIB // 4, dtype=torch.float32, device=device)
        timed = [self._sum_ones(data, ranks) for _ in range(1 + REPEATS)][1:]
        del data
        if device.type == "cuda":  # it is not to count as memory that training reserved
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = statistics.median(timed)
        # A ring all-reduce: each rank sends 2 (n - 1) / n of the data.
        moved = 2 * (ranks - 1) / ranks * self.mib * MIB
        return Link(self.mib, seconds, moved / seconds / 1e9)

    def _sum_ones(self, data: torch.Tensor, ranks: int) -> float:
        """Return the seconds of one all-reduce."""
        data.fill_(1.0)
        _synchronize(data.device)
        began = time.perf_counter()
        dist.all_reduce(data)
        _synchronize(data.device)
        seconds = time.perf_counter() - began
        wrong = int((data != ranks).sum())
        if wrong:
            raise LinkError(
                f"all-reduce of {self.mib} MiB over {ranks} ranks:"
                f" {wrong} of {data.numel()} sums are wrong"
            )
        return seconds

    def _give_up(self) -> None:
        ranks = os.environ["WORLD_SIZE"]
        print(
            f"LinkError: all-reduce of {self.mib} MiB over {ranks} ranks not finished within"
            f" {self.seconds:g} s",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


def requested() -> LinkCheck | None:
    """Return the check that MEGALAUNCH_ALLREDUCE="<MiB>:<seconds>" requests; None for one rank."""
    words = os.environ.get("MEGALAUNCH_ALLREDUCE")
    if not words or int(os.environ["WORLD_SIZE"]) == 1:
        return None
    mib, _, seconds = words.partition(":")
    return LinkCheck(int(mib), float(seconds))


def main() -> None:
    """Connect as the environment says, check, and print one line on rank 0."""
    parser = argparse.ArgumentParser(prog="python -m launcher.workers.process.linkcheck")
    parser.add_argument("--mib", type=int, default=16, help="of float32")
    parser.add_argument("--seconds", type=float, default=60.0, help="until it counts as failed")
    options = parser.parse_args()
    check = LinkCheck(options.mib, options.seconds)
    with check.limit():
        platform.join(timedelta(seconds=options.seconds))
        link = check.measure()
    if dist.get_rank() == 0:
        print(json.dumps(asdict(link)))
    dist.destroy_process_group()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
