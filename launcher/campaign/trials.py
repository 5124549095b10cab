"""Jobs of specs: the command of a trial, its memory, the nodes it may not go to."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.backends import BACKENDS
from launcher.backends.worker_command import Execution, fork_server
from launcher.campaign import workspace
from launcher.campaign.plan import Plan
from launcher.campaign.retry import RetryPolicy
from launcher.request.request import Request
from launcher.results import tracking
from launcher.results.hanging import hang_seconds
from launcher.results.record import Prediction, write_prediction
from launcher.schedulers import Job
from launcher.spec.cluster import Cluster
from launcher.spec.run import RunSpec

RANK_BYTES = 400 * 2**20
"""Resident memory of a rank before it holds a model: Python, torch and megatron-core."""


def checkpoints_on_disk(request: Request, spec: RunSpec) -> int:
    """Checkpoints of a run on disk at once, the one that is being written included."""
    rolls_back = spec.train.spike_guard is not None
    return request.checkpoints.max_on_disk(spec.train.steps, rolls_back)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Trials of a plan."""

    plan: Plan
    retry: RetryPolicy

    def prepared(
        self, specs: Iterable[RunSpec], prediction: Callable[[RunSpec], Prediction]
    ) -> Iterator[Job]:
        """Yield the jobs of specs, each with its folder made at that moment. Raises WorkError."""
        for spec in specs:
            folder = self.plan.folder.run(spec.name)
            folder.create(spec)
            write_prediction(folder, prediction(spec))
            label = self.plan.labels[spec.name]
            tracking.write(folder, self.plan.request.tracking, spec, label)
            yield self.job(spec)

    def prepare_stages(self, started: Collection[str]) -> None:
        """Make the folders of stages to come: the first one looks at the data of all of them."""
        for spec in self.plan.points.values():
            if spec.stage and spec.name not in started:
                self.plan.folder.run(spec.name).create(spec)

    def job(self, spec: RunSpec) -> Job:
        """Job that starts a trial."""
        request, cluster = self.plan.request, spec.cluster
        backend, folder = BACKENDS[spec.backend], self.plan.folder.run(spec.name).path
        execution = Execution(
            cache=workspace.cache_folder(request),
            hang_after=request.hang_after or hang_seconds(self._step_seconds(spec)),
            # A ramp begins with steps that are much shorter than those to come.
            hang_follows=request.hang_after is None and spec.train.batch_ramp is None,
            checkpoint_every=request.checkpoint_every,
            checkpoints=request.checkpoints,
            start=self._start(spec),
            prepare=self._later_stages(spec),
            sampling=request.sampling,
            python=workspace.interpreter(request),
        )
        command = backend.command(folder, execution)
        return Job(
            name=spec.name,
            command=command,
            fork_server=self._fork_server(command, cluster),
            folder=folder,
            nodes=cluster.nodes,
            ranks_per_node=cluster.gpus_per_node,
            time_limit=request.time_limit,
            memory=self._memory(spec),
            cards_per_node=0 if cluster.accelerator.name == "cpu" else cluster.gpus_per_node,
            checkpoint_bytes=backend.checkpoint_bytes(spec) if request.checkpoint_every else 0,
            checkpoints_kept=checkpoints_on_disk(request, spec) - 1,
            avoid=tuple(sorted(self.retry.unfit | self.retry.avoided(spec))),
            commit=workspace.commit(),
        )

    def _fork_server(self, command: Sequence[str], cluster: Cluster) -> tuple[str, ...]:
        """Command of the process to fork ranks from: worth its start where there are several.

        A trial with variables of its own has none: torch has read some when it is imported.
        """
        points = self.plan.points.values()
        if len(points) == 1 or cluster.environment:
            return ()
        return fork_server(command, cluster.accelerator.name, {point.backend for point in points})

    def _step_seconds(self, spec: RunSpec) -> float | None:
        """Predicted seconds of a step of the trial; None of a point that was not predicted."""
        prediction = self.plan.predictions.get(spec.name)
        milliseconds = prediction.trial_step_ms if prediction else None
        return milliseconds / 1000 if milliseconds else None

    def _memory(self, spec: RunSpec) -> int:
        """Bytes of memory for its ranks."""
        return spec.cluster.gpus * RANK_BYTES + 16 * spec.model.params

    def _start(self, spec: RunSpec) -> Path | None:
        """Folder of the run that one goes on from: of a stage, the stage before it."""
        if spec.stage is None:
            return self.plan.start
        stages = list(self.plan.points)
        index = spec.stage.number - 2  # of the stage before; numbers count from 1
        return self.plan.folder.run(stages[index]).path if index >= 0 else None

    def _later_stages(self, spec: RunSpec) -> tuple[Path, ...]:
        """Folders of the stages after one."""
        later = list(self.plan.points)[spec.stage.number :] if spec.stage else ()
        return tuple(self.plan.folder.run(name).path for name in later)
