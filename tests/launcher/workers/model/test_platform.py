"""Choice of a rank's card; the rest is tested by every run on the CPU."""

import os

import pytest
import torch

from launcher.workers.model import platform


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
