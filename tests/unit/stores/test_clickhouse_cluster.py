"""Which server of a cluster is asked, and when another one is."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from watchducks.background import StartupError
from watchducks.stores.clickhouse_cluster import (
    MACROS,
    SETTLE_SECONDS,
    ClickHouseCluster,
    Standing,
    standing,
)
from watchducks.stores.clickhouse_errors import ServerAway
from watchducks.stores.interfaces import Cluster, StoreRefused, StoreUnavailable

T = TypeVar("T")


class Server:
    """A server as the cluster sees it. :ivar asked: what it was asked or told, in order."""

    def __init__(self, name: str, shard: str = "1", shards: int = 1) -> None:
        self.name = name
        self.version = (26, 9)
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.stopped = False
        # Of each table that takes rows: its place, whether it lacks some, whether that is unclear.
        self.replicas = [("/requests", 0, 0), ("/losses", 0, 1)]
        self.log_entries = 0
        self._macros = [("shard", shard), ("replica", name)]
        self._shards = shards

    async def start(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def stop(self) -> None:
        self.stopped = True

    async def query(self, sql: str, parameters: object = None) -> list[tuple[Any, ...]]:
        if self.failure is not None:
            raise self.failure
        if "system.clusters" in sql:
            return [(self._shards, 1)]
        if sql == MACROS:
            return list(self._macros)
        if "system.replicas" in sql:
            return list(self.replicas)
        if "system.zookeeper" in sql:
            assert parameters == {"log": "/losses/log"}
            return [(self.log_entries,)]
        self.asked.append(sql)
        return [(self.name,)]

    async def execute(self, statement: str) -> None:
        await self.query(statement)

    async def insert(self, table: str, *_: object) -> None:
        await self.query(f"INSERT {table}")

    insert_block = insert


def cluster_of(*servers: Any, clock: Clock | None = None) -> ClickHouseCluster:
    return ClickHouseCluster(servers, Cluster("ducks", "logs"), clock=clock or Clock())


def result(awaitable: Coroutine[Deferred[Any], Any, T]) -> T:
    """What came of it at once."""
    outcome: list[Any] = []
    _ = Deferred.fromCoroutine(awaitable).addBoth(outcome.append)
    (found,) = outcome
    if isinstance(found, Failure):
        found.raiseException()
    return cast(T, found)


def test_one_server_is_asked_until_it_fails_and_then_the_next() -> None:
    one, other = Server("one"), Server("other")
    store = cluster_of(one, other)
    result(store.start())
    assert result(store.query("a")) == [("one",)]
    one.failure = ServerAway("gone")
    assert result(store.query("b")) == [("other",)]
    result(store.insert("t", ("a",), ([1],), "token"))
    one.failure = None
    # The one that came back has no more to say than the one that was there all the time.
    assert result(store.query("c")) == [("other",)]
    other.failure = ServerAway("gone")
    assert result(store.query("d")) == [("one",)]
    assert (one.asked, other.asked) == (["a", "d"], ["b", "INSERT t", "c"])


def test_when_none_is_there_the_store_is_unavailable() -> None:
    servers = [Server("one"), Server("other")]
    store = cluster_of(*servers)
    result(store.start())
    for server in servers:
        server.failure = ServerAway(f"{server.name} is gone")
    with pytest.raises(StoreUnavailable, match="is gone"):
        result(store.query("a"))
    with pytest.raises(StoreUnavailable):
        result(store.start())


@pytest.mark.parametrize("error", [StoreRefused("wrong"), StoreUnavailable("too slow")])
def test_what_another_server_cannot_do_better_is_not_asked_of_it(error: Exception) -> None:
    one, other = Server("one"), Server("other")
    store = cluster_of(one, other)
    result(store.start())
    one.failure = error
    with pytest.raises(type(error)):
        result(store.query("a"))
    assert other.asked == []


def test_a_statement_is_made_once_and_the_next_one_elsewhere() -> None:
    one, other = Server("one"), Server("other")
    store = cluster_of(one, other)
    result(store.start())
    one.failure = ServerAway("gone")
    with pytest.raises(StoreUnavailable):
        result(store.execute("INSERT SELECT 1"))
    result(store.execute("INSERT SELECT 2"))
    assert other.asked == ["INSERT SELECT 2"]


def test_one_living_server_is_enough_to_start_and_the_other_joins_later() -> None:
    one, other = Server("one"), Server("other")
    one.failure = ServerAway("gone")
    one.version = (18, 16)
    store = cluster_of(one, other)
    with pytest.raises(StoreUnavailable):
        result(store.shards())
    result(store.start())
    assert store.version == (26, 9)
    one.failure = None
    result(store.start())
    # No table may have what the older one does not know.
    assert store.version == (18, 16)
    result(store.stop())
    assert [one.stopped, other.stopped] == [True, True]


def test_of_each_shard_one_living_server_is_told() -> None:
    servers = [Server(f"{shard}{replica}", shard, 2) for shard in "ab" for replica in "12"]
    store = cluster_of(*servers)
    result(store.start())
    assert sorted(server.name for server in result(store.shards())) == ["a1", "b1"]
    servers[0].failure = ServerAway("gone")
    assert sorted(server.name for server in result(store.shards())) == ["a2", "b1"]
    servers[1].failure = ServerAway("gone")
    with pytest.raises(StoreUnavailable, match="1 of 2 shards"):
        result(store.shards())
    with pytest.raises(StoreUnavailable, match="1 of 2 shards"):
        result(store.settled())


def test_it_is_settled_when_no_replica_that_answers_lacks_rows() -> None:
    one, other = Server("one"), Server("other")
    clock = Clock()
    store = cluster_of(one, other, clock=clock)
    result(store.start())
    other.replicas[0] = ("/requests", 1, 0)
    settled: list[object] = []
    _ = Deferred.fromCoroutine(store.settled()).addBoth(settled.append)
    clock.advance(1)
    assert settled == []
    other.replicas[0] = ("/requests", 0, 0)
    clock.advance(1)
    assert settled == [None]
    # One that takes no rows was just started, and is asked by nobody.
    taking, other.replicas = other.replicas, []
    result(store.settled())
    one.replicas = []
    with pytest.raises(StoreUnavailable):
        result(store.settled())
    # A log that is empty looks like one of which nothing was read yet.
    one.replicas, one.log_entries = taking, 1
    late: list[Any] = []
    _ = Deferred.fromCoroutine(store.settled()).addBoth(late.append)
    clock.pump([1.0] * (int(SETTLE_SECONDS) + 1))
    assert late[0].check(StoreUnavailable)
    assert "one" in str(late[0].value)


MACROS_OF_ONE = [("shard", "1"), ("replica", "one")]


def test_a_server_tells_what_it_is() -> None:
    assert standing("one", "ducks", (2, 1), MACROS_OF_ONE) == Standing("1", 2)


@pytest.mark.parametrize(
    ("known", "macros", "message"),
    [
        ((0, 0), MACROS_OF_ONE, r'^logs\.cluster = "ducks": one has no such cluster'),
        ((2, 0), MACROS_OF_ONE, "does not find itself"),
        ((2, 1), MACROS_OF_ONE[:1], "no replica in its macros"),
        ((2, 1), [("shard", ""), ("replica", "one")], "no shard in its macros"),
    ],
)
def test_a_server_that_is_not_set_up_is_a_clear_error(
    known: tuple[int, int], macros: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(StartupError, match=message):
        standing("one", "ducks", known, macros)
