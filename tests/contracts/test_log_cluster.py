"""Two ClickHouse servers as one log store, with one of them dying."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.contracts.log_stores import KNOWLEDGE, insert, log_store, row
from tests.servers.clickhouse import ClickHouse
from tests.servers.clickhouse_cluster import REPLICAS, SHARDS, ClickHouseCluster
from tests.servers.waiting import eventually
from watchducks.analytics.periods import DAY, HOUR, Period
from watchducks.analytics.queries import Analytics
from watchducks.analytics.rollups import FACET_TABLES, FACETS, TRAFFIC_TABLES
from watchducks.analytics.schema import Schema
from watchducks.analytics.sweeping import Sweeper
from watchducks.analytics.tables import MIGRATIONS
from watchducks.analytics.upkeep import Upkeep
from watchducks.background import StartupError, ThreadPool
from watchducks.journal.losses import Losses
from watchducks.journal.shipper import Shipper
from watchducks.journal.spool import Spool
from watchducks.stores.clickhouse_check import cluster_problems
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

CLOCK: Any = reactor
RAW_DAYS = 30
# Yesterday: its hours are over.
START = int(time.time()) // DAY * DAY - DAY
# A server that was killed finds its own mark in ZooKeeper, and tries again after ten seconds.
RETURN_SECONDS = 40


@pytest.fixture
def cluster(clickhouse_cluster: ClickHouseCluster) -> Iterator[ClickHouseCluster]:
    """Both as replicas of one shard, whatever a test has told them."""
    yield clickhouse_cluster
    clickhouse_cluster.as_replicas()


def other_way_round(url: str) -> str:
    """The same store for somebody who prefers the other server."""
    head, _, tail = url.partition("@")
    hosts, _, database = tail.partition("/")
    return f"{head}@{','.join(reversed(hosts.split(',')))}/{database}"


@asynccontextmanager
async def tables(
    url: str, directory: Path, cluster: str = REPLICAS
) -> AsyncIterator[tuple[LogStore, Schema]]:
    """The tables of a host, as it makes them at its start."""
    async with log_store(url, reactor, cluster) as store:
        schema = Schema(store, directory / "journal", clock=CLOCK, now=time.time, raw_days=RAW_DAYS)
        await schema.start()
        try:
            yield store, schema
        finally:
            await schema.stop()


async def roll_up(store: LogStore, schema: Schema) -> None:
    """Make all roll-ups that can be made now."""
    # Rows of this second are left to those who come with the next ones.
    await deferLater(CLOCK, 1.1)
    upkeep = Upkeep(store, schema, RAW_DAYS, clock=CLOCK, now=time.time)
    while await upkeep.step():
        pass


async def right(store: LogStore, visitors: int) -> None:
    """Assert that what owners are shown of yesterday is what the rows have.

    :param visitors: how many requests there were.
    """
    ask = Analytics(store, clock=CLOCK)
    period = Period(START, START + DAY, HOUR, START + DAY)
    by_site = await store.query("SELECT site, count() FROM requests GROUP BY site ORDER BY site")
    assert sum(int(count) for _, count in by_site) == visitors
    for site, count in by_site:
        traffic = await ask.traffic(int(site), period)
        status = await ask.status(int(site), period)
        assert (traffic.requests, status.requests) == (count, count)
        assert [(code.status, code.count) for code in status.codes] == [(200, count)]
        # Rows of the first minutes beside roll-ups of the hours, and of the day.
        later = Period(START + 1000, START + 2 * DAY, DAY, START + 2 * DAY)
        found = (
            (await ask.status(int(site), later)).codes[0].count,
            (await ask.visitors(int(site), later)).visitors,
        )
        assert [found] == await store.query(
            f"SELECT count(), uniqIf(visitor, visitor != 0) FROM requests WHERE site = {site}"
            f" AND time >= toDateTime({later.start})"
        )


async def rolled(store: LogStore) -> dict[str, int]:
    """Table -> requests that its rows have."""
    found = {}
    for table in TRAFFIC_TABLES:
        found[table] = (await store.query(f"SELECT sum(requests) FROM {table}"))[0][0]
    for table in FACET_TABLES:
        rows = await store.query(
            f"SELECT sum(requests) FROM {table} WHERE facet = {FACETS['status'][0]}"
        )
        found[table] = rows[0][0]
    return {table: int(count) for table, count in found.items()}


def all_of(count: int) -> dict[str, int]:
    return dict.fromkeys((*TRAFFIC_TABLES, *FACET_TABLES), count)


# --- tables -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_tables_are_made_on_all_servers_by_many_hosts_at_once(
    cluster: ClickHouseCluster, tmp_path: Path
) -> None:
    url = cluster.fresh_url()
    database = url.rpartition("/")[2]
    async with AsyncExitStack() as hosts:
        stores = [
            await hosts.enter_async_context(log_store(one, reactor, REPLICAS))
            for one in (url, other_way_round(url)) * 2
        ]
        for _ in range(2):
            schemas = [
                Schema(store, tmp_path / str(n), clock=CLOCK, now=time.time, raw_days=RAW_DAYS)
                for n, store in enumerate(stores)
            ]
            await gatherResults([Deferred.fromCoroutine(schema.apply()) for schema in schemas])
        await stores[0].settled()
        for store in stores:
            versions = await store.query("SELECT DISTINCT version FROM schema_migrations")
            assert sorted(versions) == [(migration.number,) for migration in MIGRATIONS]
        shown = [server.execute(f"SHOW TABLES FROM {database}") for server in cluster.servers]
        assert shown[0] == shown[1]
        assert {("requests",), ("requests_local",), ("traffic_day_local",)} <= set(shown[0])


@pytest_twisted.ensureDeferred
async def test_a_server_that_was_away_gets_its_tables_when_it_is_back(
    cluster: ClickHouseCluster, tmp_path: Path
) -> None:
    url = cluster.fresh_url()
    away = cluster.servers[0]
    away.kill()
    async with tables(url, tmp_path) as (store, schema):
        assert schema.ready
        await insert(store, [row(START)])
        away.start()

        async def has_tables() -> bool:
            return bool(away.execute(f"EXISTS TABLE {url.rpartition('/')[2]}.requests")[0][0])

        await eventually(CLOCK, has_tables, "its tables", RETURN_SECONDS)


@pytest_twisted.ensureDeferred
async def test_a_cluster_that_is_not_set_up_is_told_at_the_start(
    cluster: ClickHouseCluster, tmp_path: Path
) -> None:
    with pytest.raises(StartupError, match=r'^logs\.cluster = "geese": .* no such cluster'):
        async with tables(cluster.fresh_url(), tmp_path, "geese"):
            pass
    other = f",127.0.0.1:{cluster.servers[1].port}"
    of_one = cluster.fresh_url().replace(other, "")
    async with tables(of_one, tmp_path, ""):
        pass
    with pytest.raises(StartupError, match=r"^logs\.cluster: .* has the tables of one server"):
        async with tables(of_one, tmp_path):
            pass
    of_both = cluster.fresh_url().replace(other, "")
    async with tables(of_both, tmp_path):
        pass
    with pytest.raises(StartupError, match=r"^logs\.cluster: .* has the tables of a cluster"):
        async with tables(of_both, tmp_path, ""):
            pass
    cluster.configure([("1", "one"), None])
    with pytest.raises(StartupError, match=r"^logs\.cluster: .* has no shard in its macros"):
        async with tables(cluster.fresh_url(), tmp_path):
            pass


# --- rows ---------------------------------------------------------------------------------------


async def settles(store: LogStore) -> bool:
    try:
        await store.settled()
    except StoreUnavailable:
        return False
    return True


@pytest_twisted.ensureDeferred
async def test_a_block_that_one_server_took_is_not_taken_by_the_other(
    cluster: ClickHouseCluster, tmp_path: Path
) -> None:
    url = cluster.fresh_url()
    async with tables(url, tmp_path) as (store, _):
        one, other = store.servers
        stop, go = (f"SYSTEM {word} FETCHES requests_local" for word in ("STOP", "START"))
        await other.execute(stop)
        block = ([row(START), row(START + 1)], "segment", int(time.time()))
        await insert(one, *block)
        # As after a lost acknowledgement: the second server does not see the rows yet.
        assert await other.query("SELECT count() FROM requests_local") == [(0,)]
        await insert(other, *block)
        settled = Deferred.fromCoroutine(settles(store))
        await deferLater(CLOCK, 0.5)
        assert not settled.called
        await other.execute(go)
        await settled
        await eventually(CLOCK, lambda: settles(store), "the rows at the other server", 30)
        for server in store.servers:
            assert await server.query("SELECT count() FROM requests_local") == [(2,)]


@asynccontextmanager
async def shipping(url: str, directory: Path, node: str) -> AsyncIterator[tuple[Spool, Shipper]]:
    """The journal of one host."""
    async with tables(url, directory) as (store, schema):
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
            node=node,
        )
        spool = Spool(
            directory / "spool",
            node,
            losses,
            flush_seconds=0.5,
            flush_rows=10,
            clock=CLOCK,
            on_sealed=shipper.nudge,
        )
        await shipper.start()
        await spool.start()
        try:
            yield spool, shipper
        finally:
            await spool.stop()
            await shipper.stop()
            pool.stop()


class Visitors:
    """Requests that two hosts see, numbered."""

    def __init__(self, *spools: Spool) -> None:
        self.spools = spools
        self.count = 0

    async def come(self, times: int) -> None:
        """Twenty at a time, half of them to each host, of the hours of yesterday."""
        for _ in range(times):
            for spool in self.spools:
                for _ in range(10):
                    number = self.count
                    self.count += 1
                    spool.record(
                        row(START + number % 240 * 360, path=f"/{number}", site_id=number % 3 + 1)
                    )
            await deferLater(CLOCK, 0.02)


class Watcher:
    """Somebody who asks all the time. :ivar slowest: the longest that an answer took, seconds."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self.answers = 0
        self.slowest = 0.0
        self.failures: list[str] = []
        self.stopped = False

    async def run(self) -> None:
        while not self.stopped:
            began = CLOCK.seconds()
            try:
                await self._store.query("SELECT count() FROM requests")
                self.answers += 1
            except (StoreUnavailable, StoreRefused) as error:
                self.failures.append(str(error))
            self.slowest = max(self.slowest, CLOCK.seconds() - began)
            await deferLater(CLOCK, 0.05)


