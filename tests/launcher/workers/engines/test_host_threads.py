"""The update of an optimizer in host memory takes the cores that the rank was given.

Modules: launcher.workers.engines.host_threads.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.workers import ranks

COUNTED = """
import torch
step = torch.optim.AdamW.step
def counted(self, *arguments, **options):
    print("update on", torch.get_num_threads())
    return step(self, *arguments, **options)
torch.optim.AdamW.step = counted
from launcher.workers.engines import deepspeed_setup
begin = deepspeed_setup.begin
def counted_begin(*arguments):
    print("forward on", torch.get_num_threads())
    begin(*arguments)
deepspeed_setup.begin = counted_begin
"""
"""Patch of a rank that prints the threads of each step and of each update."""


@pytest.mark.parametrize(
    ("changes", "threads"),
    [
        ({"layout__offload": True, "layout__zero": 2}, 4),
        ({"layout__offload": True, "layout__zero": 3}, 4),
        ({"layout__offload": True, "layout__zero": 1, "layout__pp": 2}, 4),
        ({"layout__zero": 2}, 1),
    ],
    ids=["zero 2", "zero 3", "pipeline", "on the card"],
)
def test_an_update_on_the_cpu_takes_all_its_cores(
    tmp_path: Path, cache: Path, changes: dict[str, Any], threads: int
) -> None:
    run = ranks.spec(2, backend="deepspeed", train__steps=3, **changes)
    given = {"OMP_NUM_THREADS": "1", "MEGALAUNCH_THREADS": "4"}
    ended = ranks.train(run, tmp_path / "run", cache, patch=COUNTED, env=given)
    assert ended.codes == [0, 0], ended.log()
    lines = ended.log().splitlines()
    assert {line for line in lines if line.startswith("update on")} == {f"update on {threads}"}
    assert {line for line in lines if line.startswith("forward on")} == {"forward on 1"}
