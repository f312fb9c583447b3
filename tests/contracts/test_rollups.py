"""Roll-ups over chDB and ClickHouse: what the rows have, whatever happened on their way."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.contracts.log_stores import KINDS, log_store, log_store_url
from tests.contracts.log_world import at_any_time, hours
from watchducks.analytics.ledger import TABLE
from watchducks.analytics.periods import Period
from watchducks.analytics.planning import QUIET_SECONDS, ROLL_AFTER
from watchducks.analytics.reading import KNOWN_SECONDS, Reader
from watchducks.analytics.rolling import read_ledger
from watchducks.analytics.rollups import DAY, FACET_TABLES, HOUR, MINUTE, TRAFFIC_TABLES
from watchducks.analytics.schema import Schema
from watchducks.analytics.sweeping import REST_SECONDS
from watchducks.analytics.tiles import cover
from watchducks.analytics.upkeep import Upkeep
from watchducks.stores.interfaces import LogStore

REACTOR: Any = reactor
RAW_DAYS = 30
# The day before yesterday.
START = int(time.time()) // DAY * DAY - 2 * DAY
LONG_AGO = START - 3 * RAW_DAYS * DAY
TABLES = (*TRAFFIC_TABLES, *FACET_TABLES)
# In days of UTC, in days of Seoul, in hours.
PERIODS = (
    Period(START, START + 4 * DAY, DAY, START + 4 * DAY),
    Period(START - 9 * HOUR, START + 3 * DAY - 9 * HOUR, DAY, START + 3 * DAY - 9 * HOUR),
    Period(START + DAY, START + 2 * DAY, HOUR, START + 2 * DAY),
)
FIGURES = ["requests", "connections", "sent", "visitors"]


class Seen(NamedTuple):
    """A request, as far as figures tell."""

    time: int
    token: str
    visitor: int
    path: str
    sent: int


class Killed(Exception):
    """What ends a host at once."""


class World:
    """Tables with rows, and hosts that look after them, at a time of the test's choice."""

    def __init__(self, store: LogStore, directory: Path) -> None:
        self.clock = hours(START + 10 * MINUTE)
        self.store = at_any_time(store, self.clock)
        self.schema = Schema(
            self.store, directory, clock=self.clock, now=self.clock.seconds, raw_days=RAW_DAYS
        )
        self.upkeep = self.host()
        self.reader = Reader(self.store, clock=self.clock)
        self.chance = random.Random(3)
        self.rows: list[Seen] = []
        self._tokens = 0

    def host(self, store: Any = None) -> Upkeep:
        return Upkeep(
            store or self.store,
            self.schema,
            RAW_DAYS,
            clock=self.clock,
            now=self.clock.seconds,
        )

    async def insert(self, *times: int, token: str = "", site: int = 1) -> str:
        """Insert a block."""
        self._tokens += 1
        token = token or f"segment-{self._tokens}"
        rows = [
            Seen(
                moment,
                token,
                # Another one each day.
                1 + moment // DAY * 100 + self.chance.randrange(5),
                self.chance.choice(["/a", "/b"]),
                self.chance.randrange(1000),
            )
            for moment in times
        ]
        columns: dict[str, list[Any]] = {
            "segment": [row.token for row in rows],
            "time": [row.time for row in rows],
            "site": [site] * len(rows),
            "kind": ["request"] * len(rows),
            "path": [row.path for row in rows],
            "status": [200] * len(rows),
            "visitor": [row.visitor for row in rows],
            "response_bytes": [row.sent for row in rows],
            "duration_us": [1000] * len(rows),
        }
        await self.store.insert("requests", list(columns), list(columns.values()), token)
        if site == 1:
            self.rows += rows
        return token

    async def insert_late(self, *times: int) -> str:
        """Insert a block as the shipper does when it is late."""
        token = f"late-{self._tokens}"
        await self.schema.doubt([token], {moment // HOUR * HOUR for moment in times})
        return await self.insert(*times, token=token)

    async def roll(self) -> None:
        """Let the one host do all that there is to do."""
        while await self.upkeep.step():
            pass

    async def known(self, reader: Reader) -> list[Any]:
        """What somebody gets who asks everything."""
        found: list[Any] = []
        for period in PERIODS:
            found.append(sorted(await reader.traffic([1], period, FIGURES, by_bucket=True)))
            found += await reader.traffic([1], period, FIGURES)
            names = ["requests", "sent", "visitors"]
            found.append(
                sorted(await reader.facet(1, period, "path", names, order="sum(requests)", limit=9))
            )
        return found

    def right(self) -> list[Any]:
        """What is right."""
        found: list[Any] = []
        for period in PERIODS:
            rows = [row for row in self.rows if period.start <= row.time < period.end]
            buckets: dict[int, list[Seen]] = defaultdict(list)
            paths: dict[str, list[Seen]] = defaultdict(list)
            for row in rows:
                start = period.start + (row.time - period.start) // period.bucket * period.bucket
                buckets[start].append(row)
                paths[row.path].append(row)

            def figures(some: list[Seen]) -> tuple[int, int, int]:
                return len(some), sum(row.sent for row in some), len({row.visitor for row in some})

            def traffic(some: list[Seen]) -> tuple[int, int, int, int]:
                count, sent, visitors = figures(some)
                return count, 0, sent, visitors

            found.append([(start, *traffic(some)) for start, some in sorted(buckets.items())])
            found.append(traffic(rows))
            found.append([(path, *figures(some)) for path, some in sorted(paths.items())])
        return found

    async def counts(self) -> dict[str, int]:
        """Table -> how many requests it has, those that do not count included."""
        found = {}
        for table in TABLES:
            where = "WHERE facet = 1" if table in FACET_TABLES else ""
            rows = await self.store.query(f"SELECT sum(requests) FROM {table} {where}")
            found[table] = int(rows[0][0])
        return found


@asynccontextmanager
async def world(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncIterator[World]:
    async with log_store(log_store_url(kind, request), REACTOR) as store:
        made = World(store, path)
        await made.schema.start()
        yield made


def spread(count: int, start: int, end: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(start, end) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_what_is_over_is_rolled_up_and_late_rows_come_in(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        await made.roll()  # nothing yet
        for start in (START, START + DAY):
            await made.insert(*spread(100, start, start + DAY))
        made.clock.now = START + DAY + 5 * HOUR + ROLL_AFTER - 100
        await made.roll()
        assert await made.known(made.reader) == made.right()
        assert (await read_ledger(made.store)).rolled_until == START + DAY + 4 * HOUR
        made.clock.now += 100
        await made.roll()
        known = (await read_ledger(made.store)).known()
        assert cover(START, START + 2 * DAY, TRAFFIC_TABLES, known)[0].table == "traffic_day"
        assert known.rolled_until == START + DAY + 5 * HOUR
        made.clock.now += KNOWN_SECONDS
        assert await made.known(made.reader) == made.right()
        counts = await made.counts()
        assert counts["traffic_day"] == counts["facets_day"] == 100
        assert 100 < counts["traffic_hour"] < 200
        assert counts["traffic_hour"] == counts["traffic_minute"] == counts["facets_hour"]

        # Some that are late, some that are not.
        late = START + 6 * HOUR
        await made.insert_late(late + 5, START + 7 * HOUR, START + DAY + 1)
        await made.insert(START + DAY + 6 * HOUR)
        made.clock.now += KNOWN_SECONDS
        assert await made.known(made.reader) == made.right()
        assert made.upkeep.made == (before := made.upkeep.made)
        await made.roll()
        assert made.upkeep.made == before, "there may come more"
        made.clock.now += QUIET_SECONDS
        await made.roll()
        known = (await read_ledger(made.store)).known()
        assert not known.corrected
        assert known.dead
        made.clock.now += KNOWN_SECONDS
        assert await made.known(made.reader) == made.right()

        # What does not count any more goes, and what is known goes to rest.
        made.clock.now = START + 2 * DAY + ROLL_AFTER
        await made.roll()
        made.clock.now += REST_SECONDS
        for _ in range(200):
            await made.roll()
            ledger = await read_ledger(made.store)
            if not ledger.days and not ledger.closed:
                break
            await deferLater(REACTOR, 0.05)
        rows = await made.store.query(f"SELECT DISTINCT kind FROM {TABLE} ORDER BY kind")
        assert rows == [("had",), ("rolled",)]
        assert set((await made.counts()).values()) == {204}
        made.clock.now += KNOWN_SECONDS
        assert await made.known(made.reader) == made.right()
        asked = made.upkeep.made
        await made.roll()
        assert made.upkeep.made == asked
