"""The folder of a run's checkpoints, as names: how rank 0 makes them appear there and disappear.

    checkpoints/step-00000012           complete
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
    """The folder ``checkpoints`` of one run."""

    def __init__(self, run: RunFolder, attempt: int = 0) -> None:
        """``attempt`` is the number of the one that writes."""
        self._run, self._attempt = run, attempt
        self.folder = run.checkpoints

    def path(self, step: int) -> Path:
        """Path of the complete checkpoint of a step."""
        return self._run.checkpoint(step)

    def temporary(self, step: int) -> Path:
        """Path under which the checkpoint of a step is written."""
        return self._hidden(step, f".attempt{self._attempt}")

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are complete as far as their names say, newest first."""
        return self._run.checkpoint_steps()[::-1]

    def clear(self) -> None:
        """Remove what killed attempts left; a checkpoint that one was replacing comes back."""
        with suppress(OSError):  # leftovers do no harm
            for leftover in self.folder.glob(f".{LATEST}.*"):
                leftover.unlink()
            for leftover in self.folder.glob(".step-*"):
                final = self.folder / leftover.name.removeprefix(".").removesuffix(REPLACED)
                if leftover.name.endswith(REPLACED) and not final.exists():
                    leftover.rename(final)
                shutil.rmtree(leftover, ignore_errors=True)

    def publish(self, complete: Manifest) -> None:
        """Flush all of a checkpoint to the disk, then make it appear. Raises OSError."""
        temporary, final = self.temporary(complete.step), self.path(complete.step)
        manifest.write(complete, temporary / manifest.NAME)
        # A resumed run starts with the lines up to here: they have to outlive the machine too.
        logs = [path for path in (self._run.metrics, self._run.event_log) if path.exists()]
        for path in (temporary / manifest.NAME, *logs, temporary):
            _sync(path)
        replaced = self._hidden(complete.step, REPLACED)
        if final.exists():  # damaged, or from before a rollback
            final.rename(replaced)
        temporary.rename(final)
        _sync(self.folder)
        with suppress(OSError):
            self._discard(replaced)

    def point(self, step: int | None) -> str | None:
        """Let ``latest`` name the checkpoint of a step, None for none; return what went wrong."""
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
        """Hide a checkpoint for good, of which `sweep` frees the room; True if it worked."""
        try:
            self._discard(self.path(step))
        except OSError:
            return False
        return True

    def sweep(self) -> None:
        """Free the room of those that were dropped."""
        for dropped in self.folder.glob(f".step-*{DROPPED}"):
            shutil.rmtree(dropped, ignore_errors=True)

    def _discard(self, path: Path) -> None:
        """Leave a folder to `sweep`, under a new name: NFS may still have one with the usual."""
        name = f".{path.name.removeprefix('.')}.{secrets.token_hex(4)}{DROPPED}"
        path.rename(self.folder / name)

    def _hidden(self, step: int, ending: str) -> Path:
        return self.folder / f".{self.path(step).name}{ending}"


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
