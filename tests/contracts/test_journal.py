"""From the spool to the log store, with real files, threads and servers: each row once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.contracts.log_stores import KINDS, KNOWLEDGE, log_store, log_store_url, row
from tests.servers.clickhouse import ClickHouse
from tests.servers.waiting import eventually
from tests.unit.journal.samples import AtOnce
from watchducks.analytics.periods import DAY, HOUR, Period
from watchducks.analytics.queries import Analytics
from watchducks.analytics.results import Lost
from watchducks.analytics.schema import Schema
from watchducks.background import ThreadPool
from watchducks.journal.delivery import SETTLE_SECONDS
from watchducks.journal.losses import Loss, Losses
from watchducks.journal.segments import SHIPPING
from watchducks.journal.shipper import Shipper
from watchducks.journal.spool import Spool
from watchducks.stores.chdb import ChdbStore
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

CLOCK: Any = reactor
FLUSH_SECONDS = 0.5


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    return log_store_url(request.param, request)


@dataclass
class Journal:
    """The parts of a running journal."""

    store: LogStore
    spool: Spool
    shipper: Shipper

    async def paths(self) -> list[str]:
        """The paths of all rows in the store; none while it is away."""
        try:
            rows = await self.store.query("SELECT path FROM requests ORDER BY time_us, path")
        except (StoreUnavailable, StoreRefused):
            return []
        return [str(path) for (path,) in rows]

    async def until(self, count: int, seconds: float = 30) -> list[str]:
        """Wait until so many rows are in the store; return the paths of all."""

        async def there() -> list[str]:
            paths = await self.paths()
            return paths if len(paths) >= count else []

        return await eventually(CLOCK, there, f"{count} rows", seconds)

    def record(self, *numbers: int) -> None:
        for number in numbers:
            self.spool.record(row(time.time(), path=f"/{number}"))


@asynccontextmanager
async def running(url: str, directory: Path, flush_rows: int = 10_000) -> AsyncIterator[Journal]:
    """A journal as the appliance puts it together, stopped in the appliance's order."""
    async with log_store(url, reactor) as store:
        schema = Schema(store, directory / "journal", clock=CLOCK, now=time.time, raw_days=30)
        await schema.start()
        pool = ThreadPool("journal", 1, reactor=CLOCK)
        pool.start()
        losses = Losses(directory / "journal" / "lost-rows.json")
        shipper = Shipper(
            directory / "spool",
            directory / "journal",
            store,
            schema,
            losses,
            KNOWLEDGE,
            pool=pool,
            clock=CLOCK,
            now=time.time,
            spool_bytes=1024**3,
            node="edge-1",
        )
        spool = Spool(
            directory / "spool",
            "edge-1",
            losses,
            flush_seconds=FLUSH_SECONDS,
            flush_rows=flush_rows,
            clock=CLOCK,
            on_sealed=shipper.nudge,
        )
        await shipper.start()
        await spool.start()
        try:
            yield Journal(store, spool, shipper)
        finally:
            await spool.stop()
            await shipper.stop()
            pool.stop()
            await schema.stop()


def numbered(paths: list[str]) -> list[int]:
    return sorted(int(path[1:]) for path in paths)


@pytest_twisted.ensureDeferred
async def test_a_row_is_queryable_soon_after_its_segment_is_sealed(
    url: str, tmp_path: Path
) -> None:
    async with running(url, tmp_path) as journal:
        began = CLOCK.seconds()
        journal.record(1)
        await journal.until(1)
        assert CLOCK.seconds() - began < FLUSH_SECONDS + 1


