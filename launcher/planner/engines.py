"""Engines whose formulas the planner has, and the facts it asks of a backend.

Imports neither numpy nor a backend: backends import it, and start without the formulas.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Engine = Literal["megatron", "deepspeed", "fsdp"]
"""Engines that keep weights and gradients, and talk to each other, in ways of their own."""

ENGINES: tuple[Engine, ...] = get_args(Engine)
MEGATRON, DEEPSPEED, FSDP = range(len(ENGINES))


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineTraits:
    """Facts about the engine of one spec that the formulas need; its backend states them."""

    engine: Engine
    """Engine whose formulas the spec follows."""
    gradient_bytes: float
    """Bytes of accumulated gradient per parameter, before ZeRO splits them."""
