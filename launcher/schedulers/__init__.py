"""The seam of schedulers: they run commands somewhere and say which have ended.

A scheduler knows commands and folders, never specs: what a command computes is its backend's
affair. It keeps what it knows in `launcher.results.run_folder.Status`, before a job starts and when
it has ended, so that any later process can tell.

To add one: a class with what `Scheduler` asks for, and one line in
`launcher.request.schedulers.SCHEDULERS`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from launcher.schedulers.options import SchedulerOptions
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.cluster import Cluster


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One command, to be started once per rank."""

    name: str
    """The spec's id."""
    command: tuple[str, ...]
    """An argument list; every rank gets the same and learns its rank from the environment."""
    folder: Path
    """The run's folder; rank N prints to ``log/rankN.txt`` below it."""
    nodes: int
    ranks_per_node: int
    time_limit: float
    """Seconds after which it is ended."""
    fork_server: tuple[str, ...] = ()
    """Command of a process that has imported what ranks import, and forks them in a moment
    (`launcher.schedulers.fork_server`). Empty: each rank starts by itself."""
    memory: int
    """Bytes its ranks need at the very least, together."""
    cards_per_node: int = 0
    """Accelerators to request on each node; 0 for ranks on CPU cores."""
    checkpoint_bytes: int = 0
    """Bytes on disk of one checkpoint; 0 where it makes none and can only start again."""
    checkpoints_kept: int = Checkpointing().keep_last
    """Checkpoints that stay while the next is written."""
    avoid: tuple[str, ...] = ()
    """Nodes it must not run on."""
    commit: str | None = None
    """Commit of this project."""

    @property
    def ranks(self) -> int:
        """Processes of the job over all nodes."""
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Settings that all jobs of one command share."""

    options: SchedulerOptions
    folder: Path
    """Folder of the sweep."""
    code: Path
    """Folder of the copies of this project's code."""
    cluster: str = ""
    """Name of the command's cluster, for messages."""
    writes_to: tuple[str, ...] = ()
    """Folders besides the run's own that ranks read from or write to."""
    hang_after: float
    """Seconds without a finished step after which a rank counts as hung."""
    parallel: int | None = None
    """Jobs at once at the most; None is as many as there is room for."""


class Scheduler(Protocol):
    """The seam. Leaving the context ends or detaches what still runs, as the scheduler sees fit."""

    queues: ClassVar[bool]
    """Jobs wait in a queue and outlive the launcher: ``submit``, ``detach`` and ``cancel`` make
    sense, and a last checkpoint is due before the time limit."""
    several_nodes: ClassVar[bool]
    """Ranks may run on several nodes; False: on the launcher's own machine and nowhere else."""

    @classmethod
    def opened(cls, setting: Setting, clusters: Sequence[Cluster]) -> Self:
        """Return the scheduler, once it is known that it can run on these clusters.

        Raises:
            RequestError: it cannot: its commands are missing, or a cluster is too large for it.
        """

    def submit(self, jobs: Iterable[Job]) -> list[str]:
        """Take jobs in their order while there is room, and return the names of those taken.

        What is not taken may be offered again, or something better once more is known.
        """

    def adopt(self, job: Job) -> bool:
        """Take over a job that an earlier launcher submitted; False where it runs no more."""

    def poll(self) -> list[Job]:
        """The jobs that ended since the last call."""

    def cancel(self, names: Sequence[str]) -> None:
        """End jobs; `poll` returns them as ended."""

    def avoid(self, nodes: Sequence[str]) -> None:
        """Keep what has not started yet away from nodes that are found unfit."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
