"""What each command that starts something does first: look, and say what will be."""

import sys
from typing import TYPE_CHECKING

from launcher.errors import ConfigError

if TYPE_CHECKING:
    from launcher.cli.loop import Loop
    from launcher.schedulers import Scheduler


def ready(loop: "Loop") -> "Scheduler":
    """The scheduler, once it is known that all of it can run.

    Raises:
        RequestError: it cannot.
    """
    if loop.request.curriculum:
        from analysis import table
        from launcher.cli import stages

        stages.check(loop)
        if full := stages.too_little_disk(loop):
            raise ConfigError(full)
        print(table.render(table.plain(list(stages.rows(loop))), "table"), file=sys.stderr)
    warn(loop)
    return loop.ready()


def warn(loop: "Loop") -> None:
    """Say what has cost others a long run."""
    for line in loop.warnings():
        print(f"launch: warning: {line}", file=sys.stderr)