@pytest_twisted.ensureDeferred
async def test_stop_ships_the_last_rows(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as journal:
        journal.record(1, 2, 3)
    async with running(url, tmp_path) as journal:
        assert numbered(await journal.paths()) == [1, 2, 3]
        assert list((tmp_path / "spool").iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_segment_that_was_shipped_before_a_crash_is_recognised(
    url: str, tmp_path: Path
) -> None:
    # What a crash after the insert and before the deletion leaves: the segment's file, .shipping.
    async with running(url, tmp_path, flush_rows=2) as journal:
        journal.record(1)
        await deferLater(CLOCK, 0)
        (path,) = (tmp_path / "spool").glob("*.open")
        kept = path.read_bytes()
        await journal.until(1)
    path.with_suffix(SHIPPING).write_bytes(kept)
    async with running(url, tmp_path) as journal:

        async def deleted() -> bool:
            return not list((tmp_path / "spool").glob(f"*{SHIPPING}"))

        await eventually(CLOCK, deleted, "the segment's deletion", SETTLE_SECONDS + 10)
        journal.record(2)
        assert numbered(await journal.until(2)) == [1, 2]


@pytest_twisted.ensureDeferred
async def test_dropped_tables_are_made_again_and_no_row_is_lost(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as journal:
        await journal.store.execute("DROP TABLE requests")
        journal.record(1)
        assert numbered(await journal.until(1)) == [1]
        assert journal.shipper.rejected == 0


@pytest_twisted.ensureDeferred
async def test_what_was_lost_is_in_the_charts_once(url: str, tmp_path: Path) -> None:
    began = int(time.time()) // DAY * DAY - DAY
    period = Period(began, began + DAY, HOUR, began + DAY)
    path = tmp_path / "journal" / "lost-rows.json"
    path.parent.mkdir()
    losses = Losses(path)
    losses.add({1: Loss(30, began + 60, began + 90), 2: Loss(1, began, began)})
    losses.add({1: Loss(5, began - DAY, began - DAY)})
    losses.add({1: Loss(7, began + 9 * HOUR, began + 9 * HOUR + 5)})
    assert await losses.leaving(AtOnce())
    kept = path.read_bytes()
    lost = (Lost(began + 60, began + 90, 30), Lost(began + 9 * HOUR, began + 9 * HOUR + 5, 7))
    for _ in range(2):
        # The second time as after a crash between the insert and its note on the disk.
        path.write_bytes(kept)
        async with running(url, tmp_path) as journal:

            async def forgotten() -> bool:
                return path.read_bytes() != kept

            await eventually(CLOCK, forgotten, "the batch to be stored", 10)
            analytics = Analytics(journal.store, clock=CLOCK)
            assert await analytics.lost(1, period) == lost
            assert await analytics.lost(2, period) == (Lost(began, began, 1),)
            assert await analytics.lost(3, period) == ()


@pytest_twisted.ensureDeferred
async def test_clickhouse_killed_in_the_middle_gets_each_row_once(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    # Small segments, so that one is under way at any moment; killed, not stopped, so that
    # acknowledgements are lost. Few segments: an insert fills each roll-up, however small it is.
    async with running(clickhouse.fresh_database(), tmp_path, flush_rows=10) as journal:
        total = 0
        for stop in (clickhouse.kill, clickhouse.stop):
            shipped = len(await journal.paths())
            for _ in range(20):
                journal.record(*range(total, total + 10))
                total += 10
                await deferLater(CLOCK, 0.005)
            await journal.until(shipped + 20)
            stop()
            for _ in range(10):
                journal.record(*range(total, total + 10))
                total += 10
                await deferLater(CLOCK, 0.005)
            clickhouse.start()
        assert numbered(await journal.until(total, 50)) == list(range(total))
        await deferLater(CLOCK, 1.5)
        assert numbered(await journal.paths()) == list(range(total))


@pytest_twisted.ensureDeferred
async def test_a_frozen_clickhouse_gets_each_row_once(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    async with running(clickhouse.fresh_database(), tmp_path, flush_rows=10) as journal:
        journal.record(*range(10))
        await deferLater(CLOCK, 0)
        clickhouse.pause()
        journal.record(*range(10, 30))
        await deferLater(CLOCK, 2)
        clickhouse.resume()
        assert numbered(await journal.until(30, 50)) == list(range(30))


@pytest_twisted.ensureDeferred
async def test_a_killed_chdb_gets_each_row_once(tmp_path: Path) -> None:
    async with running(f"chdb://{tmp_path}/logs", tmp_path, flush_rows=10) as journal:
        assert isinstance(journal.store, ChdbStore)
        total = 0
        for _ in range(3):
            for _ in range(20):
                journal.record(*range(total, total + 10))
                total += 10
                await deferLater(CLOCK, 0.002)
            await journal.until(total - 100)
            assert journal.store.pid is not None
            os.kill(journal.store.pid, signal.SIGKILL)
        assert numbered(await journal.until(total, 40)) == list(range(total))
