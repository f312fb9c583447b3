"""The blocklist: who and what may not register; kept in the registry, for all hosts.

A block says nothing about sites that are there already. Whoever makes one sees which these are, and
may suspend them: DNS answers with their own servers from then on, until they are resumed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select
from twisted.internet.interfaces import IReactorTime

from watchducks.model.accounts import EVERYBODY, Act, Actor
from watchducks.model.blocks import (
    MAX_BLOCKS,
    MAX_REASON_CHARACTERS,
    Block,
    BlockKind,
    read_block,
)
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.registry import audit
from watchducks.registry.registry import MAX_PAGE_SITES, Registry
from watchducks.registry.schema import blocks
from watchducks.registry.statements import lock

# Sites that one block is seen, or said, to be about.
MAX_SITES: Final = 500


class Blocklist:
    """Every method may raise StoreUnavailable."""

    def __init__(self, registry: Registry, *, clock: IReactorTime) -> None:
        self._registry = registry
        self._clock = clock

    async def refusing(self, keys: Collection[str]) -> Block | None:
        """Return a block with one of these values (:func:`watchducks.model.blocks.keys_of`)."""
        query = select(blocks).where(blocks.c.value.in_(keys)).order_by(blocks.c.id).limit(1)
        row = await self._registry.read(lambda connection: connection.execute(query).first())
        return None if row is None else _read(row)

    async def blocks(self) -> list[Block]:
        """Return all, the latest first."""
        query = select(blocks).order_by(blocks.c.id.desc())
        rows = await self._registry.read(lambda connection: connection.execute(query).all())
        return [_read(row) for row in rows]

    async def add(self, what: object, reason: object, *, by: Actor) -> Block:
        """Add a block.

        :raises InvalidFields: it is none, it is there already, or there are too many.
        """
        kind, value, why = _wanted(what, reason)
        now = int(self._clock.seconds())

        def write(connection: Connection) -> Block:
            lock(connection)
            known = connection.execute(select(blocks.c.id).where(blocks.c.value == value)).first()
            if known is not None:
                problem = Problem("blocked-already", "{value} is blocked already.", value=value)
                raise InvalidFields({"what": problem})
            count = connection.execute(select(func.count()).select_from(blocks)).scalar_one()
            if count >= MAX_BLOCKS:
                problem = Problem(
                    "too-many-blocks", "Remove one first: {most} is the most.", most=MAX_BLOCKS
                )
                raise InvalidFields({"what": problem})
            made = Block(0, kind, value, why, by.name, now)
            added = connection.execute(
                insert(blocks).values(
                    kind=kind.value, value=value, reason=why, made_by=by.name, created=now
                )
            )
            key = added.inserted_primary_key
            assert key is not None  # what an INSERT of one row always has
            audit.keep(connection, by, Act.BLOCKED, now, details={"what": value, "reason": why})
            return replace(made, number=int(key[0]))

        return await self._registry.write(write)

    async def remove(self, number: int, *, by: Actor) -> Block | None:
        """Remove a block and return it; None: there is no such block."""
        now = int(self._clock.seconds())

        def write(connection: Connection) -> Block | None:
            lock(connection)
            row = connection.execute(select(blocks).where(blocks.c.id == number)).first()
            if row is None:
                return None
            connection.execute(delete(blocks).where(blocks.c.id == number))
            audit.keep(connection, by, Act.UNBLOCKED, now, details={"what": row.value})
            return _read(row)

        return await self._registry.write(write)

    async def sites_of(self, block: Block) -> list[Site]:
        """Return sites that could not be registered today for this block, the first of them."""
        found: list[Site] = []
        async for page in self._pages():
            found += [site for site in page if block.concerns(site)]
            if len(found) >= MAX_SITES:
                break
        return found[:MAX_SITES]

    async def suspend(self, block: Block, *, suspended: bool, by: Actor) -> list[Site]:
        """Suspend the sites that a block is about, or resume them; return those that were changed.

        A site that leaves meanwhile is none of them.
        """
        wanted = [site for site in await self.sites_of(block) if site.suspended != suspended]
        return [
            site for one in wanted
            if (site := await self._registry.suspend(one.name, suspended=suspended, by=by))
        ]  # fmt: skip

    async def _pages(self) -> AsyncIterator[list[Site]]:
        after: str | None = None
        while page := await self._registry.sites(
            after=after, limit=MAX_PAGE_SITES, viewer=EVERYBODY
        ):
            yield page
            if len(page) < MAX_PAGE_SITES:
                return
            after = page[-1].name


def _wanted(what: object, reason: object) -> tuple[BlockKind, str, str]:
    problems: dict[str, Problem] = {}
    kind, value, why = BlockKind.DOMAIN, "", ""
    try:
        if not isinstance(what, str) or not isinstance(reason, str):
            raise Problem("type", "Enter this field as text.")
        kind, value = read_block(what)
    except Problem as problem:
        problems["what"] = problem
    if isinstance(reason, str):
        why = " ".join(reason.split())
        if not why:
            problems["reason"] = Problem("missing", "This field is required.")
        elif len(why) > MAX_REASON_CHARACTERS:
            problems["reason"] = Problem(
                "too-long", "At most {limit} characters.", limit=MAX_REASON_CHARACTERS
            )
        elif not why.isprintable():
            problems["reason"] = Problem(
                "control-characters", "Remove line breaks and control characters."
            )
    if problems:
        raise InvalidFields(problems)
    return kind, value, why


def _read(row: Row[*tuple[Any, ...]]) -> Block:
    return Block(row.id, BlockKind(row.kind), row.value, row.reason, row.made_by, row.created)
