"""A model is on one device, whatever megatron-core makes elsewhere.

Modules: launcher.workers.model.gpt
"""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.workers import ranks

SHOW = """
    import os
    import torch
    from launcher.workers.engines import megatron
    from launcher.workers.model import gpt, platform
    chunks = gpt.chunks
    def shown(spec, config):
        platform.device = lambda: torch.device("meta")
        tensors = [t for model in chunks(spec, config) for t in (*model.parameters(), *model.buffers())]
        print("devices", len(tensors), {tensor.device.type for tensor in tensors}, flush=True)
        os._exit(3)
    megatron.chunks = shown
"""
"""Builds the model for another device, and ends."""


@pytest.mark.parametrize("changes", [{}, {"model__experts": 4}], ids=["dense", "experts"])
def test_every_weight_is_on_the_device(
    changes: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    ended = ranks.train(ranks.spec(1, **changes), tmp_path, cache, patch=SHOW)
    shown = [line.split() for line in ended.log().splitlines() if line.startswith("devices")]
    assert ended.codes == [3] and shown, ended.log()
    assert int(shown[0][1]) > 10 and shown[0][2:] == ["{'meta'}"]
