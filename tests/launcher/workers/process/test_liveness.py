"""What ranks tell of themselves and of each other, and the check of what is between them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from launcher.decode import encode
from launcher.files import write_json
from launcher.results.run_folder import Beat, RunFolder
from launcher.workers.errors import LinkError
from launcher.workers.model import platform
from launcher.workers.process.heartbeat import Heartbeat
from launcher.workers.process.linkcheck import LinkCheck
from tests.launcher.workers import ranks

HERE = socket.gethostname()
ELSEWHERE = "elsewhere"


@pytest.mark.parametrize(
    ("rank", "beats", "asked"),
    [
        (0, {1: (30, HERE, 2), 2: (0, HERE, 2), 3: (9, HERE, 2)}, [1001, 1003]),
        (2, {0: (30, HERE, 2), 1: (0, HERE, 2)}, []),  # rank 1 asks
        (2, {0: (30, HERE, 2), 1: (0, ELSEWHERE, 2)}, [1000]),
        (0, {1: (30, ELSEWHERE, 2), 2: (30, HERE, 1)}, []),  # another host, another attempt
        (0, {}, []),
    ],
)  # fmt: skip
def test_who_asks_for_whose_stacks(
    rank: int, beats: dict[int, tuple[float, str, int]], asked: list[int],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of beats every 4 s; each has an age, a host and an attempt."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("MEGALAUNCH_ATTEMPT", "2")
    (tmp_path / "heartbeat").mkdir()
    for peer, (age, host, attempt) in beats.items():
        beat = Beat(attempt=attempt, step=5, host=host, pid=1000 + peer, time=time.time() - age)
        write_json(tmp_path / "heartbeat" / str(peer), encode(beat), durable=False)
    (tmp_path / "heartbeat" / "7").write_text("")  # lost its content with the machine
    assert Heartbeat(RunFolder(tmp_path), 16).silent_peers() == asked


def test_py_spy_is_asked_where_it_is(tmp_path: Path) -> None:
    tool = tmp_path / "py-spy"
    tool.write_text('#!/bin/sh\necho "stacks: $*"\n[ "$4" != 8 ] || sleep 60\n')
    tool.chmod(0o755)
    code = (
        "from launcher.workers.process import stacks, watchdog\n"
        "stacks.SECONDS = 1.0\n"
        "watchdog.GRACE_SECONDS = 1.5\n"
        "watchdog.Watchdog(0.05, lambda: [7, 8])\n"
        "import time; time.sleep(60)\n"
    )
    rank = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    _, said = rank.communicate(timeout=30)
    assert rank.returncode == 1
    assert said.index("HangError") < said.index("stacks: dump --nonblocking --pid")
    assert f"--pid {rank.pid}\nstacks: dump --nonblocking --pid 7\n" in said
    assert "--pid 8\n" not in said, "it had not ended in time"


def test_the_link_check_alone() -> None:
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    env["MASTER_PORT"] = str(ranks.free_port())
    words = [sys.executable, "-m", "launcher.workers.process.linkcheck", "--mib", "4"]

    def start(rank: int, *more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*words, *more], env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    started = [start(0), start(1)]
    out = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], out
    link = json.loads(out[0][0])
    assert link["mib"] == 4 and out[1][0] == ""
    assert link["gb_s"] == pytest.approx(4 * 2**20 / link["seconds"] / 1e9)
    alone = start(0, "--seconds", "1")  # its peer never comes
    _, said = alone.communicate(timeout=60)
    assert alone.returncode == 1
    assert "LinkError: all-reduce of 4 MiB over 2 ranks not finished within 1 s\n" in said


def test_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(dist, "all_reduce", lambda data: data[:8].fill_(3.0))
    with pytest.raises(LinkError, match="1 MiB over 3 ranks: 262136 of 262144 sums are wrong"):
        LinkCheck(1, 60).measure()


@pytest.mark.parametrize(
    ("cards", "env", "index"),
    [
        (1, {"SLURM_LOCALID": "3"}, 0),
        (4, {"SLURM_LOCALID": "3"}, 3),
        (1, {}, 3),  # no such card: an error that the caller words
        (1, {"SLURM_LOCALID": "0"}, 3),  # a launcher that runs in a batch script
    ],
)
def test_a_card_of_its_own(
    cards: int, env: dict[str, str], index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_LOCALID", raising=False)
    for name, value in {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4", **env}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    assert platform.card() == index
    assert os.environ["LOCAL_RANK"] == str(index), "DeepSpeed reads it"
