"""What each rank does for a checkpoint by itself: have room for its file, copy, write."""

import errno
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import torch

from launcher.workers.checkpoints import tensorfile
from launcher.workers.checkpoints.manifest import Manifest
from launcher.workers.checkpoints.tensorfile import CHUNK, KINDS, HashedFile, PieceTensors
from launcher.workers.model import platform


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a rank's file."""

    error: int = 0
    """Number of the error that kept it from being written, 0 for none."""
    size: int = 0
    """0 where the rank has nothing that others have not too."""
    sha256: str = "00" * 32


class RankFile:
    """The file of one rank while it is made."""

    def __init__(self, path: Path, filled: list[PieceTensors]) -> None:
        self._path, self._filled = path, filled
        self._file: HashedFile | None = None

    def reserve(self) -> int:
        """Have room for it; an error number, 0 for none. May be asked again."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._filled:
                self._file = self._file or HashedFile(self._path)
                self._file.reserve(tensorfile.room(self._filled))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def copy(self, memory: "HostMemory") -> None:
        """Write a copy instead: what is saved may change from now on."""
        self._filled = memory.copied(self._filled)

    def write(self) -> Written:
        """Have it on disk."""
        if self._file is None:
            return Written()
        try:
            tensorfile.write(self._file, self._filled)
            return Written(0, *self._file.finish())
        except OSError as error:
            return Written(error.errno or errno.EIO)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it, and of what is in it."""
        self._filled = []
        if self._file is not None:
            self._file.close()


class HostMemory:
    """Where pieces are copied to. It stays: to get it anew takes longer than the copy."""

    def __init__(self) -> None:
        self._buffer: torch.Tensor | None = None
        self._card = platform.device().type == "cuda"

    def reserve(self, filled: list[PieceTensors]) -> int:
        """Have room for a copy; an error number, 0 for none."""
        elements = sum(len(KINDS) * one.piece.elements for one in filled)
        if self._buffer is not None and self._buffer.numel() == elements:
            return 0
        self._buffer = None  # before there are two
        try:
            # Of pinned memory, a card writes there itself.
            self._buffer = torch.empty(elements, dtype=torch.float32, pin_memory=self._card)
        except RuntimeError:
            return errno.ENOMEM
        return 0

    def copied(self, filled: list[PieceTensors]) -> list[PieceTensors]:
        """The same pieces, here, once they are."""
        assert self._buffer is not None
        out, at = [], 0
        for one in filled:
            here = {}
            for kind in KINDS:
                source = one.tensors[kind]
                here[kind] = self._buffer[at : at + source.numel()]
                at += source.numel()
                for to, part in zip(
                    here[kind].split(CHUNK // 4), source.split(CHUNK // 4), strict=True
                ):
                    to.copy_(part, non_blocking=True)
            out.append(PieceTensors(one.piece, here))
        if self._card:
            torch.cuda.synchronize()
        return out


@dataclass(slots=True)
class Saving:
    """A checkpoint that is not visible yet."""

    begun: Manifest
    file: RankFile
    began: float = field(default_factory=time.monotonic)
    waiting_since: float = field(default_factory=time.monotonic)
    """When training last began to wait for it, ..."""
    waited: float = 0.0
    """... and seconds that it did before."""
    visible: float = 0.0
    """When it was, on rank 0."""
    writing: "Future[Written] | None" = None
    """None where training waits all the time."""

    def go_on(self) -> None:
        """Training does."""
        self.waited += time.monotonic() - self.waiting_since

    def wait(self) -> Written:
        """Until this rank's file is written."""
        assert self.writing is not None
        self.waiting_since = time.monotonic()
        return self.writing.result()
