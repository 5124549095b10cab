"""A backend turns a RunSpec into a command line; `launcher.results.summary` reads the run's folder.

To add an engine: a class that answers what `Backend` asks, one line in `BACKENDS`, and a worker
if it trains here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from launcher.backends.deepspeed import DeepSpeed
from launcher.backends.megatron import Megatron
from launcher.backends.worker_command import Execution
from launcher.data import corpora
from launcher.decode import look_up
from launcher.planner.engines import Engine, EngineTraits
from launcher.spec.run import RunSpec


class Backend(Protocol):
    """The seam between a spec and the program that trains it."""

    @property
    def packages(self) -> Sequence[str]:
        """Modules that the machine that trains must be able to import."""

    @property
    def planner_engine(self) -> Engine:
        """Engine whose formulas of memory and time the planner uses for its specs."""

    def gradient_bytes(self, spec: RunSpec) -> float:
        """Bytes of accumulated gradient per parameter, before ZeRO splits them."""

    def check(self, spec: RunSpec) -> None:
        """Raise LayoutError where the framework cannot run a spec, or runs it silently wrong."""

    def command(self, folder: Path, execution: Execution) -> tuple[str, ...]:
        """The argument list that every rank is started with; the spec is in the folder."""

    def checkpoint_bytes(self, spec: RunSpec) -> int:
        """Bytes on disk of one checkpoint, over all ranks."""


BACKENDS: dict[str, Backend] = {"megatron": Megatron(), "deepspeed": DeepSpeed()}


def check(spec: RunSpec) -> None:
    """Check arithmetic, then the framework's own rules. Raises RequestError with the numbers."""
    backend = look_up(spec.backend, BACKENDS, "backend")
    spec.check()
    corpora.check_vocabulary(spec)
    backend.check(spec)


def engine_traits(spec: RunSpec) -> EngineTraits:
    """Facts about the engine of a spec that the planner's formulas need."""
    backend = look_up(spec.backend, BACKENDS, "backend")
    return EngineTraits(engine=backend.planner_engine, gradient_bytes=backend.gradient_bytes(spec))
