"""An attempt waits for what is left of earlier ones, whatever they were made of."""

import time
from pathlib import Path

import pytest

from launcher.decode import encode
from launcher.files import write_json
from launcher.results.run_folder import Beat, RunFolder
from slurm.node import fence


def test_ranks_that_have_ended_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it an error that there were four of them, and only one or two now."""
    folder = RunFolder(tmp_path)
    for rank in range(4):
        beat = Beat(attempt=1, step=3, host="node1", pid=1, time=time.time())
        for path, value in (
            (folder.heartbeat(rank), encode(beat)),
            (folder.exit_code(1, rank), 75),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, value)
    folder.write_result({})
    monkeypatch.setattr(fence.time, "sleep", lambda _: pytest.fail("it waits"))
    fence.await_earlier_ranks(folder, 2, hang_after=60)
    assert folder.result() == {}
