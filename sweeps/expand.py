"""A sweep as written in YAML, and the specs it stands for."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import simpleeval

from launcher.decode import Whole, decode, field_at, hint, join
from launcher.errors import ConfigError
from launcher.results.columns import SPEED
from launcher.spec.run import RunSpec
from sweeps.search import Stop

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """``axes`` has the shape of a run, with a list of values at every leaf."""

    name: str = "adhoc"
    """Names the folder of the sweep's trials."""
    strategy: str | None = None
    """A key of ``sweeps.STRATEGIES``; None is best_first for more than a handful of points."""
    goal: str = SPEED
    """Column of the table that the sweep looks for the best of: one that is measured. Other
    goals than speed take the strategies grid, random and halving."""
    stop: Stop = field(default_factory=Stop)
    """When the strategy has seen enough."""
    seed: Whole = 0
    """Seed of a strategy's random draws."""
    axes: dict[str, Any] = field(default_factory=dict)
    """Every combination of these is a point."""
    zip: tuple[dict[str, Any], ...] = ()
    """Trees like ``axes`` whose lists move together; each is one axis of the product."""
    where: tuple[str, ...] = ()
    """Conditions over the fields of a run, such as "layout.tp * layout.pp <= 8"; what the axes
    make and does not meet them all is not part of the sweep."""
    points: tuple[dict[str, Any], ...] = ()
    """Hand-picked points, whatever ``where`` says: trees with one value at every leaf."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One value of an axis: (path, decoded value) pairs that are set together."""

    values: tuple[tuple[tuple[str, ...], Any], ...]

    def touches(self, name: str) -> bool:
        """Return True if it sets something in a part of the run."""
        return any(path[0] == name for path, _ in self.values)

    def of(self, name: str) -> "_Choice":
        """The pairs that lie in a part of the run."""
        return _Choice(tuple(pair for pair in self.values if pair[0][0] == name))