def rows_of(server: ClickHouse, database: str) -> list[int]:
    found = server.execute(f"SELECT path FROM {database}.requests_local")
    return sorted(int(path[1:]) for (path,) in found)


def spooled(directory: Path) -> list[Path]:
    return list((directory / "spool").iterdir())


@pytest.mark.timeout(180)
@pytest_twisted.ensureDeferred
async def test_each_row_is_there_once_while_a_server_is_killed_and_questions_are_answered(
    cluster: ClickHouseCluster, tmp_path: Path
) -> None:
    url = cluster.fresh_url()
    database = url.rpartition("/")[2]
    async with AsyncExitStack() as hosts:
        one, _ = await hosts.enter_async_context(shipping(url, tmp_path / "one", "edge-1"))
        other, _ = await hosts.enter_async_context(
            shipping(other_way_round(url), tmp_path / "other", "edge-2")
        )
        store, schema = await hosts.enter_async_context(tables(url, tmp_path / "console"))
        watcher = Watcher(store)
        watching = Deferred.fromCoroutine(watcher.run())
        visitors = Visitors(one, other)

        async def shipped() -> bool:
            return not any(file for name in ("one", "other") for file in spooled(tmp_path / name))

        await visitors.come(5)
        await eventually(CLOCK, shipped, "the first rows", 30)
        await roll_up(store, schema)
        killed, living = cluster.servers
        await visitors.come(10)
        killed.kill()
        await visitors.come(10)
        # What was under way finds the living server, and what comes then.
        await eventually(CLOCK, shipped, "rows to be taken by the living server", 30)
        there = rows_of(living, database)
        # But what the other one took in its last moment comes with it.
        assert len(set(there)) == len(there) > visitors.count - 100
        await right(store, len(there))
        killed.start()
        await visitors.come(10)

        async def all_there() -> bool:
            return rows_of(killed, database) == list(range(visitors.count))

        await eventually(CLOCK, all_there, "the killed server to catch up", RETURN_SECONDS)
        await eventually(CLOCK, lambda: settles(store), "all else to be everywhere", 30)
        watcher.stopped = True
        await watching
        assert watcher.failures == []
        assert watcher.answers > 50
        assert watcher.slowest < 5
        # Whoever is asked; what came before the first hours were rolled up is in roll-ups.
        for server in store.servers:
            await right(server, visitors.count)
            assert min((await rolled(server)).values()) >= 100


