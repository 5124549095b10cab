"""Go on with what a folder holds: by the words it was started with, and others after them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.compose import compose
from launcher.cli.curriculum import changes, told
from launcher.cli.loop import Loop
from launcher.cli.request import Request
from launcher.cli.watch import Watch
from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.folder import RunFolder, read_json, write_json

NAME = "request.json"
"""In the folder of a sweep or a curriculum, or of a run by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What a command was given."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dir: str | None = None
    folder: str
    """Where it was given: paths in the words are relative to that."""
    start: str | None = None
    """Folder of the run that this one goes on from, beside its own."""


def keep(loop: Loop, words: Words) -> None:
    """Remember what started a sweep, a curriculum or a run."""
    path = _place(loop)
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / NAME, encode(words))


def _place(loop: Loop) -> Path:
    alone = not (loop.request.sweep or loop.request.curriculum)
    return loop.folder / next(iter(loop.points)) if alone else loop.folder


def resumed(path: Path, overrides: Sequence[str], watch: Watch) -> tuple[Loop, Words]:
    """What goes on with a folder, and the words that do.

    Raises:
        ConfigError: the folder does not say what started it; other words make it another run.
    """
    run = path if (path / NAME).exists() else path.parent
    try:
        words = decode(Words, read_json(run / NAME))
    except ReadError as error:
        raise ConfigError(
            f"{path}: no {NAME} in it or above it; nothing was started here"
        ) from error
    alone = (run / "spec.json").exists()
    place = run.parent if alone else run
    words = Words(
        overrides=(*words.overrides, *overrides, *_at(place)),
        multirun=words.multirun,
        config_dir=words.config_dir,
        folder=words.folder,
        start=words.start,
    )
    with suppress(OSError):
        os.chdir(words.folder)
    request = compose(words.overrides, words.multirun, words.config_dir)
    if not alone:
        return Loop(request, watch), words
    return _of_run(request, run, words, watch)


def _at(place: Path) -> tuple[str, str]:
    """The overrides that keep a run in its folder, wherever that has been moved to."""
    return f"output={_quoted(str(place.parent))}", f"name={_quoted(place.name)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _of_run(request: Request, run: Path, words: Words, watch: Watch) -> tuple[Loop, Words]:
    """A run by itself; at another layout it gets a folder of its own, and goes on from this one."""
    before = RunFolder(run).spec()
    spec = next(iter(Loop(request).points.values()))
    if spec.id == before.id:
        start = Path(words.start) if words.start else None
        return Loop(request, watch, start), words
    changed = [*changes(before.losses_of(), spec.losses_of())]
    if changed:
        raise ConfigError(
            f"{run}: layout, cluster and backend may change while it goes on, not {told(changed)}"
        )
    words = Words(
        overrides=words.overrides,
        multirun=words.multirun,
        config_dir=words.config_dir,
        folder=words.folder,
        start=str(run),
    )
    return Loop(request, watch, run), words
