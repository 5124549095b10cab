"""Labels of the points of a sweep: words for the fields in which they differ."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.results.columns import COLUMNS
from launcher.spec.run import RunSpec

NONE = object()
"""Value of a key that a point has not and another one has."""

IN_COLUMNS = {column.spec_field for column in COLUMNS.values()} - {None}
"""Fields that the table shows in columns of their own, dotted."""

OF_THE_MODEL = "model."
"""A model is told by its name, unless one model is varied by hand."""


def labels(points: Sequence[RunSpec]) -> dict[str, str]:
    """Label each spec by the values of the fields in which the points differ, the engine first.

    The name of a stage is its label. Keys are the names of the specs.
    """
    if all(spec.stage for spec in points):
        return {spec.name: spec.name for spec in points}
    columns = _in_order(points)
    return {
        spec.name: " ".join(
            _describe(name, column[i]) for name, column in columns if column[i] is not NONE
        )
        or spec.name
        for i, spec in enumerate(points)
    }


def remarks(points: Sequence[RunSpec]) -> dict[str, str]:
    """Describe for each spec what no column of the table shows: offload, other differences."""
    if all(spec.stage for spec in points):
        return {}
    columns = _in_order(points)
    models_differ = any(name == "model.name" for name, _ in columns)
    hidden = [
        (name, column)
        for name, column in columns
        if name not in IN_COLUMNS
        and name not in ("layout.offload", "data.content")
        and not (models_differ and name.startswith(OF_THE_MODEL))
    ]
    texts = {}
    for i, spec in enumerate(points):
        parts = ["offload"] if spec.layout.offload else []
        parts += [_describe(name, column[i]) for name, column in hidden if column[i] is not NONE]
        if parts:
            texts[spec.name] = ", ".join(parts)
    return texts


def differences(points: Sequence[Any]) -> dict[str, list[Any]]:
    """Find the fields in which values of one dataclass differ, dotted, with their columns.

    A key of a mapping that one point has and another has not is `NONE` there.
    """
    columns: dict[str, list[Any]] = {}
    for field in dataclasses.fields(points[0]) if points else ():
        column = [getattr(point, field.name) for point in points]
        columns.update((f"{field.name}{suffix}", values) for suffix, values in _split(column))
    return columns


def _split(column: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the parts in which the values of one field differ: the rest of the key, its column."""
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
    return sorted(differences(points).items(), key=lambda column: column[0] != "backend")


def _describe(name: str, value: Any) -> str:
    leaf = name.removeprefix("data.blend.") if "blend." in name else name.rsplit(".", 1)[-1]
    return str(value) if leaf in ("backend", "name") else f"{leaf} {value}"