# --- shards -------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest_twisted.ensureDeferred
async def test_several_shards_have_each_row_once_and_together_all_figures(
    clickhouse_shards: ClickHouseCluster, tmp_path: Path
) -> None:
    cluster = clickhouse_shards
    url = cluster.fresh_url()
    async with tables(url, tmp_path, SHARDS) as (store, schema):
        for number in range(12):
            rows = [
                row(START + number * HOUR + n * 60, site_id=n % 5 + 1, client=f"192.0.2.{n}")
                for n in range(40)
            ]
            await insert(store, rows, f"segment-{number}")
        shares = [
            (await server.query("SELECT count(), uniqExact(segment) FROM requests_local"))[0]
            for server in store.servers
        ]
        assert sum(int(rows) for rows, _ in shares) == 12 * 40
        # Each segment is in one of them.
        assert sum(int(segments) for _, segments in shares) == 12
        assert all(int(rows) for rows, _ in shares)

        await roll_up(store, schema)

        assert await rolled(store) == all_of(12 * 40)
        await right(store, 12 * 40)

        # What is told to tables is told to both of them.
        sweeper = Sweeper(store, RAW_DAYS, now=time.time)
        old = START - (RAW_DAYS + 9) * DAY
        for number in range(6):
            await insert(store, [row(old)], f"old-{number}", old)
        await sweeper.drop_old_days()
        before = f"SELECT count() FROM requests WHERE time < toDateTime({START})"
        assert await store.query(before) == [(0,)]
        numbers = await store.query("SELECT DISTINCT made FROM traffic_day")
        assert await sweeper._delete([int(number) for (number,) in numbers])

        async def deleted() -> bool:
            return not await sweeper._is_mutating()

        await eventually(CLOCK, deleted, "the deletion", 30)
        assert (await rolled(store))["traffic_day"] == 0

        cluster.servers[1].kill()
        # Nothing is forgotten while somebody may come back who has it still.
        assert await sweeper._is_mutating()
        # Half of the figures would be wrong ones.
        with pytest.raises(StoreUnavailable):
            await store.query("SELECT count() FROM requests")
        with pytest.raises(StoreUnavailable):
            await store.settled()
        cluster.servers[1].start()

        async def whole() -> bool:
            try:
                return await store.query("SELECT count() FROM requests") == [(12 * 40,)]
            except StoreUnavailable:
                return False

        await eventually(CLOCK, whole, "the shard to be back", RETURN_SECONDS)


