"""A sweep as written in YAML, and the specs it stands for."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from launcher.decode import LARGEST, Positive, Whole, decode, field_at, join
from launcher.errors import ConfigError
from launcher.results.columns import SPEED
from launcher.spec.formula import Formula
from launcher.spec.run import RunSpec
from sweeps.search import Stop

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """``axes`` has the shape of a run, with a list of values at every leaf.

    A value that begins with "=" is an expression over the fields of the run that the other values
    make: "= 4 * cluster.gpus".
    """

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
    trial_seconds: Positive | None = 600.0
    """Seconds that the steps of a trial on cards may take by prediction, where the goal is speed:
    one that would take longer has fewer micro batches per step, from which the speed of the whole
    batch is derived. null leaves all of them."""
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
class _Derived:
    """A value that follows from the other fields of a point."""

    formula: Formula
    kind: Any
    """Type of the field that it is for."""

    def value(self, spec: RunSpec) -> Any:
        """Return its value for a point; a whole number where it is one."""
        value = self.formula.value(spec)
        if isinstance(value, int | float) and abs(value) > LARGEST:
            raise ConfigError(f"{self.formula.where}: {self.formula.text!r} is above {LARGEST}")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return decode(self.kind, value, f"{self.formula.where}: {self.formula.text!r}")


@dataclass(frozen=True, slots=True)
class _Choice:
    """One value of an axis: (path, value) pairs that are set together, decoded or derived."""

    values: tuple[tuple[tuple[str, ...], Any], ...]

    def touches(self, name: str) -> bool:
        """Return True if it sets something in a part of the run."""
        return any(path[0] == name for path, _ in self.values)

    def of(self, name: str) -> "_Choice":
        """The pairs that lie in a part of the run."""
        return _Choice(tuple(pair for pair in self.values if pair[0][0] == name))

    @property
    def derived(self) -> list[tuple[tuple[str, ...], _Derived]]:
        """The pairs whose values follow from other fields."""
        return [(path, value) for path, value in self.values if isinstance(value, _Derived)]


def unique(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Each spec once, in its first place."""
    return list({spec.id: spec for spec in specs}.values())


def specs(sweep: Sweep, base: RunSpec) -> Iterator[RunSpec]:
    """The points of a sweep around ``base``, in the order the axes list them.

    Raises:
        ConfigError: an axis that is no field, a value of the wrong type, lists of unequal
            length under ``zip``, a condition that cannot be evaluated, or conditions that no point
            meets.
    """
    _check_listed_once(sweep)
    axes = [_axis(path, values, "sweep.axes") for path, values in _leaves(sweep.axes)]
    axes += [_together(tree, f"sweep.zip[{n}]") for n, tree in enumerate(sweep.zip)]
    conditions = [Formula(text, "sweep.where") for text in sweep.where]
    if axes or not sweep.points:
        yield from _meeting(conditions, _product(base, axes), needed=not sweep.points)
    for number, tree in enumerate(sweep.points):
        where = f"sweep.points[{number}]"
        chosen = [_choice(path, value, where) for path, value in _leaves(tree)]
        yield _with_derived(_changed(base, chosen), chosen)


def _meeting(
    conditions: Sequence[Formula], points: Iterable[RunSpec], needed: bool
) -> Iterator[RunSpec]:
    """Yield the points that meet every condition; one at least, where that is needed."""
    unmet, met = set[str](), False
    for point in points:
        failed = next((condition for condition in conditions if not condition.value(point)), None)
        if failed:
            unmet.add(failed.text)
            continue
        met = True
        yield point
    if needed and not met:
        rule = repr(unmet.pop()) if len(unmet) == 1 else "every condition"
        raise ConfigError(f"sweep.where: no point of the sweep meets {rule}")


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
    derives = any(choice.derived for axis in axes for choice in axis)
    for combination in itertools.product(*(range(len(axis)) for axis in axes)):
        parts = {}
        for name, numbers in touched.items():
            if numbers:
                key = (name, tuple(combination[n] for n in numbers))
                if key not in cache:
                    choices = [axes[n][combination[n]].of(name) for n in numbers]
                    cache[key] = getattr(_changed(base, choices), name)
                parts[name] = cache[key]
        point = dataclasses.replace(base, **parts)
        if derives:
            chosen = [axis[n] for axis, n in zip(axes, combination, strict=True)]
            point = _with_derived(point, chosen)
        yield point


def _with_derived(point: RunSpec, choices: Sequence[_Choice]) -> RunSpec:
    """Set the fields that follow from others; none of them sees another one."""
    pairs = [pair for choice in choices for pair in choice.derived]
    return _changed(point, [_Choice(tuple((path, rule.value(point)) for path, rule in pairs))])


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
    if isinstance(value, tuple) and all(isinstance(part, str) for part in value):
        value = f"[{','.join(value)}]"
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
    """(path, value) of every leaf. A mapping is a branch, unless a path cannot go on there; one of
    free keys (data.blend, cluster.environment) is where each of its keys has a list."""
    for key, value in tree.items():
        path = (*above, *str(key).split("."))
        if isinstance(value, Mapping) and (_is_of_lists(value) or not _is_value(path)):
            yield from _leaves(value, path)
        else:
            yield path, value


def _is_of_lists(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(isinstance(values, list | tuple) for values in value.values())


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
    kind, place = field_at(RunSpec, path, where), join(where, ".".join(path)) + index
    if isinstance(value, str) and value.startswith("="):
        return _Choice(((path, _Derived(Formula(value[1:].strip(), place), kind)),))
    return _Choice(((path, decode(kind, value, place)),))


def _together(tree: Mapping[str, Any], where: str) -> list[_Choice]:
    axes = {path: _axis(path, values, where) for path, values in _leaves(tree)}
    lengths = {".".join(path): len(axis) for path, axis in axes.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ConfigError(f"{where}: lists that move together must be of one length: {counts}")
    rows = zip(*axes.values(), strict=True)
    return [_Choice(tuple(pair for choice in row for pair in choice.values)) for row in rows]


def _changed(base: RunSpec, choices: Sequence[_Choice]) -> RunSpec:
    pairs = [
        pair for choice in choices for pair in choice.values if not isinstance(pair[1], _Derived)
    ]
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for (*group, name), value in pairs:
        groups.setdefault(tuple(group), {})[name] = value
    for path in sorted(groups, key=len):  # a group before its fields
        base = _replaced(base, path, groups[path])
    return base


def _replaced(owner: T, path: tuple[str, ...], values: Mapping[str, Any]) -> T:
    """Set fields of the group at a path below ``owner``."""
    if isinstance(owner, Mapping):
        return {**owner, **values}  # type: ignore[return-value]
    if path:
        name, *subpath = path
        values = {name: _replaced(getattr(owner, name), tuple(subpath), values)}
    return dataclasses.replace(owner, **values)  # type: ignore[type-var]
