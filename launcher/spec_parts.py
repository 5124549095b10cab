"""Specs of a sweep share most of their parts: each is decoded once."""

import json
from functools import cache, lru_cache
from typing import Any, get_type_hints

from launcher.decode import decode, join
from launcher.spec.run import RunSpec


def decoded(data: Any, where: str = "") -> RunSpec:
    """``decode(RunSpec, data, where)``; what points of a sweep share is decoded once.

    Raises:
        ConfigError: as `launcher.decode.decode`.
    """
    if isinstance(data, dict):
        # Not `canonical`: in which order sources are named decides the order of samples.
        data = {name: _part(name, json.dumps(value), where) for name, value in data.items()}
    return decode(RunSpec, data, where)


@lru_cache(maxsize=2**12)
def _part(name: str, text: str, where: str) -> Any:
    kind = _kinds().get(name, Any)
    return decode(kind, json.loads(text), join(where, name))


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(RunSpec, include_extras=True)
