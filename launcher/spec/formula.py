"""Expressions over the fields of a run, as sweeps and programs have them in YAML."""

import ast
import dataclasses
import operator
from typing import Any

import simpleeval

from launcher.decode import field_at, hint
from launcher.errors import ConfigError
from launcher.spec.run import RunSpec


class Formula:
    """An expression over the fields of a run."""

    def __init__(self, text: str, where: str) -> None:
        """Parse it.

        Args:
            text: the expression.
            where: its place in a configuration, for messages.

        Raises:
            ConfigError: it is no expression.
        """
        self.text, self.where = text, where
        self._evaluator = simpleeval.EvalWithCompoundTypes(functions={})
        try:
            self._tree = self._evaluator.parse(text)
        except (SyntaxError, simpleeval.InvalidExpression) as error:
            raise ConfigError(f"{where}: {text!r} is not an expression") from error
        self.fields = _fields_of(self._tree)
        """Dotted names of the fields, and of what follows from them, that it names."""
        self._getters = [operator.attrgetter(name) for name in self.fields]
        self._values: dict[Any, Any] = {}

    def value(self, spec: RunSpec) -> Any:
        """Return its value for a run. Raises ConfigError where it has none.

        It is worked out once for all runs that agree in the fields it names.
        """
        try:
            fields = tuple(getter(spec) for getter in self._getters)
            known = fields in self._values
        except (AttributeError, TypeError):  # no such field, or one that is a mapping
            return self._evaluated(spec)
        if not known:
            self._values[fields] = self._evaluated(spec)
        return self._values[fields]

    def _evaluated(self, spec: RunSpec) -> Any:
        used = {field.partition(".")[0] for field in self.fields}
        try:
            self._evaluator.names = {name: getattr(spec, name) for name in NAMES if name in used}
            return self._evaluator.eval(self.text, previously_parsed=self._tree)
        except (simpleeval.AttributeDoesNotExist, simpleeval.NameNotDefined) as error:
            name = str(getattr(error, "attr", None) or getattr(error, "name", None))
            known = dict.fromkeys([*field_names(RunSpec), *FOLLOWS, "gpus", "params"])
            message = f"no field {name!r}{hint(name, known)}"
            raise ConfigError(f"{self.where}: {self.text!r}: {message}") from error
        except (simpleeval.InvalidExpression, *_EVALUATION_ERRORS) as error:
            raise ConfigError(f"{self.where}: {self.text!r}: {error}") from error


def _fields_of(tree: ast.AST) -> list[str]:
    """Return the fields that an expression names, sorted."""
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name)}
    dotted = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    # The parts of a longer name are equal where it is.
    return sorted(n for n in names | dotted if not any(m.startswith(f"{n}.") for m in dotted))


FOLLOWS = ("dp", "accumulation")
"""Sizes that follow from a run, by the names that an expression has for them."""

NAMES = (*(part.name for part in dataclasses.fields(RunSpec)), *FOLLOWS)
"""Names that an expression may begin with."""

_EVALUATION_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""Errors that evaluating somebody's expression may raise."""


def field_names(kind: Any) -> list[str]:
    """Names of the fields of a dataclass, and of those that it holds."""
    names = []
    for name in [member.name for member in dataclasses.fields(kind)]:
        inner = field_at(kind, (name,))
        names += [name, *(field_names(inner) if dataclasses.is_dataclass(inner) else [])]
    return names
