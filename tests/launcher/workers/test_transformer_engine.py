"""A whole run where Transformer Engine can be imported, as in each of NVIDIA's images.

Modules: launcher.workers.process.versions.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.launcher.workers import ranks

DOUBLES = ROOT / "tests" / "launcher" / "workers" / "doubles"

SHOW = """
from launcher.workers.engines import megatron
make = megatron._optimizer
def shown(*arguments):
    optimizer = make(*arguments)
    inner = {type(member.optimizer).__module__ for member in optimizer.chained_optimizers}
    print("optimizers of", *sorted(inner))
    return optimizer
megatron._optimizer = shown
"""
"""Patch of a rank that prints where its optimizers come from."""


def with_double() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(DOUBLES)]), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"layout__zero": 1}, 1e-5),
        ({"layout__zero": 0}, 1e-5),
        ({"train__precision": "bf16"}, 1e-3),
    ],
    ids=["zero 1", "zero 0", "bf16"],
)
def test_it_changes_no_loss_and_the_record_tells(
    tmp_path: Path, cache: Path, changes: dict[str, Any], tolerance: float
) -> None:
    spec = ranks.spec(2, train__steps=6, **changes)
    plain = ranks.train(spec, tmp_path / "plain", cache)
    assert plain.codes == [0, 0], plain.log()
    with_te = ranks.train(
        spec, tmp_path / "te", cache, env=with_double(), fresh=True, patch=SHOW, every=3
    )
    assert with_te.codes == [0, 0], with_te.log()
    assert "optimizers of transformer_engine.pytorch.optimizers\n" in with_te.log()
    assert with_te.losses == pytest.approx(plain.losses, rel=tolerance)
    assert with_te.folder.checkpoint_steps() == [3, 6]
    result, plain_result = with_te.folder.result(), plain.folder.result()
    assert result and plain_result
    assert result["versions"]["transformer_engine"] == "2.8.0"
    assert plain_result["versions"]["transformer_engine"] is None
    known = {"torch", "megatron_core", "deepspeed", "transformer_engine", "apex", "flash_attn"}
    known |= {"triton", "cuda", "cudnn", "nccl", "driver", "python"}
    assert result["versions"].keys() == known
