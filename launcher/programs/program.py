"""A program that trains, as a file of conf/program describes it."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from operator import attrgetter
from typing import Any, Literal

import yaml

from launcher.decode import decode, look_up
from launcher.errors import ConfigError
from launcher.spec.formula import Formula
from launcher.spec.run import RunSpec

Style = Literal["flags", "overrides", "json", "toml"]
"""Forms in which programs take their arguments: ``--name value``, ``name=value``, or a file."""

FOLDER = resources.files("conf") / "program"


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """A condition of a run that a program can do."""

    holds: str
    """Expression over the fields of the run."""
    because: str
    """Fields that it is about, and the reason."""


@dataclass(frozen=True, kw_only=True)  # no slots, to keep its formulas
class Program:
    """One program: its arguments as expressions over the fields of a run."""

    name: str
    title: str
    """Name that people know it by, and the releases whose sources the arguments are from."""
    style: Style
    command: tuple[str, ...]
    """Words that start it; ``{arguments}`` are those below, ``{file}`` is the file with them."""
    arguments: dict[str, str]
    """Argument -> expression. The values null and false leave it out, true is a flag alone where
    the style has such flags, a list is several words."""
    requires: tuple[Requirement, ...] = ()
    """Without one of these the program would do another run."""
    chosen_there: dict[str, str] = field(default_factory=dict)
    """Field -> what of the program decides it instead: a run takes it over by hand."""
    ours: tuple[str, ...] = ()
    """Fields that are of this launcher alone: the program does the same without them."""

    @cached_property
    def _formulas(self) -> dict[str, Formula]:
        where = f"conf/program/{self.name}.yaml: arguments"
        return {name: Formula(text, f"{where}.{name}") for name, text in self.arguments.items()}

    @cached_property
    def _conditions(self) -> list[tuple[Formula, str]]:
        where = f"conf/program/{self.name}.yaml: requires"
        return [(Formula(needed.holds, where), needed.because) for needed in self.requires]

    @property
    def fields(self) -> set[str]:
        """Dotted fields of a run that it maps, requires, decides by itself or leaves to us."""
        formulas = [*self._formulas.values(), *(formula for formula, _ in self._conditions)]
        named = {name for formula in formulas for name in formula.fields}
        return named | set(self.chosen_there) | set(self.ours)

    def values(self, spec: RunSpec) -> dict[str, Any]:
        """Return the arguments of a run, less those that are left out.

        Raises:
            ConfigError: the program cannot do this run.
        """
        for condition, because in self._conditions:
            if not condition.value(spec):
                values = ", ".join(f"{name} {attrgetter(name)(spec)}" for name in condition.fields)
                raise ConfigError(f"{because}: {values}: {self.name} has no counterpart of it")
        arguments = {name: formula.value(spec) for name, formula in self._formulas.items()}
        return {
            name: value for name, value in arguments.items() if not _is_absent(value, self.style)
        }


def _is_absent(value: Any, style: Style) -> bool:
    """Return True for what is left out; a file and an override can say false."""
    return value is None or (value is False and style == "flags")


def names() -> list[str]:
    """Return the names of the programs."""
    files = (path.name for path in FOLDER.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


@lru_cache
def load(name: str) -> Program:
    """Return the program of a name. Raises ConfigError where there is none."""
    path = look_up(name, {known: FOLDER / f"{known}.yaml" for known in names()}, "--as")
    return decode(Program, yaml.safe_load(path.read_text()), f"conf/program/{name}.yaml")
