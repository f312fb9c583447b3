"""Roll-ups over chDB and ClickHouse: what the rows have, whatever happened on their way."""

from __future__ import annotations

import random
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.task import deferLater

from tests.contracts.log_stores import KINDS, log_store, log_store_url
from tests.contracts.log_world import at_any_time, hours
from watchducks.analytics.ledger import TABLE, UNITS
from watchducks.analytics.periods import Period
from watchducks.analytics.plan import HAS_TTL
from watchducks.analytics.planning import GIVE_UP_SECONDS, QUIET_SECONDS, ROLL_AFTER
from watchducks.analytics.reading import KNOWN_SECONDS, Reader
from watchducks.analytics.rolling import read_ledger
from watchducks.analytics.rollups import DAY, FACET_TABLES, HOUR, MINUTE, TRAFFIC_TABLES
from watchducks.analytics.schema import Schema
from watchducks.analytics.sweeping import REST_SECONDS
from watchducks.analytics.tiles import cover
from watchducks.analytics.upkeep import GIVEN_UP_SECONDS, Upkeep
from watchducks.stores.interfaces import LogStore, StoreUnavailable

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

    def right(self, periods: Sequence[Period] = PERIODS) -> list[Any]:
        """What is right."""
        found: list[Any] = []
        for period in periods:
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
        await to_rest(made)
        rows = await made.store.query(f"SELECT DISTINCT kind FROM {TABLE} ORDER BY kind")
        assert rows == [("had",), ("rolled",)]
        assert set((await made.counts()).values()) == {204}
        made.clock.now += KNOWN_SECONDS
        assert await made.known(made.reader) == made.right()
        asked = made.upkeep.made
        await made.roll()
        assert made.upkeep.made == asked


