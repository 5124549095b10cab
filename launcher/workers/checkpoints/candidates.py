"""Which checkpoints a run may go on from, and what is wrong with one that it may not."""

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
class Loaded:
    """What a run goes on from."""

    step: int
    progress: dict[str, Any]
    """What was handed to `Checkpoints.save`."""
    bytes_read: int
    """By this rank, of tensors."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that is there as far as its name says."""

    step: int
    path: Path
    own: bool
    """It is in the folder of this run, not of the one that this run begins from."""

    def __str__(self) -> str:
        of = "" if self.own else f" of {self.path.parents[1]}"
        return f"checkpoint at step {self.step}{of}"

    def examined(self, spec: RunSpec, rank: int, ranks: int) -> Manifest | str:
        """The manifest, or what is wrong with it or with the files that this rank looks at."""
        try:
            found = manifest.read(self.path / manifest.NAME)
            problem = self._refusal(found, spec)
            for name in sorted(found.files)[rank::ranks]:
                if problem:
                    break
                part = found.files[name]
                if tensorfile.measured(self.path / name) != (part.bytes, part.sha256):
                    problem = f"{name} is not what was written"
        except (ReadError, ConfigError) as error:
            return str(error)
        except OSError as error:
            return f"{Path(error.filename or self.path).name}: {error.strerror}"
        return problem or found

    def _refusal(self, found: Manifest, spec: RunSpec) -> str | None:
        """Why it is not to be gone on from; the model is not its concern."""
        if found.step != self.step:
            return f"it is of step {found.step}"
        if found.trajectory == spec.trajectory:
            return None
        parent = spec.stage.parent if spec.stage and not self.own else None
        if parent is None or found.trajectory != parent:
            return f"it is of trajectory {found.trajectory}, this run of {spec.trajectory}"
        if found.step != spec.first:
            return f"the stage before it ends with step {spec.first}"
        return None


def candidates(
    shelf: CheckpointDirectory, start: CheckpointDirectory | None, until: int | None
) -> Iterator[Candidate]:
    """Those up to a step, as rank 0 finds them: the run's own first, of each the newest first."""
    for place, own in ((shelf, True), (start, False)):
        here = place.steps() if place and dist.get_rank() == 0 else []
        here = [step for step in here if until is None or step <= until]
        most = int(gather([len(here)])[0][0])
        steps = gather(here or [0] * most)[0] if most else []
        for step in steps:
            assert place is not None
            yield Candidate(int(step), place.path(int(step)), own)
