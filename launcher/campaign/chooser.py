"""Link between a campaign, which has specs and records, and a strategy, which has numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launcher.backends import engine_traits
from launcher.campaign.plan import Plan
from launcher.errors import ConfigError
from launcher.planner.constants import constants_of
from launcher.planner.forecast import Forecast, Grid, Observation
from launcher.planner.points import GIB, Array, Points
from launcher.results.outcomes import NEVER_RAN
from launcher.results.record import Prediction, RunRecord
from launcher.spec.run import RunSpec
from sweeps import LEARNING, Search, strategy
from sweeps.labels import differences

ROOM = 4
"""Trials at once where ``parallel`` is not given and the strategy learns from each."""

MODELLED = {
    "model",
    "layout",
    "cluster",
    "backend",
    "train.global_batch",
    "train.precision",
    "train.steps",
    "train.tokens",
    "train.seed",
    "train.untimed_steps",
}
"""Fields, or groups of them, whose effect on speed and memory the formulas describe."""

NOT_MODELLED = {"layout.overlap_p2p"}
"""Fields of these groups whose effect they do not describe."""


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
        """Raises ConfigError: no such constants, halving without rungs."""
        request, specs = plan.request, plan.candidates
        self.sweep, self.specs = request.points, specs
        self.index = {spec.name: i for i, spec in enumerate(specs)}
        differ = differences(specs)
        self.grid = Grid(
            points=Points.from_specs(specs, engine_traits),
            constants=constants_of(request.constants),
            extra=_not_modelled(differ, len(specs)),
        )
        self.steps = np.array([spec.train.steps for spec in specs], dtype=float)
        self.twins = _twins(differ, len(specs))
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
        )
        answer, self.forecast = self._choose(search), search.forecast
        return Choice(
            next_specs=[self.specs[i] for i in answer.next],
            given_up={self.specs[i].name: reason for i, reason in answer.given_up.items()},
        )

    def prediction(self, spec: RunSpec) -> Prediction:
        """Expected memory and step time of a point; an empty one of a point that cannot run."""
        if spec.name not in self.index:
            return Prediction()
        i, forecast = self.index[spec.name], self.forecast
        return Prediction(
            memory_gib=float(forecast.reported_bytes[i]) / GIB,
            oom=float(forecast.oom[i]) if np.isfinite(self.grid.points.memory[i]) else None,
            step_ms=1e3 * float(np.exp(forecast.log_seconds[i])),
            step_error=float(forecast.deviation[i]),
        )


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


def _not_modelled(differ: Mapping[str, Sequence[Any]], count: int) -> Array:
    """Number the values of axes that no formula describes, such as a tokenizer."""
    columns = [
        _codes(values)
        for name, values in differ.items()
        if name in NOT_MODELLED or (name.split(".")[0] not in MODELLED and name not in MODELLED)
    ]
    return np.array(columns, dtype=float).reshape(len(columns), count).T


def _twins(differ: Mapping[str, Sequence[Any]], count: int) -> Array:
    """Number the points, so that those have one number that differ in their steps alone."""
    if "train.steps" not in differ:
        return np.arange(count)
    columns = [_codes(values) for name, values in differ.items() if name != "train.steps"]
    rows = np.array(columns, dtype=float).reshape(len(columns), count).T
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(count)


def _codes(values: Sequence[Any]) -> list[int]:
    codes: dict[str, int] = {}
    return [codes.setdefault(repr(value), len(codes)) for value in values]
