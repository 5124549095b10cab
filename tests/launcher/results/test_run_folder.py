"""A run's folder: the names in it, and the order of a spec that is read back."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from launcher import files
from launcher.errors import WorkError
from launcher.results.run_folder import RunFolder
from tests.conftest import spec


def test_checkpoints_are_told_by_their_steps(tmp_path: Path) -> None:
    """Names of nine digits come after those of eight; stray ones are none."""
    run = RunFolder(tmp_path)
    assert run.checkpoint_steps() == [] and run.newest_checkpoint() is None
    for step in (100_000_000, 12, 99_999_999):
        run.checkpoint(step).mkdir(parents=True)
    for stray in ("step-x", "step-7", "step-00000013.bak", ".step-00000014.attempt1"):
        (run.checkpoints / stray).mkdir()
    assert run.checkpoint_steps() == [12, 99_999_999, 100_000_000]
    assert run.newest_checkpoint() == "step-100000000"


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(WorkError, match=r"pipe: is no file$"):
        files.write_text(pipe, "text")
    assert pipe.is_fifo()


def test_sources_stay_in_their_order(tmp_path: Path) -> None:
    """Their order decides the order of samples."""
    base = spec()
    data = replace(base.data, blend={"z": 1.0, "a": 2.0})
    run = RunFolder(tmp_path / "run")
    run.create(replace(base, data=data))
    assert list(run.spec().data.blend) == ["z", "a"]