# --- what the sysadmin is told ------------------------------------------------------------------


def test_check_says_what_is_wrong_with_a_cluster(cluster: ClickHouseCluster) -> None:
    url = cluster.fresh_url()
    assert cluster_problems(url, REPLICAS) == []
    unknown = cluster_problems(url, "geese")
    assert len(unknown) == 2
    assert 'logs.cluster = "geese": ClickHouse at 127.0.0.1:' in unknown[0]
    assert "no such cluster in its remote_servers" in unknown[0]
    cluster.configure([("1", "one"), None])
    (lacking,) = cluster_problems(url, REPLICAS)
    assert f"127.0.0.1:{cluster.servers[1].port} has no shard in its macros" in lacking
    cluster.as_shards()
    assert cluster_problems(url, SHARDS) == []
    one, _, other = url.partition(",")
    (incomplete,) = cluster_problems(f"{one}/{other.partition('/')[2]}", SHARDS)
    assert 'the cluster "ponds" has 2 shards, and servers of 1 are named' in incomplete
    (refused, _) = cluster_problems(url.replace("default:", "default:s3cret"), SHARDS)
    assert "logs.url: ClickHouse at" in refused
    assert "s3cret" not in refused
    cluster.as_replicas()
    cluster.servers[1].kill()
    assert cluster_problems(url, REPLICAS) == []
    cluster.zookeeper.kill()
    (alone,) = cluster_problems(url, REPLICAS)
    assert f"127.0.0.1:{cluster.servers[0].port} does not reach its ZooKeeper" in alone
