"""Choice of a rank's card, and ranks that are early; the rest is tested by every run on the CPU."""

import os
import socket
import threading
from pathlib import Path

import pytest
import torch

from launcher.workers.model import platform
from tests import limits


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


def test_a_rank_that_is_early_waits_until_rank_0_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as first_rank:
        first_rank.bind(("127.0.0.1", 0))
        port = first_rank.getsockname()[1]
        place = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        for name, value in place.items():
            monkeypatch.setenv(name, str(value))
        looked = threading.Event()
        real = platform._is_listened_on

        def is_listened_on(port: int) -> bool:
            answer = real(port)
            looked.set()
            return answer

        monkeypatch.setattr(platform, "_is_listened_on", is_listened_on)
        monkeypatch.setattr(platform, "LISTEN_SECONDS", limits.EVENT)
        waiting = threading.Thread(target=platform._await_first_rank)
        waiting.start()
        assert looked.wait(limits.EVENT) and waiting.is_alive()
        first_rank.listen()
        waiting.join(limits.EVENT)
        assert not waiting.is_alive() and real(port)
        first_rank.setblocking(False)
        with pytest.raises(BlockingIOError):
            first_rank.accept()  # nobody has connected

    monkeypatch.setattr(platform, "_is_listened_on", None)  # none looks where it need not
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            platform._await_first_rank()
    monkeypatch.setattr(platform, "LISTENERS", (Path("/no/such/table"),))  # no Linux
    platform._await_first_rank()
