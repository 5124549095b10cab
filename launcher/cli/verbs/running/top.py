"""``launch top``: a live view of what runs below a folder. It writes nothing there."""

import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.parser import add_format_option, new_parser, parse
from launcher.cli.verb import Verb
from launcher.decode import encode
from launcher.errors import ConfigError
from launcher.files import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from launcher.cli.top.snapshot import Snapshot
    from launcher.cli.top.watcher import Watcher

DESCRIPTION = """A live view of a sweep, a curriculum or a run: what runs, waits and failed, what
was spent and what is left. q or Ctrl-C quits; the jobs go on, and nothing in the folder is touched.
Where stdout is no terminal, and with --format json, one picture is printed."""

INTERVAL = 2.0
SHORTEST, LONGEST = 0.1, 3600.0
"""Seconds between two pictures: the default and its bounds."""
FOOT = "q quits, the jobs go on"


def top(words: Sequence[str]) -> int:
    """Show what runs below a folder until somebody quits."""
    parser = new_parser("top", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a sweep, a curriculum, a run, or many")
    parser.add_argument("--once", action="store_true", help="print one picture and end")
    parser.add_argument(
        "--every",
        type=float,
        default=INTERVAL,
        metavar="SECONDS",
        help=f"between two looks; {INTERVAL:g} where it is not given",
    )
    add_format_option(parser)
    options = parse(parser, words)
    if not SHORTEST <= options.every <= LONGEST:
        raise ConfigError(f"--every: {options.every:g} is not between {SHORTEST:g} and {LONGEST:g}")

    from launcher.cli.top.watcher import Watcher

    path = Path(options.folder).expanduser()
    if options.format == "json":
        print(json_text(document(Watcher(path, once=True).snapshot(time.time()))))
        return 0
    console = _console()
    once = options.once or not sys.stdout.isatty() or console.is_dumb_terminal
    watcher = Watcher(path, once)
    if once:
        _print(watcher, console)
    else:
        _live(watcher, console, options.every)
    return 0


def document(snapshot: "Snapshot") -> dict[str, Any]:
    """Snapshot as plain data, where what is counted has its name."""
    data: dict[str, Any] = encode(snapshot)
    best = snapshot.best and dict(zip(("label", "tokens_per_s"), snapshot.best, strict=True))
    return data | {"outcomes": dict(snapshot.outcomes), "best": best}


def _console() -> "Console":
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may know no blocks
    return Console(highlight=False, markup=False, emoji=False)


def _print(watcher: "Watcher", console: "Console") -> None:
    from launcher.cli.top.render import picture

    height = console.height - 1 if sys.stdout.isatty() else None
    for line in picture(watcher.snapshot(time.time()), console.width, height):
        console.print(line, soft_wrap=True)


def _live(watcher: "Watcher", console: "Console", interval: float) -> None:
    from launcher.cli.top.render import picture
    from launcher.cli.top.screen import full_screen

    # Before the screen is taken: the first one may take a while.
    snapshot = watcher.snapshot(time.time())
    with full_screen(console) as screen:
        screen.show(picture(snapshot, *screen.size, FOOT))
        while not screen.quits(interval):
            screen.show(picture(watcher.snapshot(time.time()), *screen.size, FOOT))


VERB = Verb(
    name="top",
    usage="DIR",
    summary="the same as a live view; q quits, the jobs go on",
    run=top,
)
