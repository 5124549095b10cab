"""Request of one command, decoded."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from launcher.decode import Count, Positive, look_up
from launcher.errors import ConfigError
from launcher.request.schedulers import SCHEDULERS
from launcher.results.columns import GOALS, SPEED
from launcher.results.outcomes import Outcome
from launcher.results.sweep_folder import SweepFolder
from launcher.schedulers import Scheduler
from launcher.schedulers.options import SchedulerOptions
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.cluster import Cluster
from launcher.spec.curriculum import Curriculum
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import Data, RunSpec, Train
from launcher.spec.sampling import Sampling
from launcher.spec.shape import ModelShape
from launcher.spec.tracking import Tracking
from sweeps import STRATEGIES, Sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Composed configuration: a run, perhaps a sweep around it, and its execution."""

    model: ModelShape
    layout: ParallelLayout
    cluster: Cluster
    train: Train
    data: Data
    backend: str
    scheduler: SchedulerOptions
    sweep: Sweep | None = None
    curriculum: Curriculum | None = None
    tracking: Tracking = field(default_factory=Tracking)
    name: str | None = None
    """Folder of the runs below output; the sweep's name, or "single", where not given."""
    output: str = "runs"
    """Folder that all runs go below."""
    cache: str | None = None
    """Folder of tokenised data; <output>/.cache where not given. Shared by all nodes."""
    parallel: Count | None = None
    """Trials at once at most, on SLURM of each shape (nodes, cards); None is as many as there is
    room for."""
    time_limit: Positive = 3600.0
    """Seconds a trial may take, start-up included."""
    hang_after: Positive | None = None
    """Seconds without a finished step after which a trial counts as hung; null follows the steps of
    each: 5 of those predicted, then of those measured, but no less than 300 s."""
    checkpoint_every: Count | None = None
    """Optimizer steps from one checkpoint to the next. An interrupted run goes on from the last
    one; without checkpoints, as suits a probe, it starts again."""
    checkpoints: Checkpointing = field(default_factory=Checkpointing)
    sampling: Sampling | None = None
    """Validation losses and texts at each checkpoint, by the ranks that train; null is neither."""
    max_attempts: Count = 3
    """Failures of one spec of the same kind, without a step of progress from one to the next,
    after which it is given up. Only what is worth another try is tried again at all."""
    max_hangs: Count = 2
    """``max_attempts`` of hangs, which cost most."""
    detach: bool = False
    """Return once all is submitted; the same command, status, cancel and table go on from there."""
    retry: tuple[Outcome, ...] = ()
    """Outcomes whose finished trials run again."""
    constants: str | None = None
    """File of the planner's constants, as `launch plan --fit` writes it; null is those shipped."""
    price_per_gpu_hour: Positive | None = None
    """Price of one card for an hour, in any currency: the plan then has the price of training."""

    @property
    def spec(self) -> RunSpec:
        """Spec of the run, without the sweep around it."""
        names = [f.name for f in dataclasses.fields(RunSpec) if f.name != "stage"]
        return RunSpec(**{name: getattr(self, name) for name in names})

    @property
    def root(self) -> Path:
        """Folder of ``output``; a shell leaves the ~ of ``output=~/runs`` to us."""
        return Path(self.output).expanduser().resolve()

    @property
    def folder(self) -> SweepFolder:
        """Folder of all runs of this request."""
        return SweepFolder(self.root / (self.name or self.points.name))

    @property
    def points(self) -> Sweep:
        """Sweep of the request; one run is one of one point, a curriculum one of its stages."""
        if self.curriculum:
            return Sweep(name=self.curriculum.name, strategy="in_order")
        return self.sweep or Sweep(name=self.name or "single")

    @property
    def scheduler_class(self) -> type[Scheduler]:
        """Class of the scheduler, whose attributes tell what it can do."""
        return SCHEDULERS[self.scheduler.name]

    @property
    def unit(self) -> str:
        """Word for one of the points."""
        return "stage" if self.curriculum else "point"

    def check(self) -> "Request":
        """Raise ConfigError on what is wrong with every point of the request; return itself."""
        if self.points.strategy is not None:
            look_up(self.points.strategy, STRATEGIES, "sweep.strategy")
        look_up(self.points.goal, GOALS, "sweep.goal")
        if self.points.goal != SPEED and self.points.strategy == "best_first":
            raise ConfigError(
                f"sweep.strategy: best_first looks for the highest {SPEED}, and sweep.goal is"
                f" {self.points.goal}: take grid, random or halving"
            )
        if not self.output.strip():
            raise ConfigError("output: is empty; name a folder")
        self.tracking.check()
        self.checkpoints.check(self.checkpoint_every)
        if self.sampling:
            self.sampling.check(self.checkpoint_every)
        if self.curriculum:
            self._check_curriculum(self.curriculum)
        if self.train.spike_guard and not self.checkpoint_every:
            raise ConfigError("train.spike_guard: rolls back to checkpoints; give checkpoint_every")
        queues = look_up(self.scheduler.name, SCHEDULERS, "scheduler.name").queues
        if self.detach and not queues:
            raise ConfigError(
                f"detach: true, but scheduler.name {self.scheduler.name} ends its trials when it"
                " ends"
            )
        signal_before, limit = self.scheduler.signal_before, self.time_limit
        if self.checkpoint_every and queues and signal_before > limit / 2:
            raise ConfigError(
                f"scheduler.signal_before: {signal_before:g} s for the last checkpoint leaves less"
                f" than half of time_limit {limit:g} s to train"
            )
        self.scheduler.check()
        for name in self.cluster.environment.keys() & self.scheduler.environment.keys():
            raise ConfigError(
                f"cluster.environment.{name}: {self.cluster.environment[name]}, and"
                f" scheduler.environment.{name}: {self.scheduler.environment[name]}; give one of"
                " them"
            )
        default = "curriculum.name" if self.curriculum else "sweep.name"
        _check_name("name" if self.name else default, self.name or self.points.name)
        return self

    def _check_curriculum(self, curriculum: Curriculum) -> None:
        curriculum.check()
        if self.sweep:
            raise ConfigError(
                f"curriculum: {curriculum.name}, and sweep: {self.sweep.name}; give one of them"
            )
        if self.train.batch_ramp:
            raise ConfigError(
                "train.batch_ramp: a stage has one of its own, in curriculum.stages.NAME.batch_ramp"
            )
        if not self.checkpoint_every:
            raise ConfigError(
                "checkpoint_every: null, but each stage of a curriculum goes on from"
                " the last checkpoint of the one before"
            )


def _check_name(key: str, name: str) -> None:
    if not name.strip() or "/" in name or "\0" in name or name.startswith("."):
        raise ConfigError(f"{key}: {name!r} cannot name a folder")
