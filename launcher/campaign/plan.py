"""Plan of a request: its points, and the reasons for which some of them cannot run.

Made once and never changed: what moves while it runs is `launcher.campaign.campaign.Campaign`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from launcher.campaign import preflight, stage_history
from launcher.data import corpora
from launcher.decode import decode, encode
from launcher.errors import LayoutError
from launcher.request.compose import compose
from launcher.request.request import Request
from launcher.results.sweep_folder import SavedCommand, SweepFolder
from launcher.spec import cautions
from launcher.spec.curriculum import stage_specs
from launcher.spec.run import RunSpec
from sweeps import specs, unique
from sweeps.labels import labels, remarks


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
