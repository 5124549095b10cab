"""Checkpoints of one layout: each rank's own tensors, exact, whole on every rank or not there.

    checkpoints/step-00000012/rank0.pt ...    `launcher.workers.training_state.Contents`
    checkpoints/step-00000012/manifest.json   Manifest

All ranks write into a folder with a dot before its name; rank 0 renames it when everything is on
disk. What is agreed on goes through collectives, so every rank must call `save` and `load`.
"""

import hashlib
import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.folder import KEPT_CHECKPOINTS, RunFolder, read_json
from launcher.workers.measure import gather
from launcher.workers.training_state import TrainingState

TRIED = 8
"""Newest checkpoints that are looked at."""
CHUNK = 1 << 24
"""Bytes read at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """One rank's file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a whole checkpoint consists of."""

    step: int
    """The last one done."""
    spec: str
    """Id of the run's spec."""
    ranks: int
    files: dict[str, Part]


class Checkpoints:
    """The checkpoints of one run, as this rank sees them."""

    def __init__(self, folder: RunFolder, spec: str, attempt: int) -> None:
        """Clear away what killed attempts left half written."""
        self._folder, self._metrics = folder.checkpoints, folder.metrics
        self._spec, self._attempt = spec, attempt
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        if self._rank == 0:
            for left in self._folder.glob(".step-*"):
                shutil.rmtree(left, ignore_errors=True)

    def save(self, step: int, state: TrainingState) -> bool:
        """Write a checkpoint and drop the oldest; False, and a line, where it cannot be written.

        The run goes on without it: the checkpoints there were are still there.
        """
        temporary = self._folder / f".{self._path(step).name}.attempt{self._attempt}"
        part, error = self._write(temporary, state)
        table = gather([error, part.bytes, *bytes.fromhex(part.sha256)])
        if not any(row[0] for row in table):
            parts = [Part(int(size), bytes(map(int, sha)).hex()) for _, size, *sha in table]
            table = gather([self._publish(temporary, step, parts) if self._rank == 0 else 0])
        failed = [(rank, int(row[0])) for rank, row in enumerate(table) if row[0]]
        if failed and self._rank == 0:
            rank, error = failed[0]
            # Marked as a warning so that it is not the cause of what may come later.
            print(f"WARNING checkpoint at step {step} failed: rank {rank}: {os.strerror(error)}")
            shutil.rmtree(temporary, ignore_errors=True)
        return not failed

    def load(self, state: TrainingState) -> int | None:
        """Restore the newest whole checkpoint; its step, None where there is none."""
        for step in self._steps():
            problem = self._problem(step)
            if problem:
                print(f"WARNING checkpoint at step {step} skipped: {problem}", flush=True)
            if not any(flag for (flag,) in gather([problem is not None])):
                file = self._path(step) / _file(self._rank)
                state.restore(torch.load(file, map_location="cpu", weights_only=True))
                return step
        return None

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"

    def _steps(self) -> list[int]:
        """Steps of the newest checkpoints, as rank 0 finds them, newest first."""
        paths = self._folder.glob("step-*") if self._rank == 0 else ()
        steps = sorted((int(path.name.removeprefix("step-")) for path in paths), reverse=True)
        found = gather([*steps, *[-1] * TRIED][:TRIED])[0]
        return [int(step) for step in found if step >= 0]

    def _write(self, temporary: Path, state: TrainingState) -> tuple[Part, int]:
        """This rank's file; its error number, 0 for none."""
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            with closing(Hashing(temporary / _file(self._rank))) as file:
                torch.save(state.contents(), file)
                return file.finish(), 0
        except OSError as error:
            return Part(0, "00" * 32), error.errno or 1

    def _publish(self, temporary: Path, step: int, parts: list[Part]) -> int:
        """Make the checkpoint appear; the error number, 0 for none."""
        files = {_file(rank): part for rank, part in enumerate(parts)}
        manifest = Manifest(step=step, spec=self._spec, ranks=self._ranks, files=files)
        final = self._path(step)
        try:
            (temporary / "manifest.json").write_text(json.dumps(encode(manifest), indent=1) + "\n")
            # A resumed run starts with the lines up to here: they have to outlive the machine too.
            for path in (temporary / "manifest.json", self._metrics, temporary):
                _sync(path)
            if final.exists():  # damaged, or the run would have gone on from it
                shutil.rmtree(final)
            temporary.rename(final)
            _sync(self._folder)
        except OSError as error:
            return error.errno or 1
        older = sorted(path for path in self._folder.glob("step-*") if path.name <= final.name)
        for path in older[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(path, ignore_errors=True)
        return 0

    def _problem(self, step: int) -> str | None:
        """Why this rank cannot use a checkpoint."""
        path, name = self._path(step), _file(self._rank)
        try:
            manifest = decode(Manifest, read_json(path / "manifest.json"))
            found = _part(path / name)
        except (OSError, ReadError, ConfigError) as error:
            return str(error)
        if (manifest.step, manifest.spec, manifest.ranks) != (step, self._spec, self._ranks):
            return "it is of another run"
        whole = manifest.files.get(name) == found
        return None if whole else f"{name} is not what was written"


class Hashing:
    """A file that is hashed while it is written.

    ``torch.save`` turns an OSError into one without its number, so it never gets to see it.
    """

    def __init__(self, path: Path) -> None:
        self._file, self._hash, self._size = path.open("wb"), hashlib.sha256(), 0
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, unless that has failed before."""
        view = memoryview(data)
        if self._error is None:
            try:
                self._put(view)
            except OSError as error:
                self._error = error
            self._hash.update(view)
            self._size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """`finish` does."""

    def _put(self, view: memoryview) -> None:
        self._file.write(view)

    def finish(self) -> Part:
        """Have it on disk. Raises the first OSError there was."""
        if self._error is not None:
            raise self._error
        self._file.flush()
        os.fsync(self._file.fileno())
        return Part(self._size, self._hash.hexdigest())

    def close(self) -> None:
        """Close the file; what `finish` did not write is of no use."""
        try:
            self._file.close()
        except OSError:
            return


def _file(rank: int) -> str:
    return f"rank{rank}.pt"


def _part(path: Path) -> Part:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Part(size, digest.hexdigest())


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
