"""Files of tensors: anybody's safetensors reads them, and a part costs no more than the part.

Modules: launcher.workers.checkpoints.manifest, launcher.workers.checkpoints.optimizer_state.
"""

import os
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from launcher.workers.checkpoints import manifest, tensorfile
from launcher.workers.checkpoints.manifest import Part, Piece
from launcher.workers.checkpoints.matrix_regions import Region
from launcher.workers.checkpoints.tensorfile import KINDS, CheckpointReader, PieceTensors
from tests.conftest import spec

NAME = "decoder.layers.0.mlp.linear_fc2.weight"


def written(path: Path, height: int, width: int) -> CheckpointReader:
    """Write two pieces of a matrix; its elements are their own numbers, plus 0.25 for each kind."""
    numbers = torch.arange(float(height * width)).view(height, width)
    contents, middle = [], width // 2 + 1
    for columns in ((0, middle), (middle, width)):
        piece = Piece(name=NAME, rows=(0, height), columns=columns, steps=7)
        part = numbers[:, slice(*columns)].flatten()
        contents.append(PieceTensors(piece, {kind: part + n / 4 for n, kind in enumerate(KINDS)}))
    with closing(tensorfile.HashedFile(path)) as file:
        tensorfile.write(file, contents)
        size, sha256 = file.finish()
    assert tensorfile.size_and_sha256(path) == (size, sha256)
    files = {path.name: Part(bytes=size, sha256=sha256, pieces=tensorfile.pieces(path))}
    complete = manifest.complete(manifest.draft(spec(), 7, {}), files)
    assert complete.tensors == {NAME: (height, width)}
    return CheckpointReader(path.parent, complete)


def test_it_is_what_safetensors_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorfile, "CHUNK", 20)  # five numbers
    written(tmp_path / "a.safetensors", 3, 5)
    tensors = load_file(tmp_path / "a.safetensors")
    assert len(tensors) == 6
    expected = [[3.25, 4.25], [8.25, 9.25], [13.25, 14.25]]
    assert tensors[f"{NAME}[0:3,3:5].exp_avg"].tolist() == expected
    assert tensors[f"{NAME}[0:3,0:3].weight"].shape == (3, 3)


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    """Read a file of another node that is not visible here yet: the save fails, not the run."""
    (tmp_path / "a.safetensors").write_bytes(bytes(100))
    with pytest.raises(OSError, match=r"a\.safetensors"):
        tensorfile.pieces(tmp_path / "a.safetensors")


def test_a_rectangle_over_two_pieces(tmp_path: Path) -> None:
    source = written(tmp_path / "a.safetensors", 3, 5)
    target = torch.zeros(2, 3, dtype=torch.bfloat16)
    source.read(NAME, "exp_avg_sq", Region(1, 3, 2, 5), target)
    assert target.tolist() == [[7.5, 8.5, 9.5], [12.5, 13.5, 14.5]]
    assert source.bytes_read == 4 * 6
    assert source.steps(NAME, Region(0, 1, 0, 1)) == 7
    assert source.has(NAME, Region(0, 3, 0, 5)) and not source.has(NAME, Region(0, 4, 0, 5))
    assert not source.has("other", Region(0, 1, 0, 1))


def test_a_part_of_a_large_file_is_not_the_whole_in_memory(tmp_path: Path) -> None:
    source = written(tmp_path / "a.safetensors", 2048, 4096)
    size = (tmp_path / "a.safetensors").stat().st_size
    target = torch.zeros(2, 4096)
    source.read(NAME, "weight", Region(0, 2, 0, 4096), target)  # what opening costs
    resident_before = resident()
    source.read(NAME, "weight", Region(1000, 1002, 0, 4096), target)
    assert target[1, 4095] == 1002 * 4096 - 1
    assert resident() - resident_before < 9e6 < size / 10  # a page of the cache may be 2 MiB


def resident() -> int:
    """Bytes of this process in memory, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
