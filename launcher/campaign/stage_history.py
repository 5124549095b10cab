"""Stages of a curriculum compared with the folders of those that have been trained."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launcher.errors import ConfigError, ReadError
from launcher.results.run_folder import RunFolder
from launcher.results.sweep_folder import SweepFolder
from launcher.spec.run import RunSpec

MOST_CHANGES = 3
"""Differences that a message names."""

SPREADS = {"stage.schedule_steps", "stage.schedule_after"}
"""Keys that change in a stage when another stage changes that shares its schedule."""


def trained_or_to_train(stages: list[RunSpec], folder: SweepFolder) -> Iterator[RunSpec]:
    """Yield the stages: as they were trained where they are finished, else as requested.

    Raises:
        ConfigError: a stage that has been trained, or begun, is another one now, or is gone.
    """
    for spec in stages:
        run = folder.run(spec.name)
        begun_spec = _begun(run)
        if begun_spec is None:
            yield spec
            continue
        if begun_spec.trajectory != spec.trajectory:
            changed = [*changes(begun_spec.loss_settings(), spec.loss_settings())]
            raise ConfigError(_refusal(spec, run, changed))
        yield begun_spec if run.is_done else spec
    _refuse_gone(stages, folder)


def _begun(run: RunFolder) -> RunSpec | None:
    """Spec of a stage that has weights or a job; None of one that can still change."""
    status = run.readable_status()
    live = status is not None and status.submission is not None and status.state != "ended"
    if not (live or run.newest_checkpoint() or run.is_done):
        return None
    try:
        return run.spec()
    except ReadError as error:
        raise ConfigError(f"output: {error}") from error


def _refuse_gone(stages: Iterable[RunSpec], folder: SweepFolder) -> None:
    names = {spec.name for spec in stages}
    for run in folder.runs():
        spec = _begun(run)
        if spec is not None and spec.stage and run.path.name not in names:
            raise ConfigError(
                f"curriculum.stages: {run.path.name} has been trained in {folder.path} and is not"
                " among them; give another name=, or move its folder away"
            )


def _refusal(spec: RunSpec, run: RunFolder, changed: list[tuple[str, Any, Any]]) -> str:
    assert spec.stage
    # Keys below stage. follow from the others.
    direct = [change for change in changed if not change[0].startswith("stage.")]
    message = f"cannot change: {describe_changes(direct or changed)}"
    if any(key in SPREADS for key, _, _ in changed):
        message += (
            "; its schedule spans later stages: give the first of them that changes one of its own"
        )
    key, name = f"curriculum.stages.{spec.stage.name}", "a new run needs another name="
    if run.is_done:
        return f"{key}: is finished and {message}; {name}"
    if run.newest_checkpoint():
        return f"{key}: is begun and {message}; {name}"
    return f"{key}: is queued or runs and {message}; launch cancel {run.path.parent} takes it back"


def describe_changes(changed: list[tuple[str, Any, Any]]) -> str:
    """Put the first few differences in words."""
    text = ", ".join(f"{key} {old} -> {new}" for key, old, new in changed[:MOST_CHANGES])
    omitted = len(changed) - MOST_CHANGES
    return f"{text} and {omitted} more" if omitted > 0 else text


def changes(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the leaves in which nested mappings differ; None stands for one that is missing."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from changes(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield path, old, new
