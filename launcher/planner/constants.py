"""The fitted figures that the formulas use, as shipped or as fitted by the user."""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from launcher.decode import decode
from launcher.errors import ConfigError
from launcher.planner.memory import MemoryConstants
from launcher.planner.steptime import TimeConstants


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """Constants of both formulas."""

    memory: MemoryConstants = field(default_factory=MemoryConstants)
    time: TimeConstants = field(default_factory=TimeConstants)
    fitted: str | None = None
    """Command that fitted them; None for those of this package before any fit."""


def constants_of(path: str | None) -> Constants:
    """Return the constants of a file, or those of this package. Raises ConfigError."""
    if path is None:
        return _shipped()
    try:
        data = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is no JSON, as launch plan --fit writes it"
        raise ConfigError(f"constants: {path}: {reason}") from error
    return decode(Constants, data, "constants")


@cache
def _shipped() -> Constants:
    text = (resources.files("launcher.planner") / "constants.json").read_text(encoding="utf-8")
    return decode(Constants, json.loads(text))
