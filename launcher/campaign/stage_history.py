"""The stages of a curriculum against what their folders say has been trained."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError, ReadError
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec

SHOWN = 3
"""Differences that a message names."""

SPREADS = {"stage.schedule_steps", "stage.schedule_after"}
"""What a change of another stage changes in one that shares its schedule."""


def trained_or_to_train(stages: list[RunSpec], folder: Path) -> Iterator[RunSpec]:
    """The stages: as they were trained where they are finished, else as they are asked for.

    Raises:
        ConfigError: a stage that has been trained, or begun, is another one now, or is gone.
    """
    for spec in stages:
        run = RunFolder(folder / spec.name)
        before = _begun(run)
        if before is None:
            yield spec
            continue
        if before.trajectory != spec.trajectory:
            changed = [*changes(before.loss_settings(), spec.loss_settings())]
            raise ConfigError(_refusal(spec, run, changed))
        yield before if (run.path / "result.json").exists() else spec
    _refuse_gone(stages, folder)


def _begun(run: RunFolder) -> RunSpec | None:
    """The spec of a stage that has weights or a job; None of one that can still change."""
    status = run.readable_status()
    live = status is not None and status.submission is not None and status.state != "ended"
    if not (live or run.newest_checkpoint() or (run.path / "result.json").exists()):
        return None
    try:
        return run.spec()
    except ReadError as error:
        raise ConfigError(f"output: {error}") from error


def _refuse_gone(stages: Iterable[RunSpec], folder: Path) -> None:
    names = {spec.name for spec in stages}
    for path in sorted(folder.glob("*/spec.json")):
        spec = _begun(RunFolder(path.parent))
        if spec is not None and spec.stage and path.parent.name not in names:
            raise ConfigError(
                f"curriculum.stages: {path.parent.name} has been trained in {folder} and is not"
                " among them; give another name=, or move its folder away"
            )


def _refusal(spec: RunSpec, run: RunFolder, changed: list[tuple[str, Any, Any]]) -> str:
    assert spec.stage
    own = [one for one in changed if not one[0].startswith("stage.")]  # the rest follows from it
    said = f"cannot change: {told(own or changed)}"
    if any(key in SPREADS for key, _, _ in changed):
        said += (
            "; its schedule spans later stages: give the first of them that changes one of its own"
        )
    where, name = f"curriculum.stages.{spec.stage.name}", "a new run needs another name="
    if (run.path / "result.json").exists():
        return f"{where}: is finished and {said}; {name}"
    if run.newest_checkpoint():
        return f"{where}: is begun and {said}; {name}"
    return f"{where}: is queued or runs and {said}; launch cancel {run.path.parent} takes it back"


def told(changed: list[tuple[str, Any, Any]]) -> str:
    """Differences in words: the first few."""
    said = ", ".join(f"{key} {old} -> {new}" for key, old, new in changed[:SHOWN])
    return f"{said} and {len(changed) - SHOWN} more" if len(changed) > SHOWN else said


def changes(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which nested mappings differ; None stands for one that is missing."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from changes(old.get(key), new.get(key), f"{at}.{key}" if at else key)
    elif old != new:
        yield at, old, new
