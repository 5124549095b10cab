"""What a sweep was asked for by its command, as far as its specs do not say it."""

from pathlib import Path
from typing import Any

import yaml

from launcher.errors import ReadError
from launcher.files import read_json


def words(sweep: Path) -> dict[str, Any]:
    """Key -> value of the overrides; none where nobody wrote them down."""
    try:
        overrides = read_json(sweep / "request.json")["overrides"]
        pairs = [str(word).partition("=")[::2] for word in overrides]
        return {key.lstrip("+"): yaml.safe_load(value) for key, value in pairs}
    except (ReadError, KeyError, TypeError, yaml.YAMLError):
        return {}


def price(sweep: Path) -> float | None:
    """Of one GPU hour, where the command said it."""
    said = words(sweep).get("price_per_gpu_hour")
    return float(said) if isinstance(said, int | float) else None
