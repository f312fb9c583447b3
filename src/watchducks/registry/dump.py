"""The registry as lines of JSON, which know nothing of the database that it lay in.

The first line says which schema they are of; each further one is a row. What a database chooses by
itself is kept: ids, revisions, and with them the order in which followers learn of changes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from watchducks.registry.migrations import HEAD
from watchducks.registry.schema import metadata, owners, registry, sites

# A statement for so many rows: SQLite takes 32,766 values in one, and a site has twenty.
_ROWS_AT_ONCE: Final = 500
_BINARY: Final = "base64"


class DumpError(Exception):
    """The lines cannot be read back here; the text says why."""


def dump(connection: Connection) -> Iterator[str]:
    """Return the lines, each without its end; those that others refer to come first."""
    yield json.dumps({"schema": HEAD})
    for table in metadata.sorted_tables:
        for row in connection.execute(select(table)).mappings():
            yield json.dumps({"table": table.name, "row": {k: _plain(v) for k, v in row.items()}})


def load(connection: Connection, lines: Iterable[str]) -> int:
    """Fill an empty registry, whose tables are there; return how many rows it has.

    :raises DumpError: it is not empty, or the lines are not of this schema.
    """
    iterator = iter(lines)
    found = _parsed(next(iterator, "{}")).get("schema")
    if found != HEAD:
        raise DumpError(
            f"it was made with the schema {found}, and this version has {HEAD}: restore it with the"
            " version that made it, and upgrade that"
        )
    for table in (sites, owners):
        if connection.execute(select(table).limit(1)).first() is not None:
            raise DumpError("the registry is not empty: restore into a new one")
    # The one row that a new registry begins with.
    connection.execute(registry.delete())
    waiting: list[dict[str, Any]] = []
    name, rows = "", 0
    for line in iterator:
        item = _parsed(line)
        if item.get("table") not in metadata.tables:
            raise DumpError(f"it has a table that is not known here: {item.get('table')}")
        if item["table"] != name or len(waiting) == _ROWS_AT_ONCE:
            _insert(connection, name, waiting)
            name, waiting = item["table"], []
        waiting.append({key: _value(value) for key, value in item["row"].items()})
        rows += 1
    _insert(connection, name, waiting)
    return rows


def _insert(connection: Connection, name: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(metadata.tables[name]), rows)


def _parsed(line: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except ValueError:
        raise DumpError(
            "a line is not JSON: it is not a backup of ours, or it is damaged"
        ) from None
    if not isinstance(item, dict):
        raise DumpError("it is not a backup of ours")
    return item


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {_BINARY: base64.b64encode(bytes(value)).decode()}
    return value


def _value(value: Any) -> Any:
    return base64.b64decode(value[_BINARY]) if isinstance(value, dict) else value
