"""Choice of a rank's card, and ranks that are early; the rest is tested by every run on the CPU."""

import os
import socket
import threading

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
        address, port = first_rank.getsockname()
        place = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        for name, value in {**place, "MASTER_ADDR": address, "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, str(value))
        refused = threading.Event()
        real = socket.create_connection

        def connect(*arguments: object) -> socket.socket:
            try:
                return real(*arguments)  # type: ignore[arg-type]
            except OSError:
                refused.set()
                raise

        monkeypatch.setattr(socket, "create_connection", connect)
        waiting = threading.Thread(target=platform._await_first_rank)
        waiting.start()
        assert refused.wait(limits.EVENT) and waiting.is_alive()
        first_rank.listen()
        waiting.join(limits.EVENT)
        assert not waiting.is_alive()
        first_rank.accept()[0].close()

    monkeypatch.setattr(socket, "create_connection", None)  # none asks where it need not
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            platform._await_first_rank()
