"""A ClickHouse server through clickhouse-driver, in a bounded thread pool of its own.

Only this module and clickhouse_blocks import the driver.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from clickhouse_driver.errors import (
    Error,
    ErrorCodes,
    LogicalError,
    ServerException,
    SocketTimeoutError,
    TooLargeStringSize,
    TypeMismatchError,
    UnknownTypeError,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from watchducks.background import Overloaded, ThreadPool
from watchducks.model.log_servers import LogServers
from watchducks.stores.binding import bind
from watchducks.stores.blocks import Block
from watchducks.stores.clickhouse_blocks import BlockClient, Client
from watchducks.stores.clickhouse_errors import ServerAway, one_line, store_error
from watchducks.stores.interfaces import Cluster, StoreRefused, StoreUnavailable, Value

T = TypeVar("T")

# Long enough for a handshake over a continent; a dead host is noticed before a person gives up.
CONNECT_SECONDS = 5.0
# A statement that takes longer is not one a page can wait for. The server ends it by itself.
STATEMENT_SECONDS = 30
# A server that says nothing for so long is frozen: while a query runs it reports its progress ten
# times a second, and an insert, which is silent, takes a fraction of a second (at most one more
# where MergeTree slows inserts down).
SILENCE_SECONDS = 15.0
# How long stop() waits for statements under way before it cuts their connections.
STOP_SECONDS = 5.0
_STOP_POLL_SECONDS = 0.05

# The same where another server can take over: on one network a living one answers in milliseconds,
# and an insert that waits for ZooKeeper's next leader may as well be made elsewhere.
CLUSTER_CONNECT_SECONDS = 2.0
CLUSTER_SILENCE_SECONDS = 5.0
# One that let us wait in vain is left alone for so long: others need not wait as well.
SILENT_SECONDS = 5.0
# A replica that is further behind is not asked while another one is less so.
STALE_SECONDS = 2

# From this version on LowCardinality needs no permission, and tokens are known.
_LOW_CARDINALITY_IS_STABLE = (19, 1)
_HAS_DEDUPLICATION_TOKEN = (22, 3)
# Before, only inserts whose data stand in the statement are collected, and ours do not.
_HAS_ASYNC_INSERT = (23, 5)
# Distributed tables: from here on "sync" is called "foreground", too, and an INSERT SELECT may be
# split up among the shards, each of which would then make rows of its own of what is one.
_SAYS_FOREGROUND = (23, 11)
_SPLITS_INSERT_SELECT = (20, 1)

# Faults of the data or the statement that the driver itself finds.
_REFUSED_BY_DRIVER = (LogicalError, TooLargeStringSize, TypeMismatchError, UnknownTypeError)


class ClickHouseStore:
    """A LogStore on a server.

    A connection is used by one thread at a time; idle ones are kept, at most one a thread of the
    pool, and one that broke is thrown away.
    """

    def __init__(
        self,
        server: LogServers,
        pool: ThreadPool,
        *,
        clock: IReactorTime,
        connect_seconds: float = CONNECT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        async_insert: bool = False,
        in_cluster: bool = False,
    ) -> None:
        """:param server: one host.

        :param pool: the caller's; it runs from before start() until after stop().
        :param connect_seconds: how long a server may take to answer a handshake or a ping.
        :param silence_seconds: how long a server may say nothing before it counts as gone.
        :param async_insert: the server collects inserts and writes them together, where it knows
            how; it acknowledges each when it is written.
        :param in_cluster: its tables are distributed over several servers.
        """
        ((self._host, self._port),) = server.hosts
        self._server = server
        self._connect_seconds = connect_seconds
        self._in_cluster = in_cluster
        self._silent_until = -math.inf
        self._pool = pool
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._async_insert = async_insert
        self._stopped = False
        self._calls = 0
        self._idle: list[Client] = []
        self._busy: set[Client] = set()
        self._version: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"ClickHouse at {self._host}:{self._port}"

    @property
    def version(self) -> tuple[int, int]:
        """The server's version. :raises StoreUnavailable: never reached so far."""
        if self._version is None:
            raise ServerAway(f"{self.name} was not reached yet")
        return self._version

    async def start(self) -> None:
        """See LogStore; may be called again: it then makes a database that went away."""
        version = await self._run(self._prepare)
        major, minor, *_ = version.split(".")
        self._version = int(major), int(minor)

    async def stop(self) -> None:
        """See LogStore; statements that take longer than five seconds lose their connection."""
        self._stopped = True
        deadline = self._clock.seconds() + STOP_SECONDS
        while (self._calls or self._busy) and self._clock.seconds() < deadline + STOP_SECONDS:
            if self._clock.seconds() >= deadline:
                # Ends the read that the thread waits in; else its pool could not stop. Again and
                # again, because the driver connects a second time by itself.
                for client in list(self._busy):
                    _shut(client)
            await deferLater(self._clock, _STOP_POLL_SECONDS)
        while self._idle:
            self._idle.pop().disconnect()

    @property
    def cluster(self) -> Cluster | None:
        """See LogStore: this is one server, whatever it belongs to."""
        return None

    @property
    def servers(self) -> Sequence[ClickHouseStore]:
        """See LogStore."""
        return (self,)

    async def shards(self) -> Sequence[ClickHouseStore]:
        """See LogStore."""
        return (self,)

    async def settled(self) -> None:
        """See LogStore: one server shows what it acknowledged."""

    async def execute(self, statement: str) -> None:
        """See LogStore."""
        await self._run(lambda client: client.execute(statement, settings=self._settings()))

    async def query(
        self, sql: str, parameters: Mapping[str, Value | Sequence[Value]] | None = None
    ) -> list[tuple[Value, ...]]:
        """See LogStore."""
        self._require_start()
        text = bind(sql, parameters)
        rows = await self._run(lambda client: client.execute(text, settings=self._settings()))
        return cast(list[tuple[Value, ...]], rows)

    async def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[Value]], token: str
    ) -> None:
        """See LogStore.

        The token is the query's id, too: the server refuses a second insert of the same block
        while the first is still under way.
        """
        await self._insert(table, columns, data, token)

    async def insert_block(self, table: str, block: Block, token: str) -> None:
        """See LogStore."""
        await self._insert(table, tuple(block.columns), block, token)

    async def _insert(
        self,
        table: str,
        columns: Sequence[str],
        data: Sequence[Sequence[Value]] | Block,
        token: str,
    ) -> None:
        self._require_start()
        settings = self._settings()
        if self.version >= _HAS_DEDUPLICATION_TOKEN:
            settings["insert_deduplication_token"] = token
        if self._async_insert and self.version >= _HAS_ASYNC_INSERT:
            settings |= {"async_insert": 1, "wait_for_async_insert": 1}
        await self._run(
            lambda client: client.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES",
                data,
                columnar=True,
                query_id=f"watchducks-insert-{token}",
                settings=settings,
            )
        )

    def _require_start(self) -> None:
        if self._version is None:
            raise ServerAway(f"{self.name} was not reached yet")

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"max_execution_time": STATEMENT_SECONDS}
        if self._version is not None and self._version < _LOW_CARDINALITY_IS_STABLE:
            settings["allow_experimental_low_cardinality_type"] = 1
        if self._in_cluster:
            settings |= self._cluster_settings()
        return settings

    def _cluster_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            # An insert is acknowledged when its shard has it.
            "insert_distributed_sync": 1,
            "max_replica_delay_for_distributed_queries": STALE_SECONDS,
        }
        version = self._version or (0, 0)
        if version >= _SAYS_FOREGROUND:
            settings["distributed_foreground_insert"] = 1
        if version >= _SPLITS_INSERT_SELECT:
            settings["parallel_distributed_insert_select"] = 0
        return settings

    async def _run(self, work: Callable[[Client], T]) -> T:
        if self._stopped:
            raise StoreUnavailable(f"{self.name} is not connected")
        if self._in_cluster and self._clock.seconds() < self._silent_until:
            raise ServerAway(f"{self.name} did not answer")
        self._calls += 1
        try:
            return await self._pool.run(self._in_thread, work)
        except Overloaded as error:
            raise StoreUnavailable(f"{self.name}: {error}") from None
        finally:
            self._calls -= 1

    # --- in a thread of the pool ----------------------------------------------------------------

    def _client(self, database: str) -> Client:
        return BlockClient(
            self._host,
            port=self._port,
            user=self._server.user,
            password=self._server.password,
            database=database,
            client_name="watchducks",
            connect_timeout=self._connect_seconds,
            send_receive_timeout=self._silence_seconds,
            sync_request_timeout=min(self._connect_seconds, self._silence_seconds),
        )

    def _in_thread(self, work: Callable[[Client], T]) -> T:
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._client(self._server.database)
        self._busy.add(client)
        keep = False
        try:
            result = work(client)
            keep = True
            return result
        except ServerException as error:
            # The server answered; the driver connects anew by itself where that is needed.
            keep = True
            raise store_error(self.name, int(error.code), str(error)) from None
        except _REFUSED_BY_DRIVER as error:
            raise StoreRefused(f"{self.name}: {one_line(str(error))}") from None
        except (Error, OSError, EOFError) as error:
            if isinstance(error, SocketTimeoutError | TimeoutError):
                self._silent_until = self._clock.seconds() + SILENT_SECONDS
            text = one_line(str(error)) or type(error).__name__
            raise ServerAway(f"{self.name}: {text}") from None
        except (struct.error, OverflowError, TypeError, ValueError) as error:
            # Data that does not fit its column, noticed by the driver half-way through a block.
            raise StoreRefused(f"{self.name}: {one_line(str(error))}") from None
        except Exception:
            if not self._stopped:
                raise
            # The driver stumbled over the socket that stop() has shut.
            raise StoreUnavailable(f"{self.name} was stopped") from None
        finally:
            self._busy.discard(client)
            if keep and not self._stopped:
                self._idle.append(client)
            else:
                client.disconnect()

    def _prepare(self, client: Client) -> str:
        """Create the database if it is missing, and return the server's version."""
        try:
            rows = client.execute("SELECT version()")
        except ServerException as error:
            if error.code != ErrorCodes.UNKNOWN_DATABASE:
                raise
            client.disconnect()
            anywhere = self._client("")
            try:
                name = self._server.database.replace("\\", "\\\\").replace("`", "\\`")
                anywhere.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")
            finally:
                anywhere.disconnect()
            rows = client.execute("SELECT version()")
        return str(rows[0][0])


def _shut(client: Client) -> None:
    """End what the client's thread waits for, from another thread."""
    connection = client.connection.socket
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
