"""Turn a plain dict into frozen dataclasses, strictly, and back."""

import dataclasses
import difflib
import hashlib
import json
import math
import types
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from launcher.errors import ConfigError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Bounds of a number, both included; None is no bound."""

    low: float | None = None
    high: float | None = None
    above: float | None = None


LARGEST = 2**53
"""Whole numbers above this are not exact as JSON numbers, and are nothing anybody meant."""

Count = Annotated[int, Range(low=1, high=LARGEST)]
"""A whole number of things, at least one."""

Whole = Annotated[int, Range(low=0, high=LARGEST)]
"""A whole number that may be zero."""

Positive = Annotated[float, Range(above=0.0)]
"""A real number above zero."""

NotNegative = Annotated[float, Range(low=0.0)]
"""A real number, zero included."""

Fraction = Annotated[float, Range(low=0.0, high=1.0)]
"""A share of one."""


def decode(kind: type[T], data: Any, where: str = "") -> T:
    """Build ``kind`` from ``data``.

    Args:
        kind: a dataclass, or any type its fields may have.
        data: plain dicts, lists and scalars, as YAML or JSON gives them; a part that is decoded
            already stands.
        where: the dotted path of ``data``, for messages; "" is the root.

    Raises:
        ConfigError: an unknown key, a missing one, or a value of the wrong type or range.
    """
    return _decode(kind, data, where)  # type: ignore[no-any-return]


def encode(value: Any) -> Any:
    """Turn a dataclass into the plain dicts and lists that `decode` reads back."""
    return dataclasses.asdict(value, dict_factory=_plain)


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in items}


ADDED = "added"
"""Mark of a field that is younger than folders that may exist."""


def added(default: T) -> T:
    """Define a field that earlier versions did not have: at its default it is no part of an
    identity, so that runs of theirs keep theirs. The default may never change.
    """
    metadata = {ADDED: True}
    field: Any
    if isinstance(default, dict):  # of which each value needs its own
        field = dataclasses.field(default_factory=default.copy, metadata=metadata)
    else:
        field = dataclasses.field(default=default, metadata=metadata)
    return cast("T", field)


def content(value: Any) -> Any:
    """`encode`, less the fields that were `added` and are at their default."""
    if dataclasses.is_dataclass(value):
        values = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            field.name: content(member)
            for field, member in values
            if not (ADDED in field.metadata and member == _default(field))
        }
    if isinstance(value, Mapping):
        return {key: content(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [content(member) for member in value]
    return str(value) if isinstance(value, Path) else value


def _default(field: "dataclasses.Field[Any]") -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def fingerprint(value: Any) -> str:
    """12 hex digits of the content of a dataclass or of plain data."""
    return digest(canonical(value))


def canonical(value: Any) -> str:
    """JSON of a dataclass or of plain data, equal for equal content."""
    return json.dumps(content(value), sort_keys=True, ensure_ascii=True, allow_nan=False)


def digest(text: str) -> str:
    """12 hex digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def field_at(kind: Any, path: Iterable[str], where: str = "") -> Any:
    """Return the type of the field at a dotted path below a dataclass.

    Free-form dicts take any key.

    Raises:
        ConfigError: a name on the path is no field.
    """
    parent = where
    for name in path:
        if get_origin(kind) is dict and _inner_dataclass(kind):  # whose keys the user chooses
            kind, parent = get_args(kind)[1], join(parent, name)
            continue
        inner = _inner_dataclass(kind)
        if inner is None:
            if _is_free_form(kind):
                return Any
            raise ConfigError(f"{parent}: has no keys of its own, got {join(parent, name)!r}")
        hints = _hints(inner)
        if name not in hints:
            raise ConfigError(f"{join(parent, name)}: no such key{hint(name, hints, parent)}")
        kind, parent = hints[name], join(parent, name)
    return kind


def look_up(name: str, table: Mapping[str, T], where: str) -> T:
    """Return the entry of ``name``. Raises ConfigError with the names that there are."""
    if name not in table:
        raise ConfigError(f"{where}: no {name!r}{hint(name, table)}")
    return table[name]


