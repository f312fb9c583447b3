"""A month of rows and their roll-ups, made in the log store itself, for the questions to be asked.

A hundred sites by Zipf's law (the busiest has 15 % of the rows), 500 paths of each by the same law,
4,000 visitors of each and day, a fifth of the rows bots'. All days are alike but for their
visitors. So the first day's roll-ups are made of its rows, by what upkeep makes them with, and
those of the other full days are copies of them: making them all takes an hour for ten million rows.
The rest of today, and what the ledger says, is made as always.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall

from watchducks.analytics.ledger import WHOLE_DAY
from watchducks.analytics.periods import DAY, HOUR
from watchducks.analytics.planning import Planner
from watchducks.analytics.rolling import Roller, Work, alive, pieces, read_ledger, within
from watchducks.analytics.rollups import FACET_TABLES, TRAFFIC_TABLES
from watchducks.stores.interfaces import LogStore

DAYS: Final = 30
SITES: Final = 100
# Of one statement that makes rows: some seconds of it on a busy machine.
_CHUNK: Final = 200_000


class _Impatient:
    """A clock for which every wait is over at once: nobody else asks the store meanwhile."""

    def __init__(self, clock: Any) -> None:
        self.seconds = clock.seconds
        self._clock = clock

    def callLater(self, _: float, *arguments: Any, **named: Any) -> IDelayedCall:
        later: IDelayedCall = self._clock.callLater(0, *arguments, **named)
        return later


def _rows(start: int, of_day: int, first: int, count: int) -> str:
    """Return the statement that makes rows of a day.

    :param start: of the day, POSIX seconds. :param of_day: how many rows a full day has.
    :param first: of them all; ``count`` of them.
    """
    return (
        "INSERT INTO requests (segment, time, time_us, site, kind, scheme, protocol, method, host,"
        " path, status, visitor, referrer_host, response_bytes, duration_us, origin_us, browser,"
        " system, device, bot, bot_reason, channel, country, page_view)"
        f" SELECT 'made', toDateTime({start} + intDiv(n * {DAY}, {of_day})) AS time,"
        " toUInt64(toUInt32(time)) * 1000000,"
        f" toUInt32(floor(pow({SITES + 1}, a % 1000000 / 1000000))) AS site,"
        " 'request', 'https', 'HTTP/2.0', 'GET', concat('www.site-', toString(site), '.test'),"
        " concat('/articles/', toString(toUInt32(floor(pow(501, b % 1000000 / 1000000)))),"
        " '/of-some-length'),"
        " if(intDiv(a, 1000000) % 50 = 0, 404, if(intDiv(b, 1000000) % 300 = 0, 502, 200)),"
        f" cityHash64(site, {start}, c % 4000),"
        " if(c % 4 = 0, concat('search-', toString(intDiv(c, 4) % 90), '.test'), ''),"
        " c % 50000, 500 + intDiv(c, 11) % 90000, 400 + intDiv(c, 11) % 80000,"
        " concat('Browser ', toString(intDiv(c, 4000) % 8)),"
        " concat('System ', toString(intDiv(c, 32000) % 6)),"
        " if(intDiv(c, 4000) % 2 = 0, 'desktop', 'mobile'),"
        " if(d % 5 = 0, concat('Bot ', toString(intDiv(d, 5) % 40)), ''),"
        " if(d % 5 = 0, 'declared-crawler', ''),"
        " if(c % 4 = 0, 'search', 'direct'), concat('C', toString(intDiv(c, 4000) % 60)),"
        " d % 5 != 0 AND intDiv(d, 200) % 3 = 0"
        " FROM (SELECT n, h AS a, intDiv(h, 1000003) AS b, g AS c, intDiv(g, 1000003) AS d"
        f" FROM (SELECT number + {first} AS n, cityHash64(n) AS h, cityHash64(n, 1) AS g"
        f" FROM numbers({count})))"
    )


def _chunks(now: int, rows: int) -> Iterator[str]:
    of_day = rows // DAYS
    today = now // DAY * DAY
    for start in range(today - DAYS * DAY, today + 1, DAY):
        there = of_day if start < today else of_day * (now - today) // DAY
        for first in range(0, there, _CHUNK):
            yield _rows(start, of_day, first, min(_CHUNK, there - first))


class _Copier:
    """Makes batches of full days of those of the first one."""

    def __init__(self, store: LogStore, roller: Roller, now: int) -> None:
        self._store = store
        self._roller = roller
        self._today = now // DAY
        self._first = self._today - DAYS

    async def make(self, work: Work) -> None:
        day = work.batch.day
        if day in {self._first, self._today}:
            await self._roller.make(work)
            return
        is_day = WHOLE_DAY in work.batch.units
        for table, seconds in {**TRAFFIC_TABLES, **FACET_TABLES}.items():
            if (seconds == DAY) == is_day:
                await self._copy(table, work, WHOLE_DAY if is_day else None)

    async def _copy(self, table: str, work: Work, unit: int | None) -> None:
        columns = [
            str(name)
            for (name,) in await self._store.query(
                "SELECT name FROM system.columns WHERE database = currentDatabase()"
                f" AND table = '{table}' AND name NOT IN ('time', 'made', 'rolled')"
            )
        ]
        shift = (work.batch.day - self._first) * DAY
        where = within(self._first * DAY, (self._first + 1) * DAY) + alive(work.dead)
        of_unit = f"intDiv(toUInt32(time) % {DAY}, {HOUR})" if unit is None else str(unit)
        counts = await self._store.query(
            f"SELECT site, count() FROM {table} WHERE {where} GROUP BY site ORDER BY site"
        )
        for sites, parts in pieces((int(site), int(count)) for site, count in counts):
            for part in range(parts):
                minutes = f" AND intDiv(toUInt32(time), 60) % {parts} = {part}" * (parts > 1)
                await self._store.execute(
                    f"INSERT INTO {table} (time, made, {', '.join(columns)})"
                    f" SELECT time + {shift}, toUInt64({work.batch.number} + {of_unit}),"
                    f" {', '.join(columns)} FROM {table} WHERE {where} AND {sites}{minutes}"
                )


async def fill(store: LogStore, now: int, rows: int, reactor: Any) -> None:
    """Fill an empty store. :raises StoreUnavailable, StoreRefused: it is busy with other things."""
    for statement in _chunks(now, rows):
        await store.execute(statement)
    planner = Planner(store, DAYS + 2, now=lambda: now)
    roller = Roller(store, clock=_Impatient(reactor))  # type: ignore[arg-type]
    copier = _Copier(store, roller, now)
    while works := await planner.works(await read_ledger(store)):
        await roller.begin(works)
        for work in works:
            await copier.make(work)
            await roller.publish(work.batch)
