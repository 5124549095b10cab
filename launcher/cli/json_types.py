"""JSON Schema of types, of dataclasses with the texts below their fields, and of columns."""

import ast
import dataclasses
import inspect
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from launcher.decode import is_dataclass
from launcher.results.columns import Column
from launcher.results.meanings import MEANINGS

Schema = dict[str, Any]

SCALARS: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def key(
    kind: str, text: str, unit: str | None = None, known: bool = False, **more: object
) -> Schema:
    """Schema of a value.

    Args:
        kind: its type in JSON.
        text: its meaning.
        unit: of a number.
        known: False where null stands for what is unknown.
        more: other words of JSON Schema.
    """
    schema: Schema = {"type": kind if known else [kind, "null"], "description": text}
    return schema | ({"unit": unit} if unit else {}) | more


def rows(keys: Mapping[str, Schema], optional: Iterable[str] = (), **more: object) -> Schema:
    """Schema of a list of objects with the same keys."""
    return {"type": "array", "items": object_of(keys, optional, **more)}


def object_of(keys: Mapping[str, Schema], optional: Iterable[str] = (), **more: object) -> Schema:
    """Schema of an object that has all of these keys, but for optional ones, and no others."""
    return {
        "type": "object",
        "properties": dict(keys),
        "required": [name for name in keys if name not in set(optional)],
        "additionalProperties": False,
    } | more


def of_column(column: Column, known: bool = False) -> Schema:
    """Schema of the values of a column of a table; ``known`` where none of them is unknown."""
    kind = "integer" if column.form.endswith("d") else "number" if column.form else "string"
    meaning = MEANINGS[column.name]
    return key("boolean" if column.truth else kind, meaning.text, meaning.unit, known)


def of_dataclass(kind: Any, units: Mapping[str, str] | None = None) -> Schema:
    """Schema of what `launcher.decode.encode` makes of a dataclass.

    Args:
        kind: the class.
        units: units of its fields.
    """
    texts, hints = field_texts(kind), get_type_hints(kind, include_extras=True)
    properties = {}
    for field in dataclasses.fields(kind):
        unit = (units or {}).get(field.name)
        schema = of_type(hints[field.name], units)
        text = {"description": _in_json(texts[field.name])} if field.name in texts else {}
        properties[field.name] = schema | text | ({"unit": unit} if unit else {})
    return object_of(properties)


def of_type(kind: Any, units: Mapping[str, str] | None = None) -> Schema:
    """Schema of the values of a type that a field may have."""
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return of_dataclass(kind, units)
    if origin is Annotated:
        return of_type(args[0], units)
    if origin is Literal:
        return {"type": SCALARS[type(args[0])], "enum": list(args)}
    if origin in (types.UnionType, Union):
        return _or_null(of_type(args[0], units))
    if origin is tuple:
        return {"type": "array", "items": of_type(args[0], units)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": of_type(args[1], units)}
    return {"type": SCALARS[kind]} if kind in SCALARS else {}


def _or_null(schema: Schema) -> Schema:
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [schema["type"], "null"]} | values


def _in_json(text: str) -> str:
    """Docstring of a field in the words of JSON, as a part of a sentence."""
    text = re.sub(r"\bNone\b", "null", text).replace("True", "true").replace("`", "")
    return text[0].lower() + text[1:].removesuffix(".")


def field_texts(kind: Any) -> dict[str, str]:
    """Docstring below each field of a dataclass, on one line."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name) and isinstance(text.value, ast.Constant)
            texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts
