"""Texts that tell the points of a sweep apart."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.results.columns import COLUMNS
from launcher.spec.run import RunSpec

NONE = object()
"""Value of a key that a point lacks and another one has."""

IN_COLUMNS = {column.spec_field for column in COLUMNS.values()} - {None}
"""Fields that the table shows in columns of their own, dotted."""

NOT_CHOSEN = {"train.probe_micro_batches"}
"""Fields that follow from the others, unless a user varies them alone."""

OF_THE_MODEL = "model."
"""Prefix of the model's fields: its name tells it, unless one model is varied by hand."""


def labels(points: Sequence[RunSpec]) -> dict[str, str]:
    """By the name of each spec, the values of the fields in which they differ, the engine first.

    Null is said of no field that has a column. The name of a stage is its label. Keys are the
    names of the specs.
    """
    if all(spec.stage for spec in points):
        return {spec.name: spec.name for spec in points}
    columns = _in_order(points)
    return {
        spec.name: " ".join(
            _text(name, column[i])
            for name, column in columns
            if not (column[i] is NONE or (column[i] is None and name in IN_COLUMNS))
        )
        or spec.name
        for i, spec in enumerate(points)
    }


def remarks(points: Sequence[RunSpec]) -> dict[str, str]:
    """By the name of each spec, what the table's columns lack: offload, and other differences."""
    if all(spec.stage for spec in points):
        return {}
    columns = _in_order(points)
    by_name = any(name == "model.name" for name, _ in columns)
    without_column = [
        (name, column)
        for name, column in columns
        if name not in IN_COLUMNS
        and name not in ("layout.offload", "data.content")
        and not (by_name and name.startswith(OF_THE_MODEL))
    ]
    texts = {}
    for i, spec in enumerate(points):
        parts = ["offload"] if spec.layout.offload else []
        parts += [
            _text(name, column[i]) for name, column in without_column if column[i] is not NONE
        ]
        if parts:
            texts[spec.name] = ", ".join(parts)
    return texts


def differences(points: Sequence[Any]) -> dict[str, list[Any]]:
    """Fields in which values of one dataclass differ, dotted, each with its column of values.

    Of mappings that differ, such as blends, every key is there; `NONE` where a point lacks it.
    """
    columns: dict[str, list[Any]] = {}
    for field in dataclasses.fields(points[0]) if points else ():
        column = [getattr(point, field.name) for point in points]
        columns.update((f"{field.name}{path}", values) for path, values in _split(column))
    return columns


def _split(column: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the paths below a field whose values differ, and their columns; "" is the field."""
    first = column[0]
    if all(value is first or value == first for value in column):
        return
    if all(dataclasses.is_dataclass(value) for value in column):
        by_id = {id(value): value for value in column}  # many points share few
        parts = list(by_id.values())
        position = {key: i for i, key in enumerate(by_id)}
        for name, values in differences(parts).items():
            yield f".{name}", [values[position[id(value)]] for value in column]
    elif all(isinstance(value, Mapping) for value in column):
        for key in dict.fromkeys(key for value in column for key in value):
            yield f".{key}", [value.get(key, NONE) for value in column]
    else:
        yield "", column


def _in_order(points: Sequence[RunSpec]) -> list[tuple[str, list[Any]]]:
    differing = differences(points)
    chosen = {name: values for name, values in differing.items() if name not in NOT_CHOSEN}
    return sorted((chosen or differing).items(), key=lambda column: column[0] != "backend")


def _text(name: str, value: Any) -> str:
    leaf = name.removeprefix("data.blend.") if "blend." in name else name.rsplit(".", 1)[-1]
    if isinstance(value, tuple):
        value = "+".join(map(str, value))
    return str(value) if leaf in ("backend", "name") else f"{leaf} {value}"
