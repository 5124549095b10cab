"""Files appear whole or not at all, and half a line that a machine left is never read as one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import files
from launcher.errors import ReadError, WorkError


@pytest.fixture
def mask() -> Iterator[int]:
    """An unusual umask, for one test."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


@pytest.mark.parametrize("status", ["/proc/self/status", "/nowhere"], ids=["proc", "no proc"])
def test_the_umask_is_read_and_stays(
    status: str, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PROC_STATUS", Path(status))
    assert files.umask() == mask
    assert os.umask(mask) == mask


LINES = [
    # in the file, and in it after `append` of "b\n"
    ("", "b\n"),
    ("a\n", "a\nb\n"),
    ("a\nhalf a li", "a\nb\n"),
    ("half a li", "b\n"),
    ("a\n" + "x" * 3 * files.BLOCK, "a\nb\n"),
]


@pytest.mark.parametrize(("content", "appended"), LINES)
def test_half_a_line_is_cut_off(content: str, appended: str, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text(content)
    files.append(path, "b\n")
    assert path.read_text() == appended


def test_half_a_line_is_not_read_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert list(files.read_jsonl(path)) == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a":')
    assert list(files.read_jsonl(path)) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a":\n{"a": 3}\n')
    with pytest.raises(ReadError, match=r"records\.jsonl:2: "):
        list(files.read_jsonl(path))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WorkError):
        files.write_text(tmp_path / "absent" / "file", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkError, match="is no file"):
        files.write_text(tmp_path / "folder", "text")
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "data.json", {"loss": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
