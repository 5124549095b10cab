"""Functions of ``import launcher``: all that ``launch`` does, for Python."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.campaign.campaign import Campaign
from launcher.campaign.observer import Observer, Watched
from launcher.campaign.plan import Plan
from launcher.request import compose as composing
from launcher.request.request import Request
from launcher.results.record import RunRecord
from launcher.results.sweep_folder import SavedCommand

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """News of a campaign: everything is sorted out, or a trial has ended."""

    points: int
    """Points of the plan."""
    recorded: int
    """Points that have a record: done, failed, rejected."""
    running: int
    """Points that have been submitted and have not ended."""
    record: RunRecord | None = None
    """Record of the trial that ended; None at the start."""
    again: bool = False
    """True where the trial failed, and will be started once more."""


def compose(*overrides: str, multirun: bool = False, config_dir: str | None = None) -> Request:
    """Compose and check a request, as ``launch OVERRIDES`` does.

    Args:
        overrides: Hydra overrides, such as ``"sweep=parallelism_grid"``.
        multirun: values with commas are the axes of a grid, ``launch -m``.
        config_dir: a folder of YAML files of your own.

    Raises:
        ConfigError: one line, naming the key, its value and what it disagrees with.
    """
    _check_overrides("compose", overrides)
    return composing.compose(overrides, multirun, config_dir)


def plan(*request: Request | str, multirun: bool = False, config_dir: str | None = None) -> Plan:
    """Make the plan of a request: its points, the reasons of those that cannot run.

    Args:
        request: a Request of `compose`, or its overrides. Only what is planned from overrides can
            be continued by ``launch resume``; a Request is continued by the same `run`.
        multirun: see `compose`.
        config_dir: see `compose`.

    Raises:
        ConfigError: see `compose`; data that is not there, a finished stage that is another now.
    """
    if len(request) == 1 and isinstance(request[0], Request):
        return Plan.of_request(request[0])
    _check_overrides("plan", request, "one Request, or ")
    overrides = tuple(word for word in request if isinstance(word, str))
    command = SavedCommand(
        overrides=overrides, multirun=multirun, config_dir=config_dir, folder=str(Path.cwd())
    )
    return Plan.of_command(command)


def run(plan: Plan, progress: Callable[[Update], None] | None = None) -> list[RunRecord]:
    """Run the points that are left; records of all points that have one, in their order.

    It may be killed at any moment, and called again: what is done is not done twice.

    Args:
        plan: of `plan`.
        progress: called at the start and whenever a trial has ended.

    Raises:
        RequestError: it cannot run: an impossible run or stage, a scheduler or an engine that is
            not there, another launcher at work in the folder.
        WorkError: a folder cannot be written, a batch system does not answer.
        KeyboardInterrupt: at Ctrl-C; ranks on this machine have been ended, queued jobs go on.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"run() takes a plan: run(plan(...)), not {_kind(plan)}")
    if progress is not None and not callable(progress):
        raise TypeError(f"run(): progress is a function of an Update, not {_kind(progress)}")
    campaign = Campaign(plan, _Callback(progress) if progress else None)
    return campaign.run(campaign.ready())


def table(
    source: "Plan | Sequence[RunRecord] | str | Path", sort: str | None = None
) -> "pd.DataFrame":
    """Rows of a plan before it runs, of records, or of all runs below a folder.

    Args:
        source: of `plan`, of `run`, or a folder.
        sort: a column, ascending; with a leading "-" descending. None: the fastest first.

    Returns:
        The columns of ``launch plan`` or of ``launch table``; what is unknown is NA.

    Raises:
        ConfigError: no such column, or no such folder.
    """
    import analysis
    from analysis import plan as planned_table
    from analysis import table as record_table

    if isinstance(source, Plan):
        return planned_table.frame(Campaign(source).planned(), sort)
    if isinstance(source, str | Path):
        return analysis.load(source).table(sort)
    sequence = source if isinstance(source, Sequence) else [source]
    records = [record for record in sequence if isinstance(record, RunRecord)]
    if len(records) < len(sequence):
        raise TypeError(f"table() takes a Plan, records, or a folder, not {_kind(source)}")
    return record_table.frame(records, sort)


def _check_overrides(function: str, words: Sequence[object], also_taken: str = "") -> None:
    for word in words:
        if not isinstance(word, str):
            hint = f"; write {function}(*words)" if isinstance(word, list | tuple) else ""
            accepted = f'{also_taken}overrides such as "layout.tp=2"'
            raise TypeError(f"{function}() takes {accepted}, not {_kind(word)}{hint}")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


class _Callback(Observer):
    """Calls a function with updates."""

    def __init__(self, progress: Callable[[Update], None]) -> None:
        self._progress = progress

    def started(self, campaign: Watched) -> None:
        self._update(campaign, None, again=False)

    def trial_ended(self, campaign: Watched, record: RunRecord, again: bool) -> None:
        self._update(campaign, record, again)

    def _update(self, campaign: Watched, record: RunRecord | None, again: bool) -> None:
        self._progress(
            Update(
                points=len(campaign.plan.points),
                recorded=len(campaign.records),
                running=len(campaign.running),
                record=record,
                again=again,
            )
        )
