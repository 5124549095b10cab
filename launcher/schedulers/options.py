"""The keys below ``scheduler``: where and how jobs run."""

import re
from dataclasses import dataclass, field
from typing import Literal

from launcher.decode import Count, NotNegative, Positive, Whole
from launcher.errors import ConfigError
from launcher.spec.environment import SECRET


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """The image that ranks run in; the launcher itself stays outside of it."""

    image: str
    """A path or a reference, as the runtime takes it."""
    runtime: Literal["pyxis", "apptainer"] = "pyxis"
    """``srun --container-image`` of NVIDIA's pyxis plugin, or ``apptainer exec`` in each task."""
    mounts: tuple[str, ...] = ()
    """``SOURCE:TARGET`` each. The folders of output, cache and this project's code are mounted at
    their own places without being named."""
    arguments: tuple[str, ...] = ()
    """More options: of srun for pyxis (``--container-writable``), of ``apptainer exec``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """Checks of each node before a trial starts there."""

    enabled: bool = True
    cards: Whole | None = None
    """Accelerators to check on each node; null: as many as the trial asks for."""
    free_memory_pct: NotNegative = 95.0
    """Percentage of each card's memory that must be free."""
    clock_seconds: Positive = 5.0
    """Seconds the clock of a node may differ from that of the first one."""
    probe_mib: Count = 16
    """MiB written to, and read back from, each folder the run writes to."""
    allreduce_mib: Count | None = None
    """MiB of the all-reduce between the ranks before the model is built; null: 512 on cards, whose
    links a smaller one does not fill, else 16."""
    allreduce_seconds: Positive = 120.0
    """Seconds that all of them may take, connecting included."""

    def allreduce_size(self, cards_per_node: int) -> int:
        """Return the MiB of the all-reduce between ranks that have cards, or have none."""
        return self.allreduce_mib or (512 if cards_per_node else 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerOptions:
    """The scheduler, and the options of its jobs; None leaves one to the cluster's own default."""

    name: str = "local"
    """local, this machine, or slurm, the cluster's batch system, which all other keys are for."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    exclude: tuple[str, ...] = ()
    """Nodes not to run on."""
    exclusive: bool = False
    """Whole nodes, whatever a trial takes of them."""
    cpus_per_task: Count | None = None
    """CPU cores of one rank."""
    memory_per_task_gib: Positive | None = None
    """Memory of one rank, GiB."""
    modules: tuple[str, ...] = ()
    """Environment modules loaded before the ranks start."""
    setup: tuple[str, ...] = ()
    """Lines of shell run, as they are, on the first node before the ranks start."""
    environment: dict[str, str | int] = field(default_factory=dict)
    """Variables set for every rank."""
    container: Container | None = None
    sbatch: dict[str, str | int | bool] = field(default_factory=dict)
    """More parameters of sbatch: ``{mail-type: END, mem: 0}``. They win over all others."""
    srun: tuple[str, ...] = ()
    """More options of srun."""
    python: str | None = None
    """Interpreter of the ranks, where it is not the launcher's own."""
    signal_before: Positive = 120.0
    """Seconds before the time limit at which a run with checkpoints makes its last one."""
    interval: Positive = 30.0
    """Seconds between two questions to SLURM at the least, for a whole sweep."""
    checks: Checks = field(default_factory=Checks)

    def check(self) -> None:
        """Raise ConfigError on values that would break the lines of a batch script."""
        lines = {name: getattr(self, name) for name in _ON_A_LINE}
        lines |= {f"sbatch.{key}": value for key, value in self.sbatch.items()}
        lines |= {f"exclude[{number}]": node for number, node in enumerate(self.exclude)}
        lines |= {f"sbatch key {key!r}": key for key in self.sbatch}
        for key, value in lines.items():
            parameter = key.removeprefix("sbatch.").replace("-", "_")
            if key.startswith("sbatch.") and parameter in RESERVED:
                raise ConfigError(f"scheduler.{key}: is how a job is found again; leave it out")
            if isinstance(value, str) and any(char in value for char in "\n\r\0"):
                raise ConfigError(f"scheduler.{key}: {value!r} is not one line")
        texts = [*self.setup, *map(str, self.sbatch.values()), *self.srun]
        assigned = [name for text in texts for name in ASSIGNMENT.findall(text)]
        for name in (*self.environment, *assigned):
            if SECRET.search(name):
                where = f".environment.{name}" if name in self.environment else f": {name}"
                raise ConfigError(
                    f"scheduler{where}: looks like a secret, which files would keep; export it"
                    " where you call launch: sbatch passes the environment on"
                )
        for name, value in self.environment.items():
            if not name.isidentifier() or "\0" in str(value):
                raise ConfigError(f"scheduler.environment: {name!r} is no name of a variable")


RESERVED = {"array", "job_name", "output", "error", "chdir", "parsable", "wait", "open_mode"}
"""Parameters of sbatch that are not a user's to set."""

ASSIGNMENT = re.compile(r"(\w+)=")

_ON_A_LINE = ("partition", "account", "qos", "reservation", "constraint")
