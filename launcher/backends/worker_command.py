"""The command of ``launcher.workers``, shared by all engines that train there."""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.decode import encode
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Settings of how a run is carried out; nothing here changes the values it computes."""

    cache: Path
    """Folder of tokenised data."""
    hang_after: float
    """Seconds without a finished step after which a rank counts as hung."""
    hang_follows: bool = False
    """True where that follows the steps as soon as some are measured."""
    checkpoint_every: int | None = None
    """Optimizer steps from one checkpoint to the next; None for a run that makes none."""
    checkpoints: Checkpointing = field(default_factory=Checkpointing)
    start: Path | None = None
    """Folder of the run that this one goes on from."""
    prepare: tuple[Path, ...] = ()
    """Folders of runs to come, whose data is looked at now."""
    sampling: Sampling | None = None
    """Validation losses and texts at each checkpoint; None is neither."""
    python: str = sys.executable
    """The interpreter, as the machines that train know it."""


TRAIN = ("-P", "-m", "launcher.workers.train")
"""Words of a rank's command after its interpreter."""


def fork_server(
    command: Sequence[str], accelerator: str, engines: Collection[str]
) -> tuple[str, ...]:
    """Return the command of a process that ranks may be forked from.

    Args:
        command: of a rank; the result is empty where it runs another program than ours.
        accelerator: name of the card, or ``cpu``.
        engines: names of the backends whose ranks it will fork.
    """
    python, *words = command
    if tuple(words[: len(TRAIN)]) != TRAIN:
        return ()
    server = (python, "-P", "-m", "launcher.workers.fork_server", "--accelerator", accelerator)
    return (*server, "--engines", *sorted(engines))


class WorkerBackend:
    """An engine of ``launcher.workers``; a subclass checks the rules of its framework."""

    packages: tuple[str, ...] = ()

    def command(self, folder: Path, execution: Execution) -> tuple[str, ...]:
        """Return the command of one rank, which reads ``spec.json`` and its rank's environment."""
        words = [execution.python, *TRAIN]
        words += ["--folder", str(folder), "--cache", str(execution.cache)]
        words += ["--hang-after", str(execution.hang_after)]
        words += ["--hang-follows"] if execution.hang_follows else []
        if execution.checkpoint_every is not None:
            words += ["--checkpoint-every", str(execution.checkpoint_every)]
            words += ["--checkpoints", json.dumps(encode(execution.checkpoints))]
        if execution.start is not None:
            words += ["--start", str(execution.start)]
        if execution.prepare:
            words += ["--prepare", *map(str, execution.prepare)]
        if execution.sampling is not None:
            words += ["--sampling", json.dumps(encode(execution.sampling))]
        return tuple(words)

    def checkpoint_bytes(self, spec: RunSpec) -> int:
        """Bytes of its tensors over all ranks: an fp32 weight and two moments, written once."""
        return 12 * spec.model.params
