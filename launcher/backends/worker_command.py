"""What every engine that trains in ``launcher.workers`` shares: how its ranks are started."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from launcher.decode import encode
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Conduct:
    """How a run is gone about; nothing here changes what it computes."""

    cache: Path
    """Folder of tokenised data."""
    hang_after: float
    """Seconds without a finished step after which a rank counts as hung."""
    checkpoint_every: int | None = None
    """Optimizer steps from one checkpoint to the next; None for a run that makes none."""
    checkpoints: Checkpointing = field(default_factory=Checkpointing)
    start: Path | None = None
    """Folder of the run that this one goes on from."""
    prepare: tuple[Path, ...] = ()
    """Folders of runs to come, whose data is looked at now."""
    sampling: Sampling | None = None
    """What is tried with each checkpoint; None is nothing."""
    python: str = sys.executable
    """The interpreter, as the machines that train know it."""


class TrainedHere:
    """The command of an engine; a subclass says what the framework refuses."""

    packages: tuple[str, ...] = ()

    def command(self, folder: Path, conduct: Conduct) -> tuple[str, ...]:
        """One rank: it reads ``spec.json`` of the folder, and its rank from the environment."""
        words = [conduct.python, "-P", "-m", "launcher.workers.train"]
        words += ["--folder", str(folder), "--cache", str(conduct.cache)]
        words += ["--hang-after", str(conduct.hang_after)]
        if conduct.checkpoint_every is not None:
            words += ["--checkpoint-every", str(conduct.checkpoint_every)]
            words += ["--checkpoints", json.dumps(encode(conduct.checkpoints))]
        if conduct.start is not None:
            words += ["--start", str(conduct.start)]
        if conduct.prepare:
            words += ["--prepare", *map(str, conduct.prepare)]
        if conduct.sampling is not None:
            words += ["--sampling", json.dumps(encode(conduct.sampling))]
        return tuple(words)

    def checkpoint_bytes(self, spec: RunSpec) -> int:
        """Of its tensors, over all ranks: an fp32 weight and two moments, each written once."""
        return 12 * spec.model.params
