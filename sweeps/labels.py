"""What tells the points of a sweep apart, in words."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.results.columns import COLUMNS
from launcher.spec.run import RunSpec

NONE = object()
"""Where a point has not a key that another one has."""

IN_COLUMNS = {column.spec_field for column in COLUMNS.values()} - {None}
"""Fields that the table shows in columns of their own, dotted."""

OF_THE_MODEL = "model."
"""A model is told by its name, unless one model is varied by hand."""


def labels(points: Sequence[RunSpec]) -> dict[str, str]:
    """For each spec's name the values of the fields in which the points differ, the engine first.

    A stage has a name that tells it already.
    """
    if all(spec.stage for spec in points):
        return {spec.name: spec.name for spec in points}
    columns = _in_order(points)
    return {
        spec.name: " ".join(
            _said(name, column[i]) for name, column in columns if column[i] is not NONE
        )
        or spec.name
        for i, spec in enumerate(points)
    }


def remarks(points: Sequence[RunSpec]) -> dict[str, str]:
    """For each spec's name what the table's columns do not tell: offload, and other differences."""
    if all(spec.stage for spec in points):
        return {}
    columns = _in_order(points)
    named = any(name == "model.name" for name, _ in columns)
    told = [
        (name, column)
        for name, column in columns
        if name not in IN_COLUMNS and name not in ("layout.offload", "data.content")
        and not (named and name.startswith(OF_THE_MODEL))
    ]  # fmt: skip
    out = {}
    for i, spec in enumerate(points):
        said = ["offload"] if spec.layout.offload else []
        said += [_said(name, column[i]) for name, column in told if column[i] is not NONE]
        if said:
            out[spec.name] = ", ".join(said)
    return out


def differences(points: Sequence[Any]) -> dict[str, list[Any]]:
    """The fields in which values of one dataclass differ, dotted, each with its column of values.

    A key of a mapping that one point has and another has not is `NONE` there.
    """
    out: dict[str, list[Any]] = {}
    for name in (one.name for one in dataclasses.fields(points[0])) if points else ():
        column = [getattr(point, name) for point in points]
        out.update((f"{name}{rest}", values) for rest, values in _split(column))
    return out


def _split(column: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    first = column[0]
    if all(value is first or value == first for value in column):
        return
    if all(dataclasses.is_dataclass(value) for value in column):
        kinds = {id(value): value for value in column}  # many points share few
        parts = list(kinds.values())
        place = {key: i for i, key in enumerate(kinds)}
        for name, values in differences(parts).items():
            yield f".{name}", [values[place[id(value)]] for value in column]
    elif all(isinstance(value, Mapping) for value in column):
        for key in dict.fromkeys(key for value in column for key in value):
            yield f".{key}", [value.get(key, NONE) for value in column]
    else:
        yield "", column


def _in_order(points: Sequence[RunSpec]) -> list[tuple[str, list[Any]]]:
    return sorted(differences(points).items(), key=lambda item: item[0] != "backend")


def _said(name: str, value: Any) -> str:
    leaf = name.removeprefix("data.blend.") if "blend." in name else name.rsplit(".", 1)[-1]
    return str(value) if leaf in ("backend", "name") else f"{leaf} {value}"
