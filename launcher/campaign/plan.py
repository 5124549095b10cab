"""Plan of a request: its points, reasons for which some cannot run, predictions of the others.

Made once and never changed: what moves while it runs is `launcher.campaign.campaign.Campaign`.
"""

from collections.abc import Collection, Mapping, Sequence
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
from launcher.planner import probe
from launcher.planner.constants import constants_of
from launcher.planner.forecast import Forecast, Grid
from launcher.planner.points import GIB, Array, Points
from launcher.request import cautions
from launcher.request.compose import compose
from launcher.request.request import Request
from launcher.results.columns import SPEED
from launcher.results.record import Prediction
from launcher.results.sweep_folder import SavedCommand, SweepFolder
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
    "train.probe_micro_batches",
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
        plan = cls(
            request=request,
            points={spec.name: spec for spec in points},
            refusals={spec.name: reason for spec in points if (reason := refusal(spec))},
            remarks=remarks(points),
            command=command,
            start=start,
        )
        return plan.within_limits()

    def within_limits(self) -> Self:
        """The plan with trials that are short, and without those that no limit of time allows."""
        plan = self._with_short_trials()
        too_long = plan._too_long()
        return replace(plan, refusals={**plan.refusals, **too_long}) if too_long else plan

    def _with_short_trials(self) -> Self:
        """The plan with fewer micro batches in each step of trials that would take too long."""
        trials = self._short_trials()
        if not trials:
            return self
        points = [trials.get(name, spec) for name, spec in self.points.items()]
        names = dict(zip(self.points, (spec.name for spec in points), strict=True))
        return replace(
            self,
            points={spec.name: spec for spec in points},
            remarks={names[name]: remark for name, remark in self.remarks.items()},
        )

    def _short_trials(self) -> dict[str, RunSpec]:
        """Specs with fewer micro batches, by the names of the points that they stand for."""
        request, seconds = self.request, self.request.points.trial_seconds
        if not seconds or len(self.points) == 1 or request.checkpoint_every or request.curriculum:
            return {}
        if request.points.goal != SPEED or not any(map(_on_cards, self.candidates)):
            return {}  # a loss depends on the batch
        points, steps = self.grid.points, np.array([s.train.steps for s in self.candidates])
        chosen = probe.micro_batches(points, self.grid.constants.time, steps, seconds)
        started = {run.path.name for run in self.folder.runs()}
        return {
            spec.name: _trial(spec, int(count), started)
            for spec, count in zip(self.candidates, chosen, strict=True)
            # A run that has been started with all of them, by an earlier version, goes on so.
            if count and _may_be_short(spec) and spec.name not in started
        }

    def _too_long(self) -> dict[str, str]:
        """Reasons of the points on cards whose trials would be ended by the time limit.

        One that has been started is none: it shows by itself how long it takes.
        """
        limit, reasons = self.request.time_limit, {}
        if self.request.checkpoint_every or not any(map(_on_cards, self.candidates)):
            return {}  # with checkpoints the next job goes on from the last one
        started = {run.path.name for run in self.folder.runs()}
        for spec in self.candidates:
            step_ms, steps = self.predictions[spec.name].trial_step_ms, spec.train.steps
            seconds = steps * (step_ms or 0.0) / 1000
            if seconds > limit and _on_cards(spec) and spec.name not in started:
                reasons[spec.name] = (
                    f"time_limit: {limit:g} s, but {steps} steps are predicted to take"
                    f" {seconds:,.0f} s: raise it, or give fewer train.steps or checkpoint_every"
                )
        return reasons

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
        return {spec.name: self.prediction(forecast, i) for i, spec in enumerate(self.candidates)}

    @cached_property
    def trial_shares(self) -> Array:
        """Share of a whole step that a step of each candidate's trial takes, by the formulas."""
        counts = [float(spec.train.probe_micro_batches or 0) for spec in self.candidates]
        if not any(counts):
            return np.ones(len(counts))
        points, constants = self.grid.points, self.grid.constants.time
        return probe.step_seconds(points, constants, np.array(counts)) / self.grid.seconds

    def prediction(self, forecast: Forecast, i: int) -> Prediction:
        """Prediction of the candidate at an index, by a forecast for all of them."""
        has_memory = np.isfinite(forecast.grid.points.memory[i])
        step_ms = 1e3 * float(np.exp(forecast.log_seconds[i]))
        is_probe = self.candidates[i].train.probe_micro_batches is not None
        return Prediction(
            memory_gib=float(forecast.reported_bytes[i]) / GIB,
            oom=float(forecast.oom[i]) if has_memory else None,
            step_ms=step_ms,
            step_error=float(forecast.deviation[i]),
            probe_step_ms=step_ms * float(self.trial_shares[i]) if is_probe else None,
        )

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
        points = list(stage_history.trained_or_to_train(stages, request.folder))
    else:
        points = unique(preflight.settled(specs(request.points, base)))
    if request.sampling and request.sampling.prompts:
        for data in {point.data for point in points}:
            corpora.check_prompts(data)
    return points


def _trial(spec: RunSpec, micro_batches: int, started: Collection[str]) -> RunSpec:
    """The trial of a point: the one that has been started, or of so many micro batches.

    Other constants than those of an earlier command may choose another number.
    """
    count = probe.PIPELINES * spec.layout.pp
    while started and count < spec.accumulation:
        trial = _probe(spec, count)
        if trial.name in started:
            return trial
        count *= 2
    return _probe(spec, micro_batches)


def _probe(spec: RunSpec, micro_batches: int) -> RunSpec:
    return replace(spec, train=replace(spec.train, probe_micro_batches=micro_batches))


def _may_be_short(spec: RunSpec) -> bool:
    """True where nobody has said of how many micro batches a step on cards is."""
    train = spec.train
    return _on_cards(spec) and train.probe_micro_batches is None and train.batch_ramp is None


def _on_cards(spec: RunSpec) -> bool:
    """True where the formulas know how fast it is before any run has been measured."""
    return spec.cluster.accelerator.name != "cpu"


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
