"""megalaunch: find the fastest layout of a pretraining run, and train through all its stages.

What ``launch`` does, Python can do::

    import launcher

    plan = launcher.plan("sweep=parallelism_grid", "layout.pp=1")
    print(launcher.table(plan))
    records = launcher.run(plan, progress=print)
    print(launcher.table(records))

A mistake raises a `LaunchError` with the line that the command would print.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.campaign.api import Update, compose, plan, run, table
    from launcher.errors import (
        ConfigError,
        LaunchError,
        LayoutError,
        ReadError,
        RequestError,
        WorkError,
    )

_MODULES = {
    "launcher.campaign.api": ("Update", "compose", "plan", "run", "table"),
    "launcher.errors": (
        "ConfigError", "LaunchError", "LayoutError", "ReadError", "RequestError", "WorkError",
    ),
}  # fmt: skip
"""Public names by their modules, which are imported at the first use of a name: nodes and ranks
import this package too, and need neither Hydra nor numpy."""

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ConfigError",
    "LaunchError",
    "LayoutError",
    "ReadError",
    "RequestError",
    "Update",
    "WorkError",
    "compose",
    "plan",
    "run",
    "table",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