class Chaos:
    """Hosts of which anything may happen between any two statements; who asks never notices.

    :ivar checked: how often somebody asked.
    """

    def __init__(self, made: World, seed: int) -> None:
        self.made = made
        self.chance = random.Random(seed)
        self.faults = True
        self.checked = 0
        self._lock = DeferredLock()
        self._paused = False
        self._truths: list[tuple[float, list[Any]]] = []
        # Believes what it knows as long as it may.
        self._slow = Reader(made.store, clock=made.clock)
        self._tell()

    def host(self) -> Upkeep:
        return self.made.host(at_any_time(self.made.store.store, self.made.clock, self._around))

    async def _around(self, sql: str, run: Callable[[], Awaitable[None]]) -> None:
        for _ in range(self.chance.randrange(3)):
            await deferLater(REACTOR, 0)
        if not self.faults:
            await run()
            return
        event = self.chance.random()
        if event < 0.02:
            raise Killed
        if event < 0.04 and not self._paused:
            await self._pause()
        await run()
        if event > 0.98:
            raise Killed
        if event > 0.96:
            raise StoreUnavailable("the answer is lost")
        if event > 0.75:
            await self._lock.run(lambda: Deferred.fromCoroutine(self._meanwhile()))

    async def _pause(self) -> None:
        """Stand still while all others give up on this host and make its work anew."""
        self._paused = True
        self.made.clock.now += GIVEN_UP_SECONDS + 1
        await self.run(self.host(), 4)
        self._paused = False

    async def _meanwhile(self) -> None:
        if self.chance.random() < 0.1:
            await self.late()
        await self.check()

    async def run(self, host: Upkeep, steps: int) -> None:
        for _ in range(steps):
            try:
                if not await host.step():
                    return
            except (Killed, StoreUnavailable):
                return

    def _tell(self) -> None:
        self._truths.append((self.made.clock.now, self.made.right(PERIODS[:1])[:2]))

    async def check(self) -> None:
        """Ask as somebody who knows all, and as one who knows what was true two seconds ago."""
        self.checked += 1
        now = self.made.clock.now
        fresh = Reader(self.made.store, clock=self.made.clock)
        assert await self._seen(fresh) == self._truths[-1][1]
        recent = [
            truth
            for (_, truth), (until, _) in pairwise([*self._truths, (now, [])])
            if until > now - KNOWN_SECONDS - 1
        ]
        seen = await self._seen(self._slow)
        if len(recent) == 1:
            assert seen == recent[0]
        else:
            # Of what came in that time some may be seen: where its hour had no roll-ups.
            assert recent[0][1][0] <= seen[1][0] <= recent[-1][1][0]

    async def _seen(self, reader: Reader) -> list[Any]:
        days = sorted(await reader.traffic([1], PERIODS[0], FIGURES, by_bucket=True))
        return [days, tuple(sum(int(day[n]) for day in days) for n in range(1, 5))]

    async def late(self) -> None:
        """A block that comes late, is announced once more, or never comes."""
        now = int(self.made.clock.now)
        day = self.chance.randrange(START, now + 1) // DAY * DAY
        times = [self.chance.randrange(day, min(day + DAY, now + 1)) for _ in range(3)]
        event = self.chance.random()
        if event < 0.1:
            await self.made.schema.doubt(["nothing"], [times[0]])
            return
        token = await self.made.insert_late(*times)
        self._tell()
        if event > 0.9:
            await self.made.schema.doubt([token], times)

    async def in_time(self) -> None:
        now = int(self.made.clock.now)
        times = [self.chance.randrange(now // HOUR * HOUR, now + 1) for _ in range(3)]
        await self.made.insert(*times)
        self._tell()


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_whatever_happens_figures_are_those_of_the_rows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        chaos = Chaos(made, seed=5)
        chance = chaos.chance
        for _ in range(15):
            event = chance.random()
            if event < 0.3:
                await chaos.in_time()
            elif event < 0.5:
                await chaos.late()
            else:
                if made.clock.now < START + 3 * DAY:
                    made.clock.now += chance.choice([1, QUIET_SECONDS, HOUR, 5 * HOUR, 12 * HOUR])
                hosts = [chaos.host() for _ in range(chance.choice([1, 2]))]
                await gatherResults(Deferred.fromCoroutine(chaos.run(host, 3)) for host in hosts)
            await chaos.check()
        assert chaos.checked > 20

        chaos.faults = False
        made.clock.now = START + 4 * DAY + GIVE_UP_SECONDS + GIVEN_UP_SECONDS
        await made.roll()  # gives up what nobody finishes
        await made.roll()
        await to_rest(made)
        made.clock.now += KNOWN_SECONDS
        assert await made.known(made.reader) == made.right()
        assert set((await made.counts()).values()) == {len(made.rows)}


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_where_rows_are_gone_what_is_new_is_added(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:

        async def total() -> tuple[int, int]:
            """Requests and visitors of the day, as who asks gets them when all is rolled up."""
            made.clock.now += QUIET_SECONDS
            await made.roll()
            made.clock.now += KNOWN_SECONDS
            assert not (await read_ledger(made.store)).doubts
            period = Period(LONG_AGO, LONG_AGO + DAY, DAY, LONG_AGO + DAY)
            names = ["requests", "visitors"]
            ((requests, visitors),) = await made.reader.traffic([1], period, names)
            paths = await made.reader.facet(1, period, "path", names, order="value", limit=9)
            assert sum(int(row[1]) for row in paths) == requests
            return int(requests), int(visitors)

        def visitors() -> int:
            return len({row.visitor for row in made.rows})

        # An old access log, in two pieces of which the second one lies in the same hours.
        made.clock.now = START + 12 * HOUR
        await made.roll()
        one = await made.insert_late(LONG_AGO + 5, LONG_AGO + 6, LONG_AGO + 7 * HOUR)
        assert await total() == (3, visitors())
        two = await made.insert_late(LONG_AGO + 7)
        assert await total() == (4, visitors())
        await made.schema.doubt([two], [LONG_AGO])
        assert await total() == (4, visitors())
        # Much later its rows are gone; a host that was cut off delivers, and is asked twice.
        partition = time.strftime("%Y%m%d", time.gmtime(LONG_AGO))
        await made.store.execute(f"ALTER TABLE requests DROP PARTITION {partition}")
        three = await made.insert_late(LONG_AGO + 8, LONG_AGO + 9, LONG_AGO + 9 * HOUR)
        assert await total() == (7, visitors())
        for token in (one, three, "never came"):
            await made.schema.doubt([token], [LONG_AGO])
        made.clock.now += GIVE_UP_SECONDS
        assert await total() == (7, visitors())
        # So it stays when nothing is remembered but what was rolled up.
        await to_rest(made)
        await made.schema.doubt([three], [LONG_AGO])
        assert await total() == (7, visitors())
        await made.insert_late(LONG_AGO + 10)
        assert await total() == (8, visitors())


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_rows_stay_for_as_long_as_they_were_here(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        made.clock.now = START + 12 * HOUR
        await made.insert(START + 5)
        await made.insert_late(LONG_AGO + 5)
        made.clock.now += QUIET_SECONDS
        await made.roll()

        async def rows() -> dict[str, int]:
            await made.upkeep._turn()
            found = {}
            for table in ("requests", "traffic_minute", "traffic_hour"):
                found[table] = (await made.store.query(f"SELECT count() FROM {table}"))[0][0]
            return found

        all_there = {"requests": 2, "traffic_minute": 2, "traffic_hour": 2}
        made.clock.now += RAW_DAYS * DAY - 2 * HOUR
        assert await rows() == all_there
        # (What is of that store's own time is two days later than ours.)
        made.clock.now += 3 * HOUR + 4 * DAY
        # Where the server does it by itself it has not happened yet: for it this is not now.
        by_itself = made.store.version >= HAS_TTL
        gone = {"requests": 0, "traffic_minute": 0, "traffic_hour": 2}
        assert await rows() == (all_there if by_itself else gone)


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_nobody_counts_what_is_being_made_and_who_was_paused_adds_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        await made.insert(*spread(20, START, START + DAY))
        made.clock.now = START + DAY + ROLL_AFTER
        await made.roll()
        # Of what is so old, roll-ups are asked even while it is doubted.
        await made.insert_late(LONG_AGO)
        made.clock.now += QUIET_SECONDS
        await made.roll()
        await made.insert_late(LONG_AGO + 1)
        made.clock.now += QUIET_SECONDS
        slow = Reader(made.store, clock=made.clock)
        seen: list[Any] = []
        paused: list[str] = []

        async def watched(sql: str, run: Callable[[], Awaitable[None]]) -> None:
            if sql.startswith(f"INSERT INTO {TABLE}"):
                await slow.known()  # what it believes while the rows come, if it may
            await run()
            if sql.startswith("INSERT INTO traffic_hour"):
                period = Period(LONG_AGO, LONG_AGO + HOUR, HOUR, LONG_AGO + HOUR)
                seen.append(await slow.traffic([1], period, ["requests"]))

        host = made.host(at_any_time(made.store.store, made.clock, watched))
        while await host.step():
            pass
        assert seen == [[(1,)]]

        await made.insert_late(START + 6)
        made.clock.now += QUIET_SECONDS

        async def pauses(sql: str, run: Callable[[], Awaitable[None]]) -> None:
            if sql.startswith("INSERT INTO traffic_minute"):
                paused.append(sql)
                made.clock.now += GIVEN_UP_SECONDS
                await made.roll()
                made.clock.now += KNOWN_SECONDS
            await run()
            if paused:
                assert await made.known(made.reader) == made.right()

        await made.host(at_any_time(made.store.store, made.clock, pauses)).step()
        (statement,) = paused
        batch = re.findall(r"toUInt64\((\d+) \+", statement)[0]
        for table in TABLES:
            where = f"intDiv(made, {UNITS}) = intDiv({batch}, {UNITS})"
            assert await made.store.query(f"SELECT count() FROM {table} WHERE {where}") == [(0,)]


async def to_rest(made: World) -> None:
    """Let all days but the present one be closed, which waits for the deletions of the server."""
    made.clock.now += REST_SECONDS
    for _ in range(400):
        await made.roll()
        ledger = await read_ledger(made.store)
        if not ledger.closed and set(ledger.days) <= {int(made.clock.now) // DAY}:
            return
        await deferLater(REACTOR, 0.05)
    raise AssertionError("the ledger is still open")
