"""``--config FILE``: overrides from a file, before those of the command."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher.decode import field_at, is_dataclass, join
from launcher.errors import ConfigError
from launcher.request.compose import GROUPS, quoted
from launcher.request.request import Request


def with_file(path: str, words: Sequence[str]) -> list[str]:
    """Return the overrides of a file, and then those of the command line, which win.

    The file is a mapping: keys may be dotted or nested, and of a group its name alone chooses one.
    Of a group that the command line chooses, nothing of the file is taken.

    Raises:
        ConfigError: it cannot be read, or is no such mapping; a key is none.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        data: Any = OmegaConf.to_container(OmegaConf.create(text))  # to which 1e-5 is a number
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {path}: {getattr(error, 'strerror', error)}") from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"--config: {path}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"--config: {path}: is no mapping of keys to values")
    chosen = {key for word in words if (key := word.partition("=")[0]) in GROUPS}
    try:
        pairs = list(_flat(data, ""))
    except ConfigError as error:
        raise ConfigError(f"--config: {path}: {error}") from error
    return [f"{key}={text}" for key, text in pairs if key.split(".")[0] not in chosen] + [*words]


def _flat(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield dotted keys and their values, quoted for Hydra."""
    for name, value in data.items():
        key = join(prefix, name)
        kind = None if key in GROUPS else field_at(Request, key.split("."))
        if isinstance(value, dict) and (kind is None or is_dataclass(kind)):
            yield from _flat(value, key)
        elif isinstance(value, str):
            yield key, value if key in GROUPS else quoted(value)
        else:
            yield key, json.dumps(value)
