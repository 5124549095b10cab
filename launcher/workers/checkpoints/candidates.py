"""Candidates for a run to go on from: its checkpoints, and what is wrong with those it refuses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from launcher.errors import ConfigError, ReadError
from launcher.spec.run import RunSpec
from launcher.workers.checkpoints import manifest, tensorfile
from launcher.workers.checkpoints.directory import CheckpointDirectory
from launcher.workers.checkpoints.manifest import Manifest
from launcher.workers.collectives import gather


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """The checkpoint that a run goes on from."""

    step: int
    progress: dict[str, Any]
    """JSON that was handed to `Checkpoints.save`."""
    bytes_read: int
    """Bytes of tensors that this rank has read."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that is complete as far as its name says."""

    step: int
    path: Path
    of_this_run: bool
    """True in the folder of this run, False in that of the run that this one begins from."""

    def __str__(self) -> str:
        origin = "" if self.of_this_run else f" of {self.path.parents[1]}"
        return f"checkpoint at step {self.step}{origin}"

    def examine(self, spec: RunSpec, rank: int, ranks: int) -> Manifest | str:
        """Return the manifest, or what is wrong with it or with this rank's share of the files."""
        try:
            checkpoint = manifest.read(self.path / manifest.NAME)
            problem = self._mismatch(checkpoint, spec)
            for name in sorted(checkpoint.files)[rank::ranks]:
                if problem:
                    break
                part = checkpoint.files[name]
                if tensorfile.size_and_sha256(self.path / name) != (part.bytes, part.sha256):
                    problem = f"{name} is not what was written"
        except (ReadError, ConfigError) as error:
            return str(error)
        except OSError as error:
            return f"{Path(error.filename or self.path).name}: {error.strerror}"
        return problem or checkpoint

    def _mismatch(self, checkpoint: Manifest, spec: RunSpec) -> str | None:
        """Reason why a run of ``spec`` does not go on from it; None if it does.

        The model is not compared: a difference there is an error, not a reason to look further.
        """
        if checkpoint.step != self.step:
            return f"it is of step {checkpoint.step}"
        if checkpoint.trajectory == spec.trajectory:
            return None
        parent = spec.stage.parent if spec.stage and not self.of_this_run else None
        if parent is None or checkpoint.trajectory != parent:
            return f"it is of trajectory {checkpoint.trajectory}, this run of {spec.trajectory}"
        if checkpoint.step != spec.first:
            return f"the stage before it ends with step {spec.first}"
        return None


def candidates(
    run: CheckpointDirectory, start: CheckpointDirectory | None, until: int | None
) -> Iterator[Candidate]:
    """Checkpoints up to step ``until``: the run's own first, then ``start``'s; newest first.

    All ranks take rank 0's list, as a network file system may show each of them another one. A
    collective: every rank must iterate equally far.
    """
    for directory, of_this_run in ((run, True), (start, False)):
        listed = directory.steps() if directory and dist.get_rank() == 0 else []
        listed = [step for step in listed if until is None or step <= until]
        count = int(gather([len(listed)])[0][0])
        steps = gather(listed or [0] * count)[0] if count else []
        for step in steps:
            assert directory is not None
            yield Candidate(int(step), directory.path(int(step)), of_this_run)
