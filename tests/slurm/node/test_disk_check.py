"""The room for checkpoints is reserved in files of a sensible size."""

from pathlib import Path

import pytest

from slurm.node import disk_check


@pytest.mark.parametrize(
    ("count", "parts"),
    [(1, [1]), (2**34, [2**34]), (2**34 + 1, [2**34, 1]), (2**43, [2**35] * 256)],
)
def test_reserved_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, parts: list[int]
) -> None:
    allocated: list[int] = []
    monkeypatch.setattr(disk_check, "_room", lambda *_: None)
    monkeypatch.setattr(disk_check, "allocate", lambda _, part: allocated.append(part))
    assert disk_check.reserve(tmp_path, count) is None
    assert allocated == parts
