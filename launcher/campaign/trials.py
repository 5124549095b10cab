"""From specs to jobs and back: what starts a trial, where it may not go, whether it goes again."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from launcher.backends import BACKENDS
from launcher.backends.worker_command import Execution
from launcher.campaign import preflight, retry
from launcher.campaign.labels import labels
from launcher.request.request import Request
from launcher.results import summary, tracking
from launcher.results.outcomes import NEXT_ACTION
from launcher.results.record import Prediction, RunRecord, write_prediction
from launcher.results.run_folder import RunFolder, Status
from launcher.schedulers import Job
from launcher.spec.run import RunSpec

RANK_BYTES = 400 * 2**20
"""Resident memory of a rank before it holds a model: Python, torch and megatron-core."""


def kept(request: Request, spec: RunSpec) -> int:
    """Checkpoints of a run on disk at once, the one that is being written included."""
    rolls_back = spec.train.spike_guard is not None
    return request.checkpoints.max_on_disk(spec.train.steps, rolls_back)


@dataclass(kw_only=True)
class Trials:
    """The trials of one sweep's folder."""

    request: Request
    folder: Path
    points: Sequence[RunSpec]
    start: Path | None = None
    """Folder of a run that all of them go on from; a stage goes on from the one before it."""
    avoid: dict[str, set[str]] = field(default_factory=dict)
    """For the id of a spec the nodes that earlier attempts of it point at."""

    def started(
        self, specs: Iterable[RunSpec], predicted: Callable[[RunSpec], Prediction]
    ) -> Iterator[Job]:
        """The jobs of specs, each with its folder, made as it is asked for."""
        for spec in specs:
            folder = RunFolder(self.folder / spec.name)
            folder.create(spec)
            write_prediction(folder, predicted(spec))
            tracking.write(folder, self.request.tracking, spec, self.labels[spec.name])
            yield self.job(spec)

    def job(self, spec: RunSpec) -> Job:
        """What starts a trial."""
        request, cluster, folder = self.request, spec.cluster, self.folder / spec.name
        backend = BACKENDS[spec.backend]
        execution = Execution(
            cache=preflight.cache_folder(request),
            hang_after=request.hang_after,
            checkpoint_every=request.checkpoint_every,
            checkpoints=request.checkpoints,
            start=self._start(spec),
            prepare=self._later(spec),
            sampling=request.sampling,
            python=preflight.interpreter(request),
        )
        return Job(
            name=spec.name,
            command=backend.command(folder, execution),
            folder=folder,
            nodes=cluster.nodes,
            ranks_per_node=cluster.gpus_per_node,
            time_limit=request.time_limit,
            memory=self._memory(spec),
            cards_per_node=0 if cluster.accelerator.name == "cpu" else cluster.gpus_per_node,
            checkpoint_bytes=backend.checkpoint_bytes(spec) if request.checkpoint_every else 0,
            checkpoints_kept=kept(request, spec) - 1,
            avoid=tuple(sorted(self.unfit | self._avoided(spec))),
            commit=preflight.commit(),
        )

    def _memory(self, spec: RunSpec) -> int:
        """What its ranks take of a machine, and the process beside them, which has only weights."""
        ranks = spec.cluster.gpus * RANK_BYTES + 16 * spec.model.params
        return ranks + (RANK_BYTES + 4 * spec.model.params if self.request.sampling else 0)

    def announce(self, known: Collection[str]) -> None:
        """Make the folders of stages to come: their data is looked at in the first one."""
        for spec in self.points:
            if spec.stage and spec.name not in known:
                RunFolder(self.folder / spec.name).create(spec)

    def _start(self, spec: RunSpec) -> Path | None:
        """The folder of the run that one goes on from."""
        if spec.stage is None:
            return self.start
        before = spec.stage.number - 2
        return self.folder / self.points[before].name if before >= 0 else None

    def _later(self, spec: RunSpec) -> tuple[Path, ...]:
        """The folders of the stages after one."""
        after = self.points[spec.stage.number :] if spec.stage else ()
        return tuple(self.folder / one.name for one in after)

    @cached_property
    def labels(self) -> dict[str, str]:
        """For the id of each point of the sweep what tells it from the others."""
        return labels(self.points)

    @property
    def unfit(self) -> set[str]:
        """Nodes that no trial is sent to."""
        return retry.unfit(self.avoid)

    def runs_again(self, spec: RunSpec, status: Status) -> bool:
        """Whether the same command runs a trial once more that has ended."""
        found = summary.record(spec, self.folder / spec.name)
        return self.has_more_time(status) or self.again(found, continued=True)

    def has_more_time(self, status: Status) -> bool:
        """Whether a trial that ran out of time is given more of it now."""
        limit = status.time_limit
        return status.stopped == "timeout" and limit is not None and self.request.time_limit > limit

    def again(self, found: RunRecord, continued: bool = False) -> bool:
        """Whether a record is to be replaced by another attempt; ``continued`` by a new command."""
        request, action = self.request, NEXT_ACTION[found.outcome]
        if continued and (action == "stop" or found.outcome in ("cancelled", *request.retry)):
            return True
        continues = request.checkpoint_every is not None
        if found.outcome == "timeout" and continues:
            action = "requeue"
        if action not in ("requeue", "elsewhere") or found.outcome == "cancelled":
            return False
        before = self._before(found)
        self.avoid[found.spec.name] = retry.blamed([found, *before])
        if found.outcome in retry.INNOCENT:
            return True
        most = request.max_hangs if found.outcome == "hang" else request.max_attempts
        return retry.failures(found, before, continues) < most

    def _before(self, found: RunRecord) -> list[RunRecord]:
        return list(retry.earlier(RunFolder(self.folder / found.spec.name), found.spec))

    def _avoided(self, spec: RunSpec) -> set[str]:
        """Nodes that earlier attempts of a trial point at, this launcher's or another's."""
        folder = RunFolder(self.folder / spec.name)
        status = folder.readable_status()
        if spec.name not in self.avoid and (status or folder.attempts()):
            last = summary.record(spec, folder.path)
            ends = [last] if status and status.state == "ended" else []
            self.avoid[spec.name] = retry.blamed([*ends, *self._before(last)])
        return self.avoid.get(spec.name, set())
