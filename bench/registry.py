"""A registry filled at once: 100,000 registrations one after another would take minutes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, insert, select, update

from watchducks.model.cutover import CutoverRules
from watchducks.model.origins import parse_origin
from watchducks.model.sites import Registration
from watchducks.model.zones import ZoneContents
from watchducks.registry import schema, statements
from watchducks.registry.migrations import migrate

# What every run asks for; the certificates are for it, too.
ZONE: Final = "bench.test"
HOST: Final = f"www.{ZONE}"

# Rows of one INSERT: SQLite accepts 32,766 parameters, a site has a dozen columns.
_CHUNK: Final = 1000


def fill(file: Path, origin: str, sites: int) -> None:
    """Make an SQLite registry with :data:`ZONE` and ``sites - 1`` more like it.

    The first goes through the registry's own statements; the others are copies of its row, with
    names, domains and revisions of their own, so they are what registering them would have left.
    """
    engine = create_engine(f"sqlite:///{file}")
    try:
        with engine.begin() as connection:
            migrate(connection)
        with engine.begin() as connection:
            statements.register(
                connection,
                Registration(
                    name="bench",
                    domain=HOST,
                    origin=parse_origin(origin),
                    email=f"owner@{ZONE}",
                    cohort="bench",
                ),
                digest="0" * 64,
                now=0,
                rules=CutoverRules(),
            )
            _copy(connection, sites - 1)
    finally:
        engine.dispose()


def keep_contents(file: Path, name: str, contents: ZoneContents) -> None:
    """Change what a site's zone holds, as another host's console does."""
    engine = create_engine(f"sqlite:///{file}")
    try:
        with engine.begin() as connection:
            statements.keep_contents(connection, name, contents, None, CutoverRules())
    finally:
        engine.dispose()


def some_hosts(sites: int, count: int) -> list[str]:
    """Return ``count`` hosts of a registry that :func:`fill` made, always the same ones."""
    chosen = random.Random(sites).sample(range(1, sites), count)  # noqa: S311 -- repeatable
    return [f"www.{_zone(number)}" for number in chosen]


def _zone(number: int) -> str:
    return f"site-{number}.test"


def _copy(connection: Connection, count: int) -> None:
    first = dict(connection.execute(select(schema.sites)).mappings().one())
    copies = _copies(first, count)
    while chunk := list(itertools.islice(copies, _CHUNK)):
        connection.execute(insert(schema.sites), chunk)
    connection.execute(update(schema.registry).values(revision=first["revision"] + count))


def _copies(first: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        yield {
            **first,
            "id": first["id"] + number,
            "revision": first["revision"] + number,
            "name": f"site-{number}",
            "name_key": f"site-{number}",
            "domain": f"www.{_zone(number)}",
            "zone": _zone(number),
        }
