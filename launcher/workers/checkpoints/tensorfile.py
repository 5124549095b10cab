"""Files in the safetensors layout: written as a stream, read where they are mapped into memory."""

import errno
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from launcher import files
from launcher.decode import decode, encode
from launcher.workers.checkpoints.manifest import Manifest, Piece
from launcher.workers.checkpoints.matrix_regions import Region, covered

WEIGHT = "weight"
KINDS = (WEIGHT, "exp_avg", "exp_avg_sq")
"""Of each piece: the weights in fp32, and the two moments of Adam."""
CHUNK = 1 << 24
"""Bytes read or written at once."""
MARGIN = 1 << 14
"""Bytes for the rest of the manifest, and for the names in a folder."""
PIECES = "pieces"


@dataclass(frozen=True, slots=True)
class PieceTensors:
    """A piece, and its tensors, each of one dimension."""

    piece: Piece
    tensors: dict[str, Any]


class HashedFile:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._file, self._hash, self._size = path.open("wb"), hashlib.sha256(), 0

    def reserve(self, size: int) -> None:
        """Have the room for that many bytes, or raise OSError before any is written."""
        try:
            files.allocate(self._file.fileno(), size)
        except OSError as error:
            if error.errno not in files.UNSUPPORTED:
                raise

    def write(self, data: Any) -> None:
        """Append bytes."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._hash.update(view)
        self._size += view.nbytes

    def finish(self) -> tuple[int, str]:
        """Have it on disk; its size and SHA-256."""
        self._file.truncate(self._size)  # more may have been reserved
        os.fsync(self._file.fileno())
        return self._size, self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; what `finish` did not write is of no use."""
        try:
            self._file.close()
        except OSError:
            return


def write(file: HashedFile, filled: list[PieceTensors]) -> None:
    """Write pieces; of a card's no more than a chunk is on this side at any time."""
    header = _header([one.piece for one in filled])
    file.write(struct.pack("<Q", len(header)))
    file.write(header)
    for one in filled:
        for kind in KINDS:
            for chunk in one.tensors[kind].split(CHUNK // 4):
                file.write(chunk.float().cpu().numpy())


def room(filled: list[PieceTensors]) -> int:
    """Bytes that `write` writes, and as many as its pieces can take in the manifest."""
    header = len(_header([one.piece for one in filled]))
    return 2 * header + MARGIN + sum(4 * len(KINDS) * one.piece.elements for one in filled)


def pieces(path: Path) -> tuple[Piece, ...]:
    """What is in a file, as it says itself. Raises OSError where it says nothing."""
    try:
        with safe_open(path, "pt") as file:
            return decode(tuple[Piece, ...], json.loads(file.metadata()[PIECES]))
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def measured(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


class Source:
    """The matrices of a checkpoint, any region of which can be read."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._places: dict[str, list[tuple[Region, str, Piece]]] = {}
        for name, part in manifest.files.items():
            for piece in part.pieces:
                place = (_region(piece), name, piece)
                self._places.setdefault(piece.name, []).append(place)
        self.bytes_read = 0

    def hold(self) -> None:
        """Open every file now: it can then be read even if it is deleted meanwhile."""
        for name in {file for places in self._places.values() for _, file, _ in places}:
            self._opened(name)

    def has(self, name: str, wanted: Region) -> bool:
        """Whether every element of a region is there."""
        return covered(wanted, (there for there, _, _ in self._places.get(name, ())))

    def steps(self, name: str, wanted: Region) -> int:
        """How many Adam has done in a region."""
        return max(piece.steps for _, _, _, piece in self._overlaps(name, wanted))

    def read(self, name: str, kind: str, wanted: Region, target: Any) -> None:
        """Copy a region into a matrix of its shape, and nothing else from the disk."""
        for both, there, file, piece in self._overlaps(name, wanted):
            rows, columns = there.window(both)
            part = self._opened(file).get_slice(piece.key(kind))[rows, columns]
            target[wanted.window(both)].copy_(part)
            self.bytes_read += part.numel() * part.element_size()

    def _overlaps(self, name: str, wanted: Region) -> Iterator[tuple[Region, Region, str, Piece]]:
        for there, file, piece in self._places[name]:
            both = wanted.overlap(there)
            if both is not None:
                yield both, there, file, piece

    def _opened(self, name: str) -> Any:
        if name not in self._files:
            self._files[name] = safe_open(self._folder / name, "pt")
        return self._files[name]


def _header(pieces: list[Piece]) -> bytes:
    """Names, shapes and places of the tensors; padded, so that what follows is aligned."""
    listed = json.dumps([encode(piece) for piece in pieces])
    header: dict[str, Any] = {"__metadata__": {PIECES: listed}}
    at = 0
    for piece in pieces:
        size = 4 * piece.elements
        for kind in KINDS:
            place = {"shape": list(_region(piece).shape), "data_offsets": [at, at + size]}
            header[piece.key(kind)] = {"dtype": "F32", **place}
            at += size
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8)


def _region(piece: Piece) -> Region:
    return Region(*piece.rows, *piece.columns)