def hint(name: str, names: Iterable[str], parent: str = "") -> str:
    """``; did you mean 'tp'?`` for a near miss, else every known name."""
    ordered = sorted(names)
    return nearest(name, ordered, parent) or (f"; known: {', '.join(ordered)}" if ordered else "")


def nearest(name: str, names: Iterable[str], parent: str = "") -> str:
    """``; did you mean 'tp'?`` for a near miss, else an empty text."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {join(parent, close[0])!r}?" if close else ""


def join(parent: str, name: str) -> str:
    """A dotted path, one name longer."""
    return f"{parent}.{name}" if parent else name


def required(field: "dataclasses.Field[Any]") -> bool:
    """Return True for a dataclass field without a default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _inner_dataclass(kind: Any) -> Any:
    if is_dataclass(kind):
        return kind
    args = get_args(kind)  # of ``X | None``; the arguments of Annotated are no types
    return next((a for a in args if isinstance(a, type) and dataclasses.is_dataclass(a)), None)


def is_dataclass(kind: Any) -> bool:
    """Return True for a dataclass itself, not for ``X | None``: its keys are always there."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _is_free_form(kind: Any) -> bool:
    kinds = (kind, *get_args(kind))  # ``dict[...] | None`` too
    return kind is Any or any(get_origin(k) is dict for k in kinds)


def _decode(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return value if isinstance(value, kind) else _decode_dataclass(kind, value, where)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _within(args[1], _decode(args[0], value, where), where)
    if origin is Literal:
        return _decode_literal(args, value, where)
    if origin in (types.UnionType, Union):
        return _decode_union(args, value, where)
    if origin is tuple:
        return tuple(_decode(args[0], v, f"{where}[{i}]") for i, v in _items(value, where))
    if origin is dict:
        return {
            _decode(args[0], k, where): _decode(args[1], v, join(where, str(k)))
            for k, v in _mapping(value, where).items()
        }
    if kind is Path:
        return Path(_decode_scalar(str, value, where))
    return value if kind is Any else _decode_scalar(kind, value, where)


def _decode_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Decode a value of type ``X | None``, or of one of several scalar types."""
    if kinds[-1] is types.NoneType:
        return None if value is None else _decode(kinds[0], value, where)
    if type(value) in kinds:
        return value
    names = [_NAMES[kind] for kind in kinds]
    raise ConfigError(f"{where}: expected {' or '.join(names)}, got {value!r}")


def _decode_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) <= LARGEST:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)  # 1e12, as YAML reads it
    if type(value) is not kind:
        raise ConfigError(f"{where}: expected {_NAMES[kind]}, got {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{where}: {value!r} is not a finite number")
    return value


_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


def _decode_literal(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    suggestion = nearest(value, choices) if isinstance(value, str) else ""
    raise ConfigError(
        f"{where}: {value!r} is not one of {', '.join(map(str, choices))}{suggestion}"
    )


def _within(bounds: Range, value: Any, where: str) -> Any:
    if bounds.above is not None and not value > bounds.above:
        raise ConfigError(f"{where}: {value!r} is not above {bounds.above:g}")
    if bounds.low is not None and value < bounds.low:
        raise ConfigError(f"{where}: {value!r} is below {bounds.low:g}")
    if bounds.high is not None and value > bounds.high:
        raise ConfigError(f"{where}: {value!r} is above {bounds.high:g}")
    return value


def _items(value: Any, where: str) -> Iterable[tuple[int, Any]]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: expected a list, got {value!r}; write [{value}]")
    return enumerate(value)


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where or 'config'}: expected a mapping, got {value!r}")
    return value


def _decode_dataclass(kind: Any, data: Any, where: str) -> Any:
    hints = _hints(kind)
    for key in _mapping(data, where):
        if key not in hints:
            raise ConfigError(f"{join(where, str(key))}: no such key{hint(str(key), hints, where)}")
    for field in dataclasses.fields(kind):
        if field.name not in data and required(field):
            raise ConfigError(f"{join(where, field.name)}: is required")
    return kind(**{k: _decode(hints[k], v, join(where, k)) for k, v in data.items()})
