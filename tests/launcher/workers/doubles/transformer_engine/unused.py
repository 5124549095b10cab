"""Names of Transformer Engine that megatron-core imports and no run here asks for."""

from types import ModuleType
from typing import Any
from unittest.mock import MagicMock


def named(name: str) -> Any:
    """Return a class, which megatron-core derives its own from, or a function."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {}) if name[0].isupper() else MagicMock(name=name)


class Unused(ModuleType):
    """A module that has whatever is imported from it."""

    def __getattr__(self, name: str) -> Any:
        return named(name)
