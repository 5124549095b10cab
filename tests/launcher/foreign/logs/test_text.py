"""Text of logs as it lies on disk: compressed, in other encodings, cut off."""

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import foreign
from launcher.errors import ReadError
from launcher.foreign.logs import text
from tests.launcher.foreign.made import source

LINES = "".join(
    f" iteration {step:8d}/       3 | elapsed time per iteration (ms): 5.0 | lm loss: {5 - step}.0 |\n"
    for step in (1, 2, 3)
)


def zstd(raw: bytes) -> bytes:
    compressed: bytes = pytest.importorskip("zstandard").ZstdCompressor().compress(raw)
    return compressed


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("run.log.gz", gzip.compress), ("run.log.xz", lzma.compress), ("run.log.bz2", bz2.compress),
        ("run.log.zst", zstd), ("no_suffix", gzip.compress), ("run.log", bytes),
    ],
)  # fmt: skip
def test_compressed(tmp_path: Path, name: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(compress(LINES.encode()))
    (run,) = foreign.read(source(path))
    assert [line["loss"] for line in run.lines] == [4.0, 3.0, 2.0]
    assert run.imported.outcome == "ok"


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(LINES.replace("\n", end).encode(encoding))
    (run,) = foreign.read(source(path))
    assert [line["step"] for line in run.lines] == [1, 2, 3]
    assert run.unread == 0


def test_utf_16_that_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "run.log.gz"
    path.write_bytes(gzip.compress(LINES.encode("utf-16")))
    (run,) = foreign.read(source(path))
    assert len(run.lines) == 3


def test_a_compressed_log_that_is_cut_off_is_read_so_far(tmp_path: Path) -> None:
    path = tmp_path / "run.log.gz"
    whole = gzip.compress((LINES * 2000).encode(), compresslevel=1)
    path.write_bytes(whole[: len(whole) // 2])
    lines = list(text.lines(path))
    assert 100 < len(lines) < 6000 and lines[0].startswith(" iteration")


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstd])
def test_what_is_damaged_is_said(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "run.log.gz"
    compressed = compress(LINES.encode())
    path.write_bytes(compressed[:14] + b"damage" * 9 + compressed[14:])
    with pytest.raises(ReadError, match=r"run\.log\.gz: \w"):
        list(text.lines(path))


def test_zst_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.log.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd____")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ReadError) as caught:
        list(text.lines(path))
    assert str(caught.value) == (
        f"{path}: to read .zst needs zstandard: pip install 'megalaunch[import]'"
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [("run.log", "run"), ("run.log.gz", "run"), ("run.ZST", "run"), ("slurm-7.out", "slurm-7"),
     ("run.1.log", "run.1")],
)  # fmt: skip
def test_stems(name: str, stem: str) -> None:
    assert text.stem(Path(name)) == stem
