"""How parameters get into statements: one way for every log store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from watchducks.stores.interfaces import Value

Parameters = Mapping[str, Value | Sequence[Value]]

# What a quoted literal of ClickHouse's SQL cannot hold as it is; the other control characters are
# written so for whoever reads the statement in the server's log.
_ESCAPES: Final = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        "\b": "\\b",
        "\f": "\\f",
        "\r": "\\r",
        "\n": "\\n",
        "\t": "\\t",
        "\0": "\\0",
        "\a": "\\a",
        "\v": "\\v",
    }
)


def bind(sql: str, parameters: Parameters | None) -> str:
    """Return ``sql`` with each ``%(name)s`` replaced by its value as a literal.

    A sequence becomes ``(a, b)``, for IN; it must not be empty. Without parameters the statement
    stays as it is; with them a percent sign is written ``%%``.

    :raises ValueError: an empty sequence.
    :raises KeyError: the statement has a place that ``parameters`` lacks.
    """
    if parameters is None:
        return sql
    return sql % {name: _literal(value) for name, value in parameters.items()}


def _literal(value: Value | Sequence[Value]) -> str:
    if isinstance(value, str):
        # Text from outside may hold lone surrogates, which no store takes.
        return f"'{value.encode('utf-8', 'replace').decode().translate(_ESCAPES)}'"
    if isinstance(value, int | float):
        # In brackets: "a-%(n)s" with a negative n would begin a comment.
        return f"({value})" if value < 0 else str(value)
    if not value:
        raise ValueError("an empty sequence cannot be bound: IN () is no SQL")
    return "(" + ", ".join(_literal(item) for item in value) + ")"
