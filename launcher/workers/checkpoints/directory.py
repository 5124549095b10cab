"""The folder of a run's checkpoints, as names: what rank 0 makes appear there and disappear.

    checkpoints/step-00000012           whole
    checkpoints/.step-00000012.attempt3 being written; with other endings, on its way out
    checkpoints/latest                  the name of the newest

A kill at any moment leaves either all of a checkpoint under its name or nothing.
"""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from launcher.errors import WorkError
from launcher.files import write_text
from launcher.results.run_folder import RunFolder
from launcher.workers.checkpoints import manifest
from launcher.workers.checkpoints.manifest import Manifest

LATEST = "latest"
REPLACED = ".replaced"
DROPPED = ".dropped"


class CheckpointDirectory:
    """The checkpoints of one run."""

    def __init__(self, run: RunFolder, attempt: int = 0) -> None:
        """``attempt`` is the one that writes."""
        self._run, self._attempt = run, attempt
        self.folder = run.checkpoints

    def path(self, step: int) -> Path:
        """Of a whole one."""
        return self._run.checkpoint(step)

    def temporary(self, step: int) -> Path:
        """Of one that is being written."""
        return self._hidden(step, f".attempt{self._attempt}")

    def steps(self) -> list[int]:
        """Of those that are whole as far as their names say, newest first."""
        return self._run.checkpoint_steps()[::-1]

    def clear(self) -> None:
        """Drop what killed attempts left, but for what one was about to write again."""
        with suppress(OSError):  # it is of no harm
            for left in self.folder.glob(f".{LATEST}.*"):
                left.unlink()
            for left in self.folder.glob(".step-*"):
                whole = self.folder / left.name.removeprefix(".").removesuffix(REPLACED)
                if left.name.endswith(REPLACED) and not whole.exists():
                    left.rename(whole)
                shutil.rmtree(left, ignore_errors=True)

    def publish(self, whole: Manifest) -> None:
        """Have all of it on disk, then make it appear. Raises OSError."""
        temporary, final = self.temporary(whole.step), self.path(whole.step)
        manifest.write(whole, temporary / manifest.NAME)
        # A resumed run starts with the lines up to here: they have to outlive the machine too.
        lines = [path for path in (self._run.metrics, self._run.event_log) if path.exists()]
        for path in (temporary / manifest.NAME, *lines, temporary):
            _sync(path)
        replaced = self._hidden(whole.step, REPLACED)
        if final.exists():  # damaged, or from before a rollback
            final.rename(replaced)
        temporary.rename(final)
        _sync(self.folder)
        with suppress(OSError):
            self._discard(replaced)

    def point(self, step: int | None) -> str | None:
        """Have ``latest`` name a checkpoint, None for none; what went wrong."""
        try:
            if step is None:
                (self.folder / LATEST).unlink(missing_ok=True)
            else:
                write_text(self.folder / LATEST, f"{self.path(step).name}\n")
        except OSError as error:
            return error.strerror
        except WorkError as error:
            return str(error)
        return None

    def drop(self, step: int) -> bool:
        """Have one gone, though `sweep` alone gives its room back; whether it is."""
        try:
            self._discard(self.path(step))
        except OSError:
            return False
        return True

    def sweep(self) -> None:
        """Give back the room of those that were dropped."""
        for left in self.folder.glob(f".step-*{DROPPED}"):
            shutil.rmtree(left, ignore_errors=True)

    def _discard(self, path: Path) -> None:
        """Leave one to `sweep`; by a name of its own, as NFS may have kept an earlier one there."""
        name = f".{path.name.removeprefix('.')}.{secrets.token_hex(4)}{DROPPED}"
        path.rename(self.folder / name)

    def _hidden(self, step: int, ending: str) -> Path:
        return self.folder / f".{self.path(step).name}{ending}"


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
