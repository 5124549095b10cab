"""Go on with what a folder holds: by the words it was started with, and others after them."""

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from launcher.campaign.campaign import Loop
from launcher.campaign.observer import Watch
from launcher.campaign.stage_history import changes, told
from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json
from launcher.request.compose import compose, quoted
from launcher.request.request import Request
from launcher.results.run_folder import RunFolder

NAME = "request.json"
"""In the folder of a sweep or a curriculum, or of a run by itself."""


Kind = Literal["curriculum", "sweep", "run"]

ONCE = "retry="
"""A word that is of one command, and is not remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What a command was given."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dir: str | None = None
    folder: str
    """Where it was given: paths in the words are relative to that."""
    kind: Kind | None = None
    """What they started."""
    start: str | None = None
    """Folder of the run that this one goes on from, beside its own."""


def words(options: argparse.Namespace) -> Words:
    """Those of a command line."""
    return Words(
        overrides=tuple(options.overrides),
        multirun=options.multirun,
        config_dir=options.config_dir,
        folder=os.getcwd(),
    )


def keep(loop: Loop, given: Words) -> None:
    """Remember what started a sweep, a curriculum or a run.

    Raises:
        ConfigError: the folder cannot be written, or holds something of another kind.
    """
    kind, path = _kind(loop.request), _place(loop)
    _refuse_other(loop.folder, kind)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output: {loop.folder}: {error.strerror}") from error
    remembered = tuple(word for word in given.overrides if not word.startswith(ONCE))
    write_json(path / NAME, encode(replace(given, overrides=remembered, kind=kind)))


def _kind(request: Request) -> Kind:
    return "curriculum" if request.curriculum else "sweep" if request.sweep else "run"


def _refuse_other(folder: Path, kind: Kind) -> None:
    """A folder of stages is no place for a sweep, nor the other way round."""
    for path in (folder / NAME, *sorted(folder.glob(f"*/{NAME}"))[:1]):
        try:
            found = decode(Words, read_json(path)).kind
        except (ReadError, ConfigError):  # none, or damaged: this command writes it anew
            continue
        if found not in (None, kind) and "curriculum" in (found, kind):
            raise ConfigError(f"output: {folder} holds a {found}; give another name=")


def _place(loop: Loop) -> Path:
    alone = _kind(loop.request) == "run"
    return loop.folder / next(iter(loop.points)) if alone else loop.folder


def resumed(path: Path, overrides: Sequence[str], watch: Watch) -> tuple[Loop, Words]:
    """What goes on with a folder, and the words that do.

    Raises:
        ConfigError: the folder does not say what started it; other words make it another run.
    """
    run = _started(path)
    try:
        given = decode(Words, read_json(run / NAME))
    except ReadError as error:
        raise ConfigError(str(error)) from error
    alone = (run / "spec.json").exists()
    given = replace(given, overrides=(*given.overrides, *overrides))
    with suppress(OSError):  # paths in the words are relative to where they were given
        os.chdir(given.folder)
    # Wherever the folder has been moved to, it stays there.
    place = run.parent if alone else run
    where = [f"output={quoted(str(place.parent))}", f"name={quoted(place.name)}"]
    request = compose([*given.overrides, *where], given.multirun, given.config_dir)
    if not alone:
        return Loop(request, watch), given
    return _of_run(request, run, given, watch)


def _started(path: Path) -> Path:
    """The folder that keeps the words: this one, the one above it, or the only one below it."""
    below = [one.parent for one in sorted(path.glob(f"*/{NAME}"))]
    for one in (path, *([path.parent] if (path / "spec.json").exists() else [])):
        if (one / NAME).exists():
            return one
    if len(below) > 1:
        raise ConfigError(f"{path}: holds {len(below)} runs; name one: {below[0]} ...")
    if not below:
        raise ConfigError(f"{path}: no {NAME} in it: nothing was started here")
    return below[0]


def _of_run(request: Request, run: Path, given: Words, watch: Watch) -> tuple[Loop, Words]:
    """A run by itself; at another layout it gets a folder of its own, and goes on from this one."""
    before = RunFolder(run).spec()
    spec = next(iter(Loop(request).points.values()))
    if spec.id == before.id:
        return Loop(request, watch, Path(given.start) if given.start else None), given
    if spec.trajectory != before.trajectory:
        changed = told([*changes(before.loss_settings(), spec.loss_settings())])
        raise ConfigError(
            f"{run}: layout, cluster and backend may change while it goes on, not {changed}"
        )
    has_some = RunFolder(run).newest_checkpoint() is not None
    start = run if has_some or given.start is None else Path(given.start)
    return Loop(request, watch, start), replace(given, start=str(start))
