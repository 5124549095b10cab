"""The timed all-reduces: their figures, their limit, and wrong sums."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch.distributed as dist

from launcher.schedulers.options import Checks
from launcher.workers.errors import LinkError
from launcher.workers.process.linkcheck import LinkCheck
from tests import limits
from tests.launcher.workers import ranks


def test_the_link_check_alone() -> None:
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    env["MASTER_PORT"] = str(ranks.free_port())
    words = [sys.executable, "-m", "launcher.workers.process.linkcheck", "--mib", "4"]

    def start(rank: int, *more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*words, *more],
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    started = [start(0), start(1)]
    outputs = [process.communicate(timeout=limits.COMMAND) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    link = json.loads(outputs[0][0])
    assert link["mib"] == 4 and outputs[1][0] == ""
    assert link["gb_s"] == pytest.approx(4 * 2**20 / link["seconds"] / 1e9)
    alone = start(0, "--seconds", "1")  # its peer never comes
    _, log = alone.communicate(timeout=limits.COMMAND)
    assert alone.returncode == 1
    assert "LinkError: all-reduce of 4 MiB over 2 ranks not finished within 1 s\n" in log


def test_speed_is_the_median_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 90.0, *(at for n in range(5) for at in (100.0 * n, 100.0 * n + n + 1))])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda data: data.fill_(2.0))
    link = LinkCheck(3, 60).measure()
    assert (link.mib, link.seconds) == (3, 3.0)
    assert link.gb_s == pytest.approx(3 * 2**20 / 3 / 1e9)


@pytest.mark.parametrize(
    ("checks", "cards", "mib"),
    [(Checks(), 8, 512), (Checks(), 0, 16), (Checks(allreduce_mib=4), 8, 4)],
)
def test_size_is_that_of_the_links(checks: Checks, cards: int, mib: int) -> None:
    assert checks.allreduce_size(cards) == mib


def test_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(dist, "all_reduce", lambda data: data[:8].fill_(3.0))
    with pytest.raises(LinkError, match="1 MiB over 3 ranks: 262136 of 262144 sums are wrong"):
        LinkCheck(1, 60).measure()
