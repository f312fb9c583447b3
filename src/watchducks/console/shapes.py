"""Shapes: JSON Schema (2020-12, which OpenAPI 3.1 uses) in few words, also of dataclasses."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
WHOLE: Final[Schema] = {"type": "integer"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}

_PLAIN: Final[Mapping[object, Schema]] = {str: TEXT, bool: FLAG, int: WHOLE, float: NUMBER}


def one_of(*values: str) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema) -> Schema:
    """This, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listing(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def table(values: Schema) -> Schema:
    """An object whose names are not known beforehand."""
    return {"type": "object", "additionalProperties": values}


def record(
    properties: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None
) -> Schema:
    """An object with these properties; an answer may have more in a later version."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
    }


def joined(*schemas: Schema) -> Schema:
    """An object that has the properties of all of these."""
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for schema in schemas:
        properties.update(schema["properties"])
        required.extend(schema["required"])
    return {"type": "object", "properties": properties, "required": required}


def of(kind: Any) -> Schema:
    """Return the schema of what ``dataclasses.asdict`` makes of a dataclass, or of a type hint.

    :raises TypeError: a type that JSON does not have.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return record({field.name: of(hints[field.name]) for field in fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (tuple, list, Sequence):
        return listing(of(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return table(of(arguments[1]))
    if origin is Literal:
        return one_of(*arguments)
    if origin in (types.UnionType, typing.Union):
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            return nullable(of(rest[0]))
    raise TypeError(f"no schema for {kind!r}")
