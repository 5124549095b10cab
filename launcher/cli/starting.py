"""What each command that starts something does first: look, and say what will be."""

import sys
from typing import TYPE_CHECKING

from launcher.errors import ConfigError

if TYPE_CHECKING:
    from launcher.campaign.campaign import Loop
    from launcher.schedulers import Scheduler


def ready(loop: "Loop") -> "Scheduler":
    """The scheduler, once it is known that all of it can run.

    Raises:
        RequestError: it cannot.
    """
    if loop.request.curriculum:
        from analysis import table
        from launcher.campaign import stage_plan

        stage_plan.check(loop)
        if full := stage_plan.too_little_disk(loop):
            raise ConfigError(full)
        print(table.render(table.plain(list(stage_plan.rows(loop))), "table"), file=sys.stderr)
    warn(loop)
    return loop.ready()


def warn(loop: "Loop") -> None:
    """Say what has cost others a long run."""
    for line in loop.warnings():
        print(f"launch: warning: {line}", file=sys.stderr)
