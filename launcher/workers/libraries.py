"""The libraries of a rank: their import takes longer than a short trial, so it is done once.

A rank imports them itself, or is a fork of a process that has (`launcher.workers.fork_server`).
"""

import functools
import importlib.util
from collections.abc import Collection

from launcher.workers.errors import DeviceError
from launcher.workers.process import environment


@functools.cache
def load(accelerator: str) -> None:
    """Import torch and megatron-core, prepared for cards of that name or for ``cpu``; once."""
    environment.set_for_import(accelerator)
    from launcher.workers.model import fixes, platform

    platform.import_megatron()
    fixes.apply()


def load_engines(names: Collection[str]) -> None:
    """Import what engines need besides, of those that are installed."""
    import torch._dynamo  # the first optimizer of a process would  # noqa: F401

    from launcher.workers.engines import megatron  # noqa: F401

    if "deepspeed" in names and importlib.util.find_spec("deepspeed") is not None:
        from launcher.workers.engines import deepspeed_pipeline  # noqa: F401


def check_card(accelerator: str) -> None:
    """Check that there is a card for this rank. Raises DeviceError."""
    if accelerator == "cpu":
        return
    import torch

    from launcher.workers.model import platform

    cards, local = torch.cuda.device_count(), platform.card()
    if local >= cards:
        raise DeviceError(
            f"local rank {local} wants a {accelerator}, torch finds {cards} cards here"
        )
