"""Checkpoints that any layout and both engines write and read, whole or not there.

    checkpoints/step-00000012/rank0.safetensors ...   rectangles of the whole model's matrices
    checkpoints/step-00000012/manifest.json           `launcher.workers.manifest.Manifest`

All ranks write into a folder with a dot before its name; rank 0 renames it when everything is on
disk. What is agreed on goes through collectives, so every rank must call `save` and `load`; the
tensors do not: each rank reads the rectangles that it needs.
"""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from launcher.errors import ConfigError, ReadError
from launcher.folder import KEPT_CHECKPOINTS, RunFolder
from launcher.spec import RunSpec
from launcher.workers import manifest, tensorfile
from launcher.workers.errors import CheckpointError
from launcher.workers.manifest import Manifest, Part
from launcher.workers.measure import gather
from launcher.workers.state import State
from launcher.workers.tensorfile import Hashing, Source

TRIED = 8
"""Newest checkpoints that are looked at."""

Written = tuple[int, str]
"""Size and SHA-256 of a file."""

Accept = Callable[[Manifest], str | None]
"""Why a checkpoint is not to be gone on from, None where it is; the model is not its concern."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a run goes on from."""

    step: int
    progress: dict[str, Any]
    """What was handed to `Checkpoints.save`."""
    bytes_read: int
    """By this rank, of tensors."""


class Checkpoints:
    """The checkpoints of one run, as this rank sees them."""

    def __init__(
        self, folder: RunFolder, spec: RunSpec, attempt: int, accept: Accept | None = None
    ) -> None:
        """Clear away what killed attempts left half written.

        Args:
            folder: the run's.
            spec: what runs now.
            attempt: number of this start.
            accept: which to go on from; without it, those of the same spec.
        """
        self._folder, self._metrics = folder.checkpoints, folder.metrics
        self._spec, self._attempt, self._accept = spec, attempt, accept or self._same_spec
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        if self._rank == 0:
            for left in self._folder.glob(".step-*"):
                shutil.rmtree(left, ignore_errors=True)
        gather([0.0])  # nobody writes before that

    def save(self, step: int, state: State, progress: dict[str, Any] | None = None) -> bool:
        """Write a checkpoint and drop the oldest; False, and a line, where it cannot be written.

        The run goes on without it: the checkpoints there were are still there. ``progress`` is
        JSON, and rank 0's is what `load` returns.
        """
        temporary = self._folder / f".{self._path(step).name}.attempt{self._attempt}"
        size, sha256, error = self._write(temporary, state)
        table = gather([error, size, *bytes.fromhex(sha256)])
        if not any(row[0] for row in table):
            written = {
                _file(rank): (int(size), bytes(map(int, digest)).hex())
                for rank, (_, size, *digest) in enumerate(table)
                if size  # else others have the same
            }
            begun = manifest.begun(self._spec, step, progress or {})
            table = gather([self._publish(temporary, begun, written) if self._rank == 0 else 0])
        failed = [(rank, int(row[0])) for rank, row in enumerate(table) if row[0]]
        if failed and self._rank == 0:
            rank, error = failed[0]
            # Marked as a warning so that it is not the cause of what may come later.
            print(f"WARNING checkpoint at step {step} failed: rank {rank}: {os.strerror(error)}")
            shutil.rmtree(temporary, ignore_errors=True)
        return not failed

    def load(self, state: State) -> Loaded | None:
        """Restore the newest whole checkpoint; None where there is none.

        Raises:
            CheckpointError: it is of another model.
        """
        for step in self._steps():
            found, problem = self._looked_at(step)
            if not self._agreed(step, problem) or found is None:
                continue
            difference = found.differing_size(self._spec.model)
            if difference:
                raise CheckpointError(f"{self._path(step).name} is of another model: {difference}")
            source = Source(self._path(step), found)
            if self._agreed(step, state.lacks(source)):
                state.restore(source)
                return Loaded(step, found.progress, source.bytes_read)
        return None

    def _same_spec(self, found: Manifest) -> str | None:
        return None if found.spec == self._spec.id else "it is of another run"

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"

    def _steps(self) -> list[int]:
        """Steps of the newest checkpoints, as rank 0 finds them, newest first."""
        paths = self._folder.glob("step-*") if self._rank == 0 else ()
        steps = sorted((int(path.name.removeprefix("step-")) for path in paths), reverse=True)
        found = gather([*steps, *[-1] * TRIED][:TRIED])[0]
        return [int(step) for step in found if step >= 0]

    def _write(self, temporary: Path, state: State) -> tuple[int, str, int]:
        """This rank's file: its size, 0 for none, its SHA-256, and an error number, 0 for none."""
        nothing, filled = "00" * 32, state.filled()
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            if not filled:
                return 0, nothing, 0
            with closing(Hashing(temporary / _file(self._rank))) as file:
                tensorfile.write(file, filled)
                return *file.finish(), 0
        except OSError as error:
            return 0, nothing, error.errno or errno.EIO

    def _publish(self, temporary: Path, begun: Manifest, files: dict[str, Written]) -> int:
        """Make the checkpoint appear; the error number, 0 for none."""
        final = self._path(begun.step)
        try:
            whole = manifest.completed(begun, _parts(temporary, files))
            elements = sum(piece.elements for part in whole.files.values() for piece in part.pieces)
            assert elements == self._spec.model.params, f"{elements} parameters were written"
            manifest.write(whole, temporary / manifest.NAME)
            # A resumed run starts with the lines up to here: they have to outlive the machine too.
            for path in (temporary / manifest.NAME, self._metrics, temporary):
                _sync(path)
            if final.exists():  # damaged, or the run would have gone on from it
                shutil.rmtree(final)
            temporary.rename(final)
            _sync(self._folder)
        except OSError as error:
            return error.errno or errno.EIO
        older = sorted(path for path in self._folder.glob("step-*") if path.name <= final.name)
        for path in older[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(path, ignore_errors=True)
        return 0

    def _agreed(self, step: int, problem: str | None) -> bool:
        """Whether no rank has a problem with a checkpoint; the first one that has says it."""
        failed = [rank for rank, (flag,) in enumerate(gather([problem is not None])) if flag]
        if failed and failed[0] == self._rank:
            print(f"WARNING checkpoint at step {step} skipped: {problem}", flush=True)
        return not failed

    def _looked_at(self, step: int) -> tuple[Manifest | None, str | None]:
        """The manifest, and what is wrong with it or with the files that this rank looks at."""
        path = self._path(step)
        try:
            found = manifest.read(path / manifest.NAME)
            if found.step != step:
                return None, f"it is of step {found.step}"
            refused = self._accept(found)
            if refused:
                return None, refused
            for name in sorted(found.files)[self._rank :: self._ranks]:
                part = found.files[name]
                if tensorfile.measured(path / name) != (part.bytes, part.sha256):
                    return None, f"{name} is not what was written"
        except (ReadError, ConfigError) as error:
            return None, str(error)
        except OSError as error:
            return None, f"{Path(error.filename or path).name}: {error.strerror}"
        return found, None


def _file(rank: int) -> str:
    return f"rank{rank}.safetensors"


def _parts(folder: Path, files: dict[str, Written]) -> dict[str, Part]:
    """The files of all ranks, and what each says is in it."""
    return {
        name: Part(bytes=size, sha256=sha256, pieces=tensorfile.pieces(folder / name))
        for name, (size, sha256) in files.items()
    }


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
