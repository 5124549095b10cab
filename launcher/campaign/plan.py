"""Plan of a request: its points, reasons for which some cannot run, predictions of the others.

Made once and never changed: what moves while it runs is `launcher.campaign.campaign.Campaign`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from launcher.backends import engine_traits
from launcher.campaign import preflight, stage_history
from launcher.data import corpora
from launcher.decode import decode, encode
from launcher.errors import LayoutError
from launcher.planner.constants import constants_of
from launcher.planner.forecast import Forecast, Grid
from launcher.planner.points import GIB, Array, Points
from launcher.request.compose import compose
from launcher.request.request import Request
from launcher.results.record import Prediction
from launcher.results.sweep_folder import SavedCommand, SweepFolder
from launcher.spec import cautions
from launcher.spec.curriculum import stage_specs
from launcher.spec.run import RunSpec
from sweeps import specs, unique
from sweeps.labels import differences, labels, remarks

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

NOT_MODELLED = {"layout.overlap_p2p", "cluster.environment"}
"""Fields of these groups whose effect they do not describe."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """Points of a request, in their order.

    Every mapping is by the name of a point: its spec's id, or its stage's name.
    """

    request: Request
    points: Mapping[str, RunSpec]
    refusals: Mapping[str, str]
    """Reasons of the points that cannot run."""
    remarks: Mapping[str, str]
    """Differences from the other points that no column of the table shows."""
    command: SavedCommand | None = None
    """Words that it was composed from; None where there were none, so that `launch resume` has
    nothing to go by."""
    start: Path | None = None
    """Folder of the run that a single run goes on from."""

    @classmethod
    def of_request(
        cls, request: Request, command: SavedCommand | None = None, start: Path | None = None
    ) -> Self:
        """Make a plan.

        Raises:
            ConfigError: a value that its key does not take; points that name what there is not; a
                finished stage that is another now.
        """
        request = _checked(request)
        points = expanded(request)
        refusal = preflight.refusals(request)
        return cls(
            request=request,
            points={spec.name: spec for spec in points},
            refusals={spec.name: reason for spec in points if (reason := refusal(spec))},
            remarks=remarks(points),
            command=command,
            start=start,
        )

    @classmethod
    def of_command(cls, command: SavedCommand) -> Self:
        """Compose the words of a command and make their plan. Raises ConfigError."""
        request = compose(command.overrides, command.multirun, command.config_dir)
        start = Path(command.start) if command.start else None
        return cls.of_request(request, command, start)

    def __repr__(self) -> str:
        points, refused = len(self.points), len(self.refusals)
        return f"Plan({self.folder.path}: {points} points, {refused} of them refused)"

    @cached_property
    def folder(self) -> SweepFolder:
        """Folder of all its runs."""
        return self.request.folder

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Positions of the points, from 1."""
        return {name: row for row, name in enumerate(self.points, 1)}

    @cached_property
    def candidates(self) -> Sequence[RunSpec]:
        """Specs of the points that can run."""
        return [spec for name, spec in self.points.items() if name not in self.refusals]

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Words for each point that tell it from the others."""
        return labels(list(self.points.values()))

    @cached_property
    def differences(self) -> Mapping[str, Sequence[Any]]:
        """Fields in which the candidates differ, dotted, with their values in order."""
        return differences(self.candidates)

    @cached_property
    def grid(self) -> Grid:
        """The candidates as columns of numbers, with the planner's constants.

        Raises:
            ConfigError: there are no such constants.
        """
        return Grid(
            points=Points.from_specs(self.candidates, engine_traits),
            constants=constants_of(self.request.constants),
            extra=_not_modelled(self.differences, len(self.candidates)),
        )

    @cached_property
    def predictions(self) -> Mapping[str, Prediction]:
        """Expected memory and step time of the candidates, before any of them has run.

        Raises:
            ConfigError: there are no such constants.
        """
        forecast = Forecast(grid=self.grid)
        return {spec.name: prediction_of(forecast, i) for i, spec in enumerate(self.candidates)}

    def is_done(self, spec: RunSpec) -> bool:
        """True where a point has been trained to its end."""
        return self.folder.run(spec.name).is_done

    def refuse_alone(self) -> None:
        """Raise LayoutError where one run, which is no sweep, cannot run."""
        if len(self.points) == 1 and not self.request.curriculum:
            for reason in self.refusals.values():
                raise LayoutError(reason)

    def warnings(self) -> list[str]:
        """Settings that have cost others a long run; none of a sweep, whose runs are short."""
        if self.request.sweep or not self.points:
            return []
        *_, last = self.points.values()
        tokens = last.tokens_through(last.last) if last.stage else last.train.tokens
        warnings: dict[str, str] = {}
        for spec in self.points.values():
            prefix = f"curriculum.stages.{spec.stage.name}: " if spec.stage else ""
            for line in cautions.warnings(spec, tokens):
                warnings.setdefault(line, f"{prefix}{line}")  # of the first stage that has it
        sampling = self.request.sampling
        if sampling and sampling.validation_sequences and not last.data.held_out:
            warnings["held_out"] = (
                "sampling.validation_sequences: there are no validation losses,"
                " data.held_out 0 keeps no text apart"
            )
        return list(warnings.values())


def _checked(request: Request) -> Request:
    """Check a request that Python may have changed, and let it stay in its working directory."""
    checked = decode(Request, encode(request)).check()
    cache = str(Path(checked.cache).expanduser().resolve()) if checked.cache else None
    return replace(checked, output=str(checked.root), cache=cache)


def expanded(request: Request) -> list[RunSpec]:
    """Expand a sweep into its points, a curriculum into its stages. Raises ConfigError."""
    (base,) = preflight.settled([request.spec])
    if request.curriculum:
        stages = stage_specs(request.curriculum, base, corpora.resolve)
        return list(stage_history.trained_or_to_train(stages, request.folder))
    return unique(preflight.settled(specs(request.points, base)))


def prediction_of(forecast: Forecast, i: int) -> Prediction:
    """Prediction of the point at an index of a forecast."""
    has_memory = np.isfinite(forecast.grid.points.memory[i])
    return Prediction(
        memory_gib=float(forecast.reported_bytes[i]) / GIB,
        oom=float(forecast.oom[i]) if has_memory else None,
        step_ms=1e3 * float(np.exp(forecast.log_seconds[i])),
        step_error=float(forecast.deviation[i]),
    )


def _not_modelled(differ: Mapping[str, Sequence[Any]], count: int) -> Array:
    """Number the values of axes that no formula describes, such as a tokenizer."""
    columns = [codes_of(values) for name, values in differ.items() if not _is_modelled(name)]
    return np.array(columns, dtype=float).reshape(len(columns), count).T


def _is_modelled(name: str) -> bool:
    """Return True where the formulas describe the effect of a field, or of a key of a mapping."""
    group, *path = name.split(".")
    field = ".".join([group, *path[:1]])
    return field not in NOT_MODELLED and (group in MODELLED or name in MODELLED)


def codes_of(values: Sequence[Any]) -> list[int]:
    """Number the values of an axis, in the order of their first use."""
    codes: dict[str, int] = {}
    return [codes.setdefault(repr(value), len(codes)) for value in values]
