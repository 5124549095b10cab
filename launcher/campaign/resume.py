"""Resume: the plan that goes on with a folder, by the words it was started with and new ones."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from launcher.campaign.plan import Plan, expanded
from launcher.campaign.stage_history import changes, describe_changes
from launcher.errors import ConfigError, ReadError
from launcher.request.compose import compose, quoted
from launcher.request.request import Request
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import REQUEST, Kind, SweepFolder

ONCE = "retry="
"""Start of an override that is of one command, and is not remembered."""


def save_command(plan: Plan) -> None:
    """Remember the words that started a sweep, a curriculum or a run.

    Of a plan without words those of an earlier one are forgotten: they start something else.

    Raises:
        ConfigError: the folder cannot be written, or holds something of another kind.
    """
    kind = kind_of(plan.request)
    _refuse_other_kind(plan.folder, kind)
    folder = plan.folder
    if kind == "run":  # others may stand beside it
        folder = SweepFolder(plan.folder.run(next(iter(plan.points))).path)
    if plan.command is None:
        folder.withdraw_command()
        return
    folder.make()
    overrides = tuple(word for word in plan.command.overrides if not word.startswith(ONCE))
    start = str(plan.start) if plan.start else None
    goal = plan.request.sweep.goal if plan.request.sweep else None
    command = replace(plan.command, overrides=overrides, kind=kind, start=start, goal=goal)
    folder.save_command(command)


def kind_of(request: Request) -> Kind:
    """Kind of what a request starts."""
    return "curriculum" if request.curriculum else "sweep" if request.sweep else "run"


def _refuse_other_kind(folder: SweepFolder, kind: Kind) -> None:
    """Refuse a sweep in a folder of stages, and the other way round."""
    for holder in (folder, *folder.single_runs()[:1]):
        try:
            earlier = holder.command().kind
        except (ReadError, ConfigError):  # none, or damaged: this command writes it anew
            continue
        if earlier not in (None, kind) and "curriculum" in (earlier, kind):
            raise ConfigError(f"output: {folder.path} holds a {earlier}; give another name=")


def resumed(path: Path, overrides: Sequence[str]) -> Plan:
    """Make the plan that goes on with a folder, from the directory that its command was given in.

    Raises:
        ConfigError: the folder does not say what started it; new words make it another run.
    """
    folder = _started(path)
    try:
        command = folder.command()
    except ReadError as error:
        raise ConfigError(str(error)) from error
    command = replace(command, overrides=(*command.overrides, *overrides))
    with suppress(OSError):
        os.chdir(command.folder)
    run = RunFolder(folder.path)
    # Wherever the folder has been moved to, it stays there.
    place = folder.path.parent if run.has_spec else folder.path
    moved = [f"output={quoted(str(place.parent))}", f"name={quoted(place.name)}"]
    request = compose([*command.overrides, *moved], command.multirun, command.config_dir)
    start = Path(command.start) if command.start else None
    if run.has_spec:
        start = _start_of_run(request, run, start)
    return Plan.of_request(request, command, start)


def _started(path: Path) -> SweepFolder:
    """Find the folder that keeps the words: this one, the one above, or the only one below it."""
    above = [path.parent] if RunFolder(path).has_spec else []
    for folder in map(SweepFolder, (path, *above)):
        if folder.command_file.exists():
            return folder
    below = SweepFolder(path).single_runs()
    if len(below) > 1:
        raise ConfigError(f"{path}: holds {len(below)} runs; name one: {below[0].path} ...")
    if not below:
        raise ConfigError(f"{path}: no {REQUEST} in it: nothing was started here")
    return below[0]


def _start_of_run(request: Request, run: RunFolder, start: Path | None) -> Path | None:
    """Folder that a run by itself goes on from.

    At another layout it gets a folder of its own, and goes on from the one it had.
    """
    earlier_spec = run.spec()
    spec = next(iter(expanded(request)))
    if spec.id == earlier_spec.id:
        return start
    if spec.trajectory != earlier_spec.trajectory:
        changed = describe_changes([*changes(earlier_spec.loss_settings(), spec.loss_settings())])
        raise ConfigError(
            f"{run.path}: layout, cluster and backend may change while it goes on, not {changed}"
        )
    has_checkpoint = run.newest_checkpoint() is not None
    return run.path if has_checkpoint or start is None else start
