"""A batch of roll-ups, from its plan to its publication: what is asked of the store.

Each statement looks into the ledger itself, when the server runs it: whoever was paused for an hour
between two of them, and was given up meanwhile, neither adds a row nor publishes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from watchducks.analytics.ledger import (
    ABANDONED,
    BEGUN,
    COLUMNS,
    PUBLISHED,
    SELECT,
    TABLE,
    WHOLE_DAY,
    Batch,
    Entry,
    Ledger,
    read,
)
from watchducks.analytics.rollups import (
    DAY,
    FACET_TABLES,
    HOUR,
    TRAFFIC_TABLES,
    roll_hours,
    roll_rows,
)
from watchducks.stores.binding import bind
from watchducks.stores.interfaces import LogStore, StoreUnavailable, Value

# Rows that one statement reads: a second or two of one core, well below the store's time limit. The
# embedded store answers nobody else meanwhile.
PIECE_ROWS: Final = 250_000
# After a statement the store has as long for others as it took, within reason.
LONGEST_PAUSE_SECONDS: Final = 2.0
# Rows are surely there this long before the day goes of whose kind the oldest is.
_HORIZON_SECONDS: Final = 6 * HOUR

_LAST_SITE: Final = 2**32 - 1
_OF_ROWS: Final = tuple(
    name for name, seconds in (*TRAFFIC_TABLES.items(), *FACET_TABLES.items()) if seconds < DAY
)


@dataclass(frozen=True, slots=True)
class Work:
    """A batch that is to be made.

    :ivar whole: hours of the day of which all rows are rolled up.
    :ivar added: hours of the day of which only rows of these blocks are, beside what there is.
    :ivar before: only rows that came before this moment of the server's, POSIX seconds: what comes
        while it is made is announced by doubts that it does not settle.
    :ivar waiting: blocks of which it settles no doubt, although their rows may be there.
    :ivar dead: numbers of makings whose rows do not count.
    """

    batch: Batch
    whole: Sequence[int] = ()
    added: Mapping[int, Sequence[str]] = field(default_factory=dict)
    before: int = 0
    waiting: Sequence[str] = ()
    dead: frozenset[int] = frozenset()


def horizon_of(now: float, raw_days: int) -> int:
    """Return from which day's beginning on all rows are still there, POSIX seconds."""
    return -(-(int(now) - raw_days * DAY + _HORIZON_SECONDS) // DAY) * DAY


async def note(store: LogStore, entries: Sequence[Entry]) -> None:
    """Insert entries of the ledger as one block. :raises StoreUnavailable, StoreRefused:"""
    if entries:
        columns: Sequence[Sequence[Value]] = list(zip(*entries, strict=True))[:-1]
        await store.insert(TABLE, COLUMNS, columns, f"ledger-{secrets.token_hex(8)}")


async def note_everywhere(store: LogStore, entries: Sequence[Entry]) -> None:
    """Insert entries at each server that is there, so that none has to hear of them from another,
    which may die before it told. That they are there several times is no harm.

    :raises StoreUnavailable: no server is there.
    """
    noted = False
    failure: StoreUnavailable | None = None
    for server in store.servers:
        try:
            await note(server, entries)
            noted = True
        except StoreUnavailable as error:
            failure = error
    if failure is not None and not noted:
        raise failure


async def read_ledger(store: LogStore) -> Ledger:
    """Return what the ledger says now. :raises StoreUnavailable, StoreRefused:"""
    rows = await store.query(SELECT)
    return read(
        Entry(str(kind), int(day), int(made), int(unit), int(other), str(token), int(age))
        for kind, day, made, unit, other, token, age in rows
    )


def within(start: int, end: int) -> str:
    """Return the condition on the time of a row, POSIX seconds."""
    return f"time >= toDateTime({start:d}) AND time < toDateTime({end:d})"


def hours_of(day: int, units: Sequence[int]) -> str:
    """Return the condition that a row is of one of these hours of a day; there is one at least."""
    first, last = min(units), max(units)
    found = within(day * DAY + first * HOUR, day * DAY + (last + 1) * HOUR)
    if len(units) <= last - first:
        hours = ", ".join(str(unit) for unit in units)
        found += f" AND intDiv(toUInt32(time) % {DAY}, {HOUR}) IN ({hours})"
    return found


def alive(dead: Iterable[int]) -> str:
    """Return " AND ..." for rows of roll-ups, without those whose makings do not count."""
    numbers = ", ".join(str(number) for number in sorted(dead))
    return f" AND made NOT IN ({numbers})" if numbers else ""


def pieces(counts: Iterable[tuple[int, int]], most: int = PIECE_ROWS) -> Iterator[tuple[str, int]]:
    """Yield conditions on the site which all sites fulfil once, and in how many parts to take each:
    all have about ``most`` rows at most.

    :param counts: site and its rows, by site.
    """
    first, held = 0, 0
    for site, count in counts:
        if held and held + count > most:
            yield f"site >= {first} AND site < {site}", 1
            first, held = site, 0
        held += count
        if held > most:
            yield f"site >= {first} AND site <= {site}", -(-held // most)
            first, held = site + 1, 0
    if first <= _LAST_SITE:
        yield f"site >= {first}", 1


class Roller:
    """Makes batches. Every method may raise StoreUnavailable or StoreRefused."""

    def __init__(self, store: LogStore, *, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock

    async def begin(self, works: Sequence[Work]) -> None:
        """Note what will be made, so that nobody takes half of it for something."""
        entries = [entry for work in works for entry in work.batch.entries()]
        await note(self._store, entries)

    async def make(self, work: Work) -> None:
        """Insert the rows of a batch that was begun; those of one that was given up stay away."""
        batch = work.batch
        if WHOLE_DAY in batch.units:
            await self._make_day(work)
        if work.whole:
            where = f"{hours_of(batch.day, work.whole)} AND shipped < toDateTime({work.before})"
            if work.waiting:
                where += bind(" AND segment NOT IN %(them)s", {"them": work.waiting})
            await self._make_hours(batch, where)
        for unit, tokens in work.added.items():
            where = hours_of(batch.day, [unit]) + bind(" AND segment IN %(them)s", {"them": tokens})
            await self._make_hours(batch, where)

    async def _make_hours(self, batch: Batch, where: str) -> None:
        counts = await self._counts("requests", where)
        for sites, parts in pieces(counts):
            for part in range(parts):
                minutes = f" AND intDiv(toUInt32(time), 60) % {parts} = {part}" * (parts > 1)
                for table in _OF_ROWS:
                    await self._execute(
                        roll_rows(
                            table, batch.number, f"{where} AND {sites}{minutes}{_guard(batch)}"
                        )
                    )

    async def _make_day(self, work: Work) -> None:
        batch = work.batch
        where = within(batch.day * DAY, (batch.day + 1) * DAY) + alive(work.dead)
        made = batch.number + WHOLE_DAY
        for sites, _ in pieces(await self._counts("traffic_hour", where)):
            condition = f"{where} AND {sites}{_guard(batch)}"
            await self._execute(roll_hours("traffic_day", made, batch.day, condition))
        for sites, parts in pieces(await self._counts("facets_hour", where)):
            for part in range(parts):
                values = f" AND cityHash64(value) % {parts} = {part}" * (parts > 1)
                condition = f"{where} AND {sites}{values}{_guard(batch)}"
                await self._execute(roll_hours("facets_day", made, batch.day, condition))

    async def publish(self, batch: Batch) -> None:
        """Let the batch count from now on, if it was not given up."""
        await self._store.execute(
            f"INSERT INTO {TABLE} (kind, day, made)"
            f" SELECT '{PUBLISHED}', {batch.day}, toUInt64({batch.number})"
            f" FROM (SELECT countIf(kind = '{BEGUN}') AS begun,"
            f" countIf(kind = '{ABANDONED}') AS abandoned"
            f" FROM {TABLE} WHERE made = {batch.number}) WHERE begun > 0 AND abandoned = 0"
        )

    async def abandon(self, batch: Batch) -> None:
        """Give the batch up, if it was not published."""
        await self._store.execute(
            f"INSERT INTO {TABLE} (kind, day, made)"
            f" SELECT '{ABANDONED}', {batch.day}, toUInt64({batch.number})"
            f" FROM (SELECT countIf(kind = '{PUBLISHED}') AS published"
            f" FROM {TABLE} WHERE made = {batch.number}) WHERE published = 0"
        )

    async def _counts(self, table: str, where: str) -> list[tuple[int, int]]:
        rows = await self._store.query(
            f"SELECT site, count() FROM {table} WHERE {where} GROUP BY site ORDER BY site"
        )
        return [(int(site), int(count)) for site, count in rows]

    async def _execute(self, statement: str) -> None:
        began = self._clock.seconds()
        await self._store.execute(statement)
        took = self._clock.seconds() - began
        await deferLater(self._clock, min(took, LONGEST_PAUSE_SECONDS))


def _guard(batch: Batch) -> str:
    """Return " AND ...": nobody has given the batch up."""
    return (
        f" AND (SELECT countIf(kind = '{BEGUN}') > 0 AND countIf(kind = '{ABANDONED}') = 0"
        f" FROM {TABLE} WHERE made = {batch.number})"
    )
