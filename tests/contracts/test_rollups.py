"""Roll-ups over chDB and ClickHouse: what the rows have, whatever happened on their way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.contracts.log_stores import KINDS, insert, log_store, log_store_url, row
from watchducks.analytics.plan import HAS_TTL
from watchducks.analytics.rollups import DAY, FACET_TABLES, HOUR, TRAFFIC_TABLES
from watchducks.analytics.schema import Schema
from watchducks.analytics.upkeep import Upkeep
from watchducks.stores.interfaces import LogStore

CLOCK: Any = reactor
RAW_DAYS = 30
# Yesterday.
START = int(time.time()) // DAY * DAY - DAY
TODAY = START + DAY
ROWS = [
    row(START + 5, path="/a", status=200, response_bytes=10),
    row(START + 65, path="/a", status=404, response_bytes=20, client="192.0.2.2"),
    row(START + HOUR, path="/b", status=500, response_bytes=40),
    row(START + HOUR, kind="connection", status=0, response_bytes=80),
    row(TODAY, path="/b", response_bytes=160, site_id=2),
]


class World:
    """Tables with rows, and their upkeep at a time of the test's choice."""

    def __init__(self, store: LogStore, directory: Path) -> None:
        self.store = store
        self.now: float = TODAY + 3 * HOUR
        self.schema = Schema(store, directory, clock=CLOCK, now=time.time, raw_days=RAW_DAYS)
        self.upkeep = Upkeep(store, self.schema, RAW_DAYS, clock=CLOCK, now=lambda: self.now)

    async def totals(self) -> dict[str, list[tuple[Any, ...]]]:
        """Table -> by site, and value of the path: requests, bytes and visitors."""
        found = {}
        for table in TRAFFIC_TABLES:
            found[table] = await self.store.query(
                "SELECT site, sum(requests) + sum(connections), sum(sent), uniqIfMerge(visitors),"
                f" count() FROM {table} GROUP BY site ORDER BY site"
            )
        for table in FACET_TABLES:
            found[table] = await self.store.query(
                "SELECT site, value, sum(requests), sum(sent), uniqIfMerge(visitors), count()"
                f" FROM {table} WHERE facet = 1 GROUP BY site, value ORDER BY site, value"
            )
        return found

    async def doubts(self) -> list[int]:
        """Return the days that are not settled."""
        rows = await self.store.query(
            "SELECT DISTINCT day FROM (SELECT day, token, max(settled) AS known FROM day_doubts"
            " GROUP BY day, token) WHERE known = 0 ORDER BY day"
        )
        return [int(found[0]) for found in rows]


RIGHT: dict[str, list[tuple[Any, ...]]] = {
    "traffic_minute": [(1, 4, 150, 2, 3), (2, 1, 160, 1, 1)],
    "traffic_hour": [(1, 4, 150, 2, 2), (2, 1, 160, 1, 1)],
    "traffic_day": [(1, 4, 150, 2, 1), (2, 1, 160, 1, 1)],
    "facets_hour": [(1, "/a", 2, 30, 2, 1), (1, "/b", 1, 40, 1, 1), (2, "/b", 1, 160, 1, 1)],
    "facets_day": [(1, "/a", 2, 30, 2, 1), (1, "/b", 1, 40, 1, 1), (2, "/b", 1, 160, 1, 1)],
}


@asynccontextmanager
async def world(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncIterator[World]:
    async with log_store(log_store_url(kind, request), reactor) as store:
        made = World(store, path)
        await made.schema.start()
        await insert(store, ROWS)
        yield made


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_rows_are_in_all_roll_ups(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        assert await made.totals() == RIGHT


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_what_a_roll_up_lacks_or_has_twice_is_made_anew_when_the_day_is_over(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        await made.schema.doubt("segment-1", [START])
        await made.schema.doubt("segment-2", [TODAY])
        for day in (START, TODAY):
            for table in ("traffic_minute", "facets_hour"):  # as if a block had come twice
                await made.store.execute(
                    f"INSERT INTO {table} SELECT * FROM {table} WHERE time >= toDateTime({day})"
                    f" AND time < toDateTime({day + DAY})"
                )
        assert await made.totals() != RIGHT

        await made.upkeep._turn()

        # Today's are left, and doubted: an insert may be under way.
        assert (made.upkeep.rebuilt, await made.doubts()) == (1, [TODAY // DAY])
        made.now += DAY
        await made.upkeep._turn()
        assert (made.upkeep.rebuilt, await made.doubts()) == (2, [])
        found = await made.totals()
        assert {table: [line[:-1] for line in lines] for table, lines in found.items()} == {
            table: [line[:-1] for line in lines] for table, lines in RIGHT.items()
        }
        await made.upkeep._turn()
        assert made.upkeep.rebuilt == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_a_doubt_without_cause_is_settled_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        await made.schema.doubt("segment-1", [TODAY])
        assert await made.doubts() == [TODAY // DAY]
        await made.upkeep._turn()
        assert (await made.doubts(), made.upkeep.rebuilt) == ([], 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_roll_ups_stay_when_their_rows_are_too_old(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as made:
        await made.schema.doubt("segment-1", [START])
        made.now = START + (RAW_DAYS + 2) * DAY
        await made.store.execute(f"ALTER TABLE requests DROP PARTITION {_partition(START)}")
        await made.upkeep._turn()
        assert (await made.doubts(), made.upkeep.rebuilt) == ([], 0)
        found = await made.totals()
        assert found["traffic_day"] == RIGHT["traffic_day"]
        # Where the server does not let rows go by itself, we do; the minutes as well.
        partly = made.store.version >= HAS_TTL
        assert found["traffic_minute"] == (RIGHT["traffic_minute"] if partly else [])
        rows = await made.store.query("SELECT count() FROM requests")
        assert rows == [(1 if partly else 0,)]


def _partition(day: int) -> str:
    return time.strftime("%Y%m%d", time.gmtime(day))
