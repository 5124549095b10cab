"""Link between a campaign, which has specs and records, and a strategy, which has numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launcher.campaign.plan import Plan, codes_of
from launcher.errors import ConfigError
from launcher.planner.forecast import Forecast, Observation
from launcher.planner.points import GIB, Array
from launcher.results.columns import SPEED
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import Prediction, RunRecord
from launcher.spec.run import RunSpec
from sweeps import LEARNING, Search, merit, strategy

ROOM = 4
"""Trials at once where ``parallel`` is not given and the strategy learns from each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Answer of a strategy, in specs."""

    next_specs: list[RunSpec]
    """Points to run next, the best first."""
    given_up: dict[str, str]
    """Reasons of the points, by their names, that are not worth a trial."""


class Chooser:
    """Chooses the next points by all records so far, and predicts every point."""

    def __init__(self, plan: Plan) -> None:
        """Raises ConfigError: halving without rungs; see `Plan.grid`."""
        request, specs = plan.request, plan.candidates
        self._plan = plan
        self.sweep, self.specs = request.points, specs
        self.index = {spec.name: i for i, spec in enumerate(specs)}
        self.grid = plan.grid
        self.steps = np.array([spec.train.steps for spec in specs], dtype=float)
        self.twins = _twins(plan.differences, len(specs))
        self.forecast = Forecast(grid=self.grid)
        """Forecast of the last choice."""
        name, self._choose = strategy(self.sweep, len(specs))
        self.learns = name if name in LEARNING else None
        """Name of the strategy, if it chooses by the results of trials."""
        if name == "halving" and len(set(self.steps)) < 2:
            raise ConfigError(
                "sweep.strategy: halving needs rungs: an axis train.steps of several values"
            )
        self.room = request.parallel or ROOM if self.learns else len(specs)

    def choose(self, records: Mapping[str, RunRecord], running: Iterable[str]) -> Choice:
        """Choose by the records of what has ended, and the names of what runs."""
        ended = {
            name: records[name]
            for name in self.index.keys() & records.keys()
            if records[name].outcome not in NEVER_RAN
        }

        def by_end(name: str) -> tuple[float, int]:
            return ended[name].ended or 0.0, self.index[name]

        search = Search(
            grid=self.grid,
            observations={
                self.index[name]: _observation(ended[name]) for name in sorted(ended, key=by_end)
            },
            running=frozenset(self.index[name] for name in running),
            stop=self.sweep.stop,
            gpu_hours=sum(map(_gpu_hours, ended.values())),
            room=self.room,
            seed=self.sweep.seed,
            steps=self.steps,
            twins=self.twins,
            merits=self._merits(ended),
        )
        answer, self.forecast = self._choose(search), search.forecast
        return Choice(
            next_specs=[self.specs[i] for i in answer.next],
            given_up={self.specs[i].name: reason for i, reason in answer.given_up.items()},
        )

    def _merits(self, ended: Mapping[str, RunRecord]) -> dict[int, float] | None:
        if self.sweep.goal == SPEED:
            return None
        merits = {self.index[name]: merit(self.sweep.goal, ended[name]) for name in ended}
        return {index: value for index, value in merits.items() if value is not None}

    def prediction(self, spec: RunSpec) -> Prediction:
        """Prediction of a point by all trials so far; an empty one of a point that cannot run."""
        if spec.name not in self.index:
            return Prediction()
        return self._plan.prediction(self.forecast, self.index[spec.name])


def _observation(record: RunRecord) -> Observation:
    figures = record.figures
    if record.outcome != "ok":
        return Observation(fitted=False if record.outcome == "oom" else None)
    reserved = figures.memory_kind == "cuda reserved" and figures.mem_max_gib is not None
    memory = figures.mem_max_gib * GIB if reserved and figures.mem_max_gib else None
    step = None if figures.step_ms_p50 is None else figures.step_ms_p50 / 1e3
    return Observation(fitted=True, step=step, memory=memory)


def _gpu_hours(record: RunRecord) -> float:
    return record.spec.cluster.gpus * (record.seconds or 0.0) / 3600


def _twins(differ: Mapping[str, Sequence[Any]], count: int) -> Array:
    """Number the points, so that those have one number that differ in their steps alone.

    The micro batches of a trial follow from its steps.
    """
    if "train.steps" not in differ:
        return np.arange(count)
    lengths = {"train.steps", "train.probe_micro_batches"}
    columns = [codes_of(values) for name, values in differ.items() if name not in lengths]
    rows = np.array(columns, dtype=float).reshape(len(columns), count).T
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(count)
