"""What tells the points of a sweep apart, in words."""

from collections.abc import Iterator, Sequence
from typing import Any

from launcher.decode import encode
from launcher.spec import RunSpec

IN_COLUMNS = {
    "backend",
    "model.name",
    "model.sequence",
    "cluster.nodes",
    "cluster.gpus_per_node",
    "train.global_batch",
    "train.precision",
    "layout.sequence_parallel",
    *(f"layout.{name}" for name in ("tp", "pp", "vpp", "cp", "ep", "zero", "micro_batch")),
    "layout.recompute",
}
"""Fields that the table shows in columns of their own."""

OF_THE_MODEL = "model."
"""A model is told by its name, unless one model is varied by hand."""


def labels(points: Sequence[RunSpec]) -> dict[str, str]:
    """For each spec's id the values of the fields in which the points differ, the engine first."""
    differ = _differences(points)
    return {
        spec_id: " ".join(_said(name, value) for name, value in values.items()) or spec_id
        for spec_id, values in differ.items()
    }


def remarks(points: Sequence[RunSpec]) -> dict[str, str]:
    """For each spec's id what the table's columns do not tell: offload, and other differences."""
    differ = _differences(points)
    named = any("model.name" in values for values in differ.values())
    out = {}
    for spec in points:
        said = ["offload"] if spec.layout.offload else []
        said += [
            _said(name, value)
            for name, value in differ[spec.id].items()
            if name not in IN_COLUMNS and name not in ("layout.offload", "data.content")
            and not (named and name.startswith(OF_THE_MODEL))
        ]  # fmt: skip
        if said:
            out[spec.id] = ", ".join(said)
    return out


def _differences(points: Sequence[RunSpec]) -> dict[str, dict[str, Any]]:
    flat = {spec.id: dict(_flat(encode(spec))) for spec in points}
    names = dict.fromkeys(name for values in flat.values() for name in values)
    differ = [n for n in names if len({str(values.get(n)) for values in flat.values()}) > 1]
    differ.sort(key=lambda name: name != "backend")
    return {
        spec_id: {name: values[name] for name in differ if name in values}
        for spec_id, values in flat.items()
    }


def _said(name: str, value: Any) -> str:
    leaf = name.removeprefix("data.blend.") if "blend." in name else name.rsplit(".", 1)[-1]
    return str(value) if leaf in ("backend", "name") else f"{leaf} {value}"


def _flat(data: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