def unique(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Each spec once, in its first place. Raises ConfigError where there is none."""
    by_id = {spec.id: spec for spec in specs}
    if not by_id:
        raise ConfigError("sweep.where: no point of the sweep meets every condition")
    return list(by_id.values())


def specs(sweep: Sweep, base: RunSpec) -> Iterator[RunSpec]:
    """The points of a sweep around ``base``, in the order the axes list them.

    Raises:
        ConfigError: an axis that is no field, a value of the wrong type, lists of unequal
            length under ``zip``, a condition that cannot be evaluated.
    """
    _check_listed_once(sweep)
    axes = [_axis(path, values, "sweep.axes") for path, values in _leaves(sweep.axes)]
    axes += [_together(tree, f"sweep.zip[{n}]") for n, tree in enumerate(sweep.zip)]
    meets = _condition(sweep.where)
    if axes or not sweep.points:
        yield from filter(meets, _product(base, axes))
    for number, tree in enumerate(sweep.points):
        where = f"sweep.points[{number}]"
        yield _changed(base, [_choice(path, value, where) for path, value in _leaves(tree)])


def _product(base: RunSpec, axes: Sequence[Sequence[_Choice]]) -> Iterator[RunSpec]:
    """Yield the spec of every combination.

    Parts of a run (its layout, its model) are made once for all that share them, and looked up by
    the positions of the values chosen: 100,000 specs take seconds.
    """
    touched = {
        name: [n for n, axis in enumerate(axes) if any(c.touches(name) for c in axis)]
        for name in (field.name for field in dataclasses.fields(base))
    }
    cache: dict[tuple[str, tuple[int, ...]], Any] = {}
    for combination in itertools.product(*(range(len(axis)) for axis in axes)):
        parts = {}
        for name, numbers in touched.items():
            if numbers:
                key = (name, tuple(combination[n] for n in numbers))
                if key not in cache:
                    choices = [axes[n][combination[n]].of(name) for n in numbers]
                    cache[key] = getattr(_changed(base, choices), name)
                parts[name] = cache[key]
        yield dataclasses.replace(base, **parts)


def choices(sweep: Sweep, spec: RunSpec) -> list[str] | None:
    """Words of a command that give a run the values of one point in all axes of a sweep.

    None where a value cannot be written as a word: a group of several fields, without a name.
    """
    trees = [sweep.axes, *sweep.zip, *sweep.points]
    paths = dict.fromkeys(path for tree in trees for path, _ in _leaves(tree))
    words = [_word(path, spec) for path in paths]
    return None if None in words else [word for word in words if word is not None]


def _word(path: tuple[str, ...], spec: RunSpec) -> str | None:
    value: Any = spec
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name)
    value = getattr(value, "name", value)
    if value is None or isinstance(value, bool):
        value = "null" if value is None else str(value).lower()
    if not isinstance(value, int | float | str):
        return None
    return f"{'.'.join(path)}={value}"


def pinned(sweep: Sweep, path: Sequence[str]) -> Sweep:
    """The sweep in which one field, which has been given a single value, does not vary."""
    axes = _without(sweep.axes, path)
    together = tuple(tree for tree in (_without(z, path) for z in sweep.zip) if tree)
    points = tuple(_without(tree, path) for tree in sweep.points)
    return dataclasses.replace(sweep, axes=axes, zip=together, points=points)


def _without(tree: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """A tree less one leaf, and less the branches that held nothing else."""
    name, *subpath = path
    branch = isinstance(tree.get(name), Mapping)
    if name not in tree or branch != bool(subpath):
        return dict(tree)
    below = _without(tree[name], subpath) if subpath else {}
    return {k: below if k == name else v for k, v in tree.items() if k != name or below}


def _check_listed_once(sweep: Sweep) -> None:
    places: dict[tuple[str, ...], str] = {}
    trees = [("axes", sweep.axes), *((f"zip[{n}]", tree) for n, tree in enumerate(sweep.zip))]
    for where, tree in trees:
        for path, _ in _leaves(tree):
            if path in places:
                field = ".".join(path)
                raise ConfigError(f"sweep.{where}: {field} is an axis in {places[path]} already")
            places[path] = where


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """(path, value) of every leaf. A mapping is a branch, unless a path cannot go on there."""
    for key, value in tree.items():
        path = (*above, *str(key).split("."))
        if isinstance(value, Mapping) and not _is_value(path):
            yield from _leaves(value, path)
        else:
            yield path, value


def _is_value(path: tuple[str, ...]) -> bool:
    """True where the field itself is a mapping of free keys (such as data.blend)."""
    try:
        return field_at(field_at(RunSpec, path), ("any",)) is Any
    except ConfigError:
        return False


def _axis(path: tuple[str, ...], values: Any, where: str) -> list[_Choice]:
    dotted = ".".join(path)
    field_at(RunSpec, path, where)
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{where}.{dotted}: expected a list of values, got {values!r}")
    if not values:
        raise ConfigError(f"{where}.{dotted}: the list of values is empty")
    return [_choice(path, value, where, f"[{n}]") for n, value in enumerate(values)]


def _choice(path: tuple[str, ...], value: Any, where: str, index: str = "") -> _Choice:
    kind = field_at(RunSpec, path, where)
    return _Choice(((path, decode(kind, value, join(where, ".".join(path)) + index)),))


def _together(tree: Mapping[str, Any], where: str) -> list[_Choice]:
    axes = {path: _axis(path, values, where) for path, values in _leaves(tree)}
    lengths = {".".join(path): len(axis) for path, axis in axes.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ConfigError(f"{where}: lists that move together must be of one length: {counts}")
    rows = zip(*axes.values(), strict=True)
    return [_Choice(tuple(pair for choice in row for pair in choice.values)) for row in rows]


def _changed(base: RunSpec, choices: Sequence[_Choice]) -> RunSpec:
    pairs = [pair for choice in choices for pair in choice.values]
    for path, value in sorted(pairs, key=lambda pair: len(pair[0])):  # a group before its fields
        base = _replaced(base, path, value)
    return base


def _replaced(owner: T, path: tuple[str, ...], value: Any) -> T:
    name, *subpath = path
    if isinstance(owner, Mapping):
        return {**owner, name: value}  # type: ignore[return-value]
    if subpath:
        value = _replaced(getattr(owner, name), tuple(subpath), value)
    return dataclasses.replace(owner, **{name: value})  # type: ignore[type-var]


def _condition(expressions: Sequence[str]) -> Callable[[RunSpec], bool]:
    evaluator = simpleeval.EvalWithCompoundTypes(functions={})
    parsed = [(text, _parsed(evaluator, text)) for text in expressions]
    names = [member.name for member in dataclasses.fields(RunSpec)]

    def meets(spec: RunSpec) -> bool:
        if parsed:
            evaluator.names = {name: getattr(spec, name) for name in names}
        return all(_evaluated(evaluator, text, tree) for text, tree in parsed)

    return meets


def _parsed(evaluator: Any, text: str) -> Any:
    try:
        return evaluator.parse(text)
    except (SyntaxError, simpleeval.InvalidExpression) as error:
        raise ConfigError(f"sweep.where: {text!r} is not an expression") from error


def _evaluated(evaluator: Any, text: str, tree: Any) -> bool:
    try:
        return bool(evaluator.eval(text, previously_parsed=tree))
    except (simpleeval.AttributeDoesNotExist, simpleeval.NameNotDefined) as error:
        name = str(getattr(error, "attr", None) or getattr(error, "name", None))
        message = f"no field {name!r}{hint(name, _field_names(RunSpec))}"
        raise ConfigError(f"sweep.where: {text!r}: {message}") from error
    except (simpleeval.InvalidExpression, *_EVALUATION_ERRORS) as error:
        raise ConfigError(f"sweep.where: {text!r}: {error}") from error


_EVALUATION_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""Errors that evaluating somebody's expression may raise."""


def _field_names(kind: Any) -> list[str]:
    names = []
    for name in [member.name for member in dataclasses.fields(kind)]:
        inner = field_at(kind, (name,))
        names += [name, *(_field_names(inner) if dataclasses.is_dataclass(inner) else [])]
    return names
