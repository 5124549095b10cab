"""What a sweep was asked for by its command, as far as its specs do not say it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from launcher.errors import ReadError
from launcher.files import read_json


def words(sweep: Path) -> dict[str, Any]:
    """Key -> value of the overrides; none where nobody wrote them down."""
    try:
        pairs = [
            str(word).partition("=") for word in read_json(sweep / "request.json")["overrides"]
        ]
    except (ReadError, KeyError, TypeError):
        return {}
    found = {}
    for key, _, value in pairs:
        with suppress(yaml.YAMLError):  # a text of Hydra's grammar: nothing that is asked for here
            found[key.lstrip("+")] = yaml.safe_load(value)
    return found


def price(sweep: Path) -> float | None:
    """Of one GPU hour, where the command said it."""
    said = words(sweep).get("price_per_gpu_hour")
    return float(said) if isinstance(said, int | float) else None
