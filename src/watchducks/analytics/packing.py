"""Results as bytes and back, for the shared cache. Pure."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

_UNIONS: Final = (Union, types.UnionType)


def pack(value: Any) -> Any:
    """Return a result as what JSON knows: frozen dataclasses, tuples, mappings, plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, tuple):
        return [pack(item) for item in value]
    if isinstance(value, Mapping):
        return {key: pack(item) for key, item in value.items()}
    return value


def to_bytes(value: Any) -> bytes:
    """Return JSON. :param value: what :func:`pack` returns."""
    return json.dumps(value, separators=(",", ":")).encode()


def unpack(kind: Any, value: Any) -> Any:
    """Return what :func:`pack` was given.

    :param kind: its type, as an annotation says it.
    :raises KeyError, TypeError, ValueError: ``value`` is not of it: another version wrote it.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: unpack(hint, value[name]) for name, hint in _hints(kind)})
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(unpack(arguments[0], item) for item in value)
        return tuple(unpack(hint, item) for hint, item in zip(arguments, value, strict=True))
    if origin in _UNIONS:
        if value is None:
            return None
        return unpack(next(hint for hint in arguments if hint is not types.NoneType), value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = arguments
        return {key(name): unpack(item, each) for name, each in value.items()}
    return value


@cache
def _hints(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Return a dataclass's fields with their types, resolved once."""
    found = get_type_hints(kind)
    return tuple((field.name, found[field.name]) for field in fields(kind))
