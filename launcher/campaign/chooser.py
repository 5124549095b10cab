"""Between the sweep's loop, which has specs and records, and its strategy, which has numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from launcher.backends import engine_traits
from launcher.campaign.labels import differences
from launcher.errors import ConfigError
from launcher.planner.constants import constants_of
from launcher.planner.forecast import Forecast, Grid, Observation
from launcher.planner.points import GIB, Array, Points
from launcher.request.request import Request
from launcher.results.record import NEVER_RAN, Prediction, RunRecord
from launcher.spec.run import RunSpec
from sweeps import LEARNING, Search, strategy

ROOM = 4
"""Trials at once where ``parallel`` is not given and the strategy learns from each."""

KNOWN = {"model", "layout", "cluster", "backend", "train.global_batch", "train.precision",
         "train.steps", "train.tokens", "train.seed", "train.untimed_steps"}  # fmt: skip
"""Fields, or groups of them, of whose effect on speed and memory the formulas know."""

UNKNOWN = {"layout.overlap_p2p"}
"""Fields of these groups of which they do not."""


class Chooser:
    """Says what to run next, and what is expected of every point."""

    def __init__(self, request: Request, specs: Sequence[RunSpec]) -> None:
        """For specs that can run. Raises ConfigError: no such constants, halving without rungs."""
        self.sweep, self.specs = request.points, specs
        self.number = {spec.name: i for i, spec in enumerate(specs)}
        differ = differences(specs)
        self.grid = Grid(
            points=Points.from_specs(specs, engine_traits),
            constants=constants_of(request.constants),
            extra=_unknown(differ, len(specs)),
        )
        self.steps = np.array([spec.train.steps for spec in specs], dtype=float)
        self.twins = _twins(differ, len(specs))
        self.forecast = Forecast(grid=self.grid)
        """As of the last question."""
        name, self._choose = strategy(self.sweep, len(specs))
        self.learns = name if name in LEARNING else None
        """The strategy, if it chooses by what trials show."""
        if name == "halving" and len(set(self.steps)) < 2:
            raise ConfigError(
                "sweep.strategy: halving needs rungs: an axis train.steps of several values"
            )
        self.room = request.parallel or ROOM if self.learns else len(specs)

    def ask(
        self, records: Mapping[str, RunRecord], running: Iterable[str]
    ) -> tuple[list[RunSpec], dict[str, str]]:
        """The specs to run next, and for the name of each that is given up, why."""
        known = {spec_id: records[spec_id] for spec_id in self.number.keys() & records.keys()}
        ended = {i: record for i, record in known.items() if record.outcome not in NEVER_RAN}

        def when(spec_id: str) -> tuple[float, int]:
            return ended[spec_id].ended or 0.0, self.number[spec_id]

        search = Search(
            grid=self.grid,
            observations={self.number[i]: _seen(ended[i]) for i in sorted(ended, key=when)},
            running=frozenset(self.number[i] for i in running),
            stop=self.sweep.stop,
            gpu_hours=sum(map(_gpu_hours, ended.values())),
            room=self.room,
            seed=self.sweep.seed,
            steps=self.steps,
            twins=self.twins,
        )
        answer, self.forecast = self._choose(search), search.forecast
        given_up = {self.specs[i].name: why for i, why in answer.given_up.items()}
        return [self.specs[i] for i in answer.next], given_up

    def prediction(self, spec: RunSpec) -> Prediction:
        """What is expected of a point; nothing of one that cannot run."""
        if spec.name not in self.number:
            return Prediction()
        i, now = self.number[spec.name], self.forecast
        step = float(np.exp(now.log_seconds[i]))
        return Prediction(
            memory_gib=float(now.reported_bytes[i]) / GIB,
            oom=float(now.oom[i]) if np.isfinite(self.grid.points.memory[i]) else None,
            step_ms=1e3 * step,
            step_error=float(now.deviation[i]),
        )


def _seen(record: RunRecord) -> Observation:
    figures = record.figures
    if record.outcome != "ok":
        return Observation(fitted=False if record.outcome == "oom" else None)
    reserved = figures.memory_kind == "cuda reserved" and figures.mem_max_gib is not None
    memory = figures.mem_max_gib * GIB if reserved and figures.mem_max_gib else None
    step = None if figures.step_ms_p50 is None else figures.step_ms_p50 / 1e3
    return Observation(fitted=True, step=step, memory=memory)


def _gpu_hours(record: RunRecord) -> float:
    return record.spec.cluster.gpus * (record.seconds or 0.0) / 3600


def _unknown(differ: Mapping[str, Sequence[Any]], count: int) -> Array:
    """Axes that no formula knows of, as numbers: a tokenizer, an option of the optimizer."""
    columns = [
        _codes(values)
        for name, values in differ.items()
        if name in UNKNOWN or (name.split(".")[0] not in KNOWN and name not in KNOWN)
    ]
    return np.array(columns, dtype=float).reshape(len(columns), count).T


def _twins(differ: Mapping[str, Sequence[Any]], count: int) -> Array:
    """The same number for points that differ in their steps alone."""
    if "train.steps" not in differ:
        return np.arange(count)
    others = [_codes(values) for name, values in differ.items() if name != "train.steps"]
    rows = np.array(others, dtype=float).reshape(len(others), count).T
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(count)


def _codes(values: Sequence[Any]) -> list[int]:
    codes: dict[str, int] = {}
    return [codes.setdefault(repr(value), len(codes)) for value in values]
