"""Files in the safetensors layout: written as a stream, read where they are mapped into memory."""

import errno
import hashlib
import json
import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from launcher import files
from launcher.decode import decode, encode
from launcher.workers.checkpoints.manifest import Manifest, Piece
from launcher.workers.checkpoints.matrix_regions import Region, covered

WEIGHT = "weight"
KINDS = (WEIGHT, "exp_avg", "exp_avg_sq")
"""Tensors of each piece: the weights in fp32, and the two moments of Adam."""
CHUNK = 1 << 24
"""Bytes read or written at once."""
UNDER_WAY = 2
"""Chunks that are hashed and written while the next one is copied."""
MARGIN = 1 << 14
"""Bytes for the rest of the manifest, and for the names in a folder."""
PIECES = "pieces"
"""Key, in the file's metadata, of its list of pieces."""


@dataclass(frozen=True, slots=True)
class PieceTensors:
    """A piece and its tensors by kind, each of one dimension."""

    piece: Piece
    tensors: dict[str, Any]


class HashedFile:
    """A file that is written by one thread, while another computes its SHA-256."""

    def __init__(self, path: Path) -> None:
        self._file, self._hash, self._size = path.open("wb"), hashlib.sha256(), 0
        self._writer = ThreadPoolExecutor(1, "checkpoint-write")
        self._hasher = ThreadPoolExecutor(1, "checkpoint-hash")
        self._under_way: deque[tuple[Future[Any], Future[Any]]] = deque()

    def reserve(self, size: int) -> None:
        """Allocate ``size`` bytes on the disk, so that OSError comes before any is written."""
        try:
            files.allocate(self._file.fileno(), size)
        except OSError as error:
            if error.errno not in files.UNSUPPORTED:
                raise

    def write(self, data: Any) -> None:
        """Append bytes, which stay as they are until `UNDER_WAY` more calls have returned."""
        view = memoryview(data).cast("B")
        self._under_way.append(
            (
                self._writer.submit(self._file.write, view),
                self._hasher.submit(self._hash.update, view),
            )
        )
        self._size += view.nbytes
        self._await_all_but(UNDER_WAY)

    def _await_all_but(self, count: int) -> None:
        """Wait until no more than so many writes are under way. Raises OSError of a failed one."""
        while len(self._under_way) > count:
            for part in self._under_way.popleft():
                part.result()

    def finish(self) -> tuple[int, str]:
        """Flush the file to the disk; return its size and SHA-256."""
        self._await_all_but(0)
        self._file.truncate(self._size)  # more may have been reserved
        os.fsync(self._file.fileno())
        return self._size, self._hash.hexdigest()

    def close(self) -> None:
        """Close the file. Errors do not matter: after `finish` there are none, before it no use."""
        for thread in (self._writer, self._hasher):
            thread.shutdown(cancel_futures=True)
        try:
            self._file.close()
        except OSError:
            return


class Staging:
    """Host memory that chunks of a card's tensors pass through, one while others are written."""

    def __init__(self) -> None:
        self._buffers: list[Any] = []
        self._next = 0

    def on_host(self, chunk: Any) -> Any:
        """The chunk in fp32 on the host; it stays as it is for `UNDER_WAY` more calls."""
        if chunk.device.type == "cpu":
            return chunk.float()
        if not self._buffers:
            self._buffers = [_pinned_if_possible(CHUNK // 4) for _ in range(UNDER_WAY + 1)]
        buffer = self._buffers[self._next][: chunk.numel()]
        self._next = (self._next + 1) % len(self._buffers)
        return buffer.copy_(chunk)


def _pinned_if_possible(elements: int) -> Any:
    try:
        return torch.empty(elements, dtype=torch.float32, pin_memory=True)
    except RuntimeError:  # the system does not allow any more: a copy takes longer then
        return torch.empty(elements, dtype=torch.float32)


def write(file: HashedFile, contents: list[PieceTensors]) -> None:
    """Write pieces; of a card's tensors a few chunks are in host memory at any time.

    A chunk is copied from the card while those before it are hashed and written.
    """
    staging = Staging()
    header = _header([entry.piece for entry in contents])
    file.write(struct.pack("<Q", len(header)))
    file.write(header)
    for entry in contents:
        for kind in KINDS:
            for chunk in entry.tensors[kind].split(CHUNK // 4):
                file.write(staging.on_host(chunk).numpy())


def required_bytes(contents: list[PieceTensors]) -> int:
    """Bytes that `write` writes, and as many as the manifest can take for the same pieces."""
    header = len(_header([entry.piece for entry in contents]))
    return 2 * header + MARGIN + sum(4 * len(KINDS) * entry.piece.elements for entry in contents)


def pieces(path: Path) -> tuple[Piece, ...]:
    """Read the list of pieces from a file's own header. Raises OSError where it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return decode(tuple[Piece, ...], json.loads(file.metadata()[PIECES]))
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def size_and_sha256(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


class CheckpointReader:
    """Reads any region of any matrix of a checkpoint."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._stored: dict[str, list[tuple[Region, str, Piece]]] = {}
        """Stored regions of each parameter, each with its file and its piece."""
        for file, part in manifest.files.items():
            for piece in part.pieces:
                self._stored.setdefault(piece.name, []).append((_region(piece), file, piece))
        self.bytes_read = 0

    def open_all(self) -> None:
        """Open every file now: it can then be read even if it is deleted meanwhile."""
        for file in {file for stored in self._stored.values() for _, file, _ in stored}:
            self._open(file)

    def has(self, name: str, region: Region) -> bool:
        """Return True if every element of a region of parameter ``name`` is stored."""
        return covered(region, (stored for stored, _, _ in self._stored.get(name, ())))

    def steps(self, name: str, region: Region) -> int:
        """Steps that Adam has done on a region of parameter ``name``."""
        return max(piece.steps for _, _, _, piece in self._overlaps(name, region))

    def read(self, name: str, kind: str, region: Region, target: Any) -> None:
        """Copy a region into ``target``, of its shape; nothing else is read from the disk."""
        for overlap, stored, file, piece in self._overlaps(name, region):
            rows, columns = stored.window(overlap)
            values = self._open(file).get_slice(piece.key(kind))[rows, columns]
            target[region.window(overlap)].copy_(values)
            self.bytes_read += values.numel() * values.element_size()

    def _overlaps(self, name: str, region: Region) -> Iterator[tuple[Region, Region, str, Piece]]:
        """Overlaps of a region with stored ones: overlap, stored region, file and piece."""
        for stored, file, piece in self._stored[name]:
            overlap = region.overlap(stored)
            if overlap is not None:
                yield overlap, stored, file, piece

    def _open(self, file: str) -> Any:
        if file not in self._files:
            self._files[file] = safe_open(self._folder / file, "pt")
        return self._files[file]


def _header(pieces: list[Piece]) -> bytes:
    """JSON header of the tensors: names, shapes and offsets; padded to align the data after it."""
    metadata = json.dumps([encode(piece) for piece in pieces])
    header: dict[str, Any] = {"__metadata__": {PIECES: metadata}}
    offset = 0
    for piece in pieces:
        shape, size = list(_region(piece).shape), 4 * piece.elements
        for kind in KINDS:
            data_offsets = [offset, offset + size]
            header[piece.key(kind)] = {"dtype": "F32", "shape": shape, "data_offsets": data_offsets}
            offset += size
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8)


def _region(piece: Piece) -> Region:
    return Region(*piece.rows, *piece.columns)
