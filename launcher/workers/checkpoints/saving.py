"""One rank's part of a save: reserve room for its file, copy its tensors, write them."""

import errno
import os
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from launcher.workers.checkpoints import tensorfile
from launcher.workers.checkpoints.manifest import Manifest
from launcher.workers.checkpoints.tensorfile import CHUNK, KINDS, HashedFile, PieceTensors
from launcher.workers.model import platform


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Outcome of writing a rank's file."""

    error: int = 0
    """errno of the failure, 0 for none."""
    size: int = 0
    """Bytes; 0 where the rank writes nothing, as other ranks have the same."""
    sha256: str = "00" * 32


class RankFile:
    """The file of one rank while it is made."""

    def __init__(self, path: Path, contents: list[PieceTensors]) -> None:
        self._path, self._contents = path, contents
        self._file: HashedFile | None = None

    def reserve(self) -> int:
        """Allocate room for it on the disk; errno, 0 for none. May be called again."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._contents:
                self._file = self._file or HashedFile(self._path)
                self._file.reserve(tensorfile.required_bytes(self._contents))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def copy(self, memory: "HostMemory") -> None:
        """Write a copy instead: the tensors that are saved may change from now on."""
        self._contents = memory.copy(self._contents)

    def write(self) -> WriteResult:
        """Write the file and flush it to the disk."""
        if self._file is None:
            return WriteResult()
        try:
            tensorfile.write(self._file, self._contents)
            return WriteResult(0, *self._file.finish())
        except OSError as error:
            return WriteResult(error.errno or errno.EIO)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, and drop the references to its tensors."""
        self._contents = []
        if self._file is not None:
            self._file.close()


CGROUPS = Path("/sys/fs/cgroup")


class HostMemory:
    """Buffer for copies of pieces. It is kept: to allocate it takes longer than to copy.

    Where there is a card, it is pinned, so that the card writes into it by itself (DMA): as it is,
    since torch's own pinned memory is rounded up to a power of two.
    """

    def __init__(self) -> None:
        self._buffer: torch.Tensor | None = None
        self._card = platform.device().type == "cuda"

    def reserve(self, contents: list[PieceTensors], asked: bool = True) -> int:
        """Allocate the buffer for a copy; errno, 0 for none.

        Where nobody ``asked`` for it, no more is taken than the ranks of this machine may have:
        whoever takes more is ended by the kernel, without an error.
        """
        elements = sum(len(KINDS) * entry.piece.elements for entry in contents)
        if self._buffer is not None and self._buffer.numel() == elements:
            return 0
        self.release()  # first, so that there are never two
        if not asked and 4 * elements * int(os.environ["LOCAL_WORLD_SIZE"]) > free_memory():
            return errno.ENOMEM
        try:
            buffer = torch.empty(elements, dtype=torch.float32)
        except RuntimeError:
            return errno.ENOMEM
        if self._card and elements and not _pinned(buffer):
            return errno.ENOMEM
        self._buffer = buffer
        return 0

    def release(self) -> None:
        """Give the buffer back."""
        if self._buffer is not None and self._card and self._buffer.numel():
            torch.cuda.cudart().cudaHostUnregister(self._buffer.data_ptr())
        self._buffer = None

    def copy(self, contents: list[PieceTensors]) -> list[PieceTensors]:
        """Copy the pieces into the buffer; return them there, once the copy is complete."""
        assert self._buffer is not None
        copies, offset = [], 0
        for entry in contents:
            tensors = {}
            for kind in KINDS:
                source = entry.tensors[kind]
                tensors[kind] = self._buffer[offset : offset + source.numel()]
                offset += source.numel()
                chunks = zip(tensors[kind].split(CHUNK // 4), source.split(CHUNK // 4), strict=True)
                for to, part in chunks:
                    to.copy_(part, non_blocking=True)
            copies.append(PieceTensors(entry.piece, tensors))
        if self._card:
            torch.cuda.synchronize()
        return copies


def _pinned(buffer: torch.Tensor) -> bool:
    """Pin memory where it is; False where the system does not allow that much."""
    size = buffer.numel() * buffer.element_size()
    if int(torch.cuda.cudart().cudaHostRegister(buffer.data_ptr(), size, 0)) == 0:
        return True
    with suppress(RuntimeError):  # the next kernel is told of the error, and takes it away
        torch.zeros(1, device=platform.device())
    return False


def free_memory() -> int:
    """Bytes of host memory that this process may still take, by the machine and its cgroups."""
    free = psutil.virtual_memory().available
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    except OSError:  # no Linux
        return free
    for folder in (CGROUPS / group, *(CGROUPS / group).parents):
        with suppress(OSError, ValueError, KeyError):  # "max", or not version 2
            limit = int((folder / "memory.max").read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
            cache = int(dict(line.split() for line in lines)["inactive_file"])
            free = min(free, limit - int((folder / "memory.current").read_text()) + cache)
    return max(free, 0)


@dataclass(slots=True)
class PendingSave:
    """A checkpoint that is not visible yet."""

    draft: Manifest
    """Its manifest, without files."""
    file: RankFile
    began: float = field(default_factory=time.monotonic)
    """Time of its begin, as all times here by `time.monotonic`."""
    waiting_since: float = field(default_factory=time.monotonic)
    """Time at which training last began to wait for it, ..."""
    waited: float = 0.0
    """... and seconds that it had waited before."""
    visible: float = 0.0
    """Time at which it became visible; on rank 0 only."""
    writing: "Future[WriteResult] | None" = None
    """None where training waits all the time."""

    def stop_waiting(self) -> None:
        """Note that training goes on from here."""
        self.waited += time.monotonic() - self.waiting_since

    def wait(self) -> WriteResult:
        """Wait until this rank's file is written."""
        assert self.writing is not None
        self.waiting_since = time.monotonic()
        return self.writing.result()
