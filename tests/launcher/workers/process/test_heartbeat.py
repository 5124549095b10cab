"""Beats of ranks, and who dumps the stacks of silent ones."""

import socket
import time
from pathlib import Path

import pytest

from launcher.decode import encode
from launcher.files import write_json
from launcher.results.run_folder import Beat, RunFolder
from launcher.workers.process.heartbeat import Heartbeat

HERE = socket.gethostname()
ELSEWHERE = "elsewhere"


@pytest.mark.parametrize(
    ("rank", "beats", "silent"),
    [
        (0, {1: (30, HERE, 2), 2: (0, HERE, 2), 3: (9, HERE, 2)}, [1001, 1003]),
        (2, {0: (30, HERE, 2), 1: (0, HERE, 2)}, []),  # rank 1 asks
        (2, {0: (30, HERE, 2), 1: (0, ELSEWHERE, 2)}, [1000]),
        (0, {1: (30, ELSEWHERE, 2), 2: (30, HERE, 1)}, []),  # another host, another attempt
        (0, {}, []),
    ],
)  # fmt: skip
def test_silent_peers(
    rank: int,
    beats: dict[int, tuple[float, str, int]],
    silent: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beats come every 4 s; each has an age, a host and an attempt."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("MEGALAUNCH_ATTEMPT", "2")
    (tmp_path / "heartbeat").mkdir()
    for peer, (age, host, attempt) in beats.items():
        beat = Beat(attempt=attempt, step=5, host=host, pid=1000 + peer, time=time.time() - age)
        write_json(tmp_path / "heartbeat" / str(peer), encode(beat), durable=False)
    (tmp_path / "heartbeat" / "7").write_text("")  # lost its content with the machine
    assert Heartbeat(RunFolder(tmp_path), 16).silent_peers() == silent
