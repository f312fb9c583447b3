"""The seams of the stores: what every adapter does, its errors, and what absence means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from watchducks.stores.blocks import Block

# What a log store takes and gives: the types that clickhouse-driver and chDB have in common.
# Times are carried as POSIX seconds (UInt32 / DateTime), so no time zone is ever guessed.
Value = int | float | str


class StoreUnavailable(Exception):
    """The store cannot be reached or is not able to serve now; trying again later makes sense.

    The text is one line, fit to be shown to the sysadmin; it names the store and never a password.
    """


class StoreRefused(Exception):
    """The store is there and refused the statement; trying the same again will not help."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the tables of a log store are when it is several servers.

    :ivar name: of the cluster, in the servers' own ``remote_servers``.
    :ivar database: the same on each.
    """

    name: str
    database: str


class Cache(Protocol):
    """A shared, lossy key-value store with publish/subscribe: memory, or Redis.

    Every method may raise :class:`StoreUnavailable`, within two seconds. Losing an entry is never
    an error for the caller; an entry is never older than its life.
    """

    async def start(self) -> None:
        """Connect. A Redis that is not there yet is not an error: it is tried again for ever."""

    async def stop(self) -> None:
        """Disconnect; afterwards no listener is called."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none (any more)."""

    async def set(self, key: str, value: bytes, life_seconds: float) -> None:
        """Keep ``value`` for at most ``life_seconds`` (more than 0)."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget the keys; missing ones are ignored."""

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell every present subscriber in every process. Nobody there: nothing happens."""

    def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Call ``listener`` for each message from now on; returns the function that ends it.

        Messages may be lost while the connection is; the subscription itself survives reconnects.
        """


class LogStore(Protocol):
    """ClickHouse, as a server, as a cluster of servers, or embedded (chDB).

    Every method may raise :class:`StoreUnavailable` or :class:`StoreRefused`. Statements are
    written in the subset of SQL that ClickHouse 18.16 and 26 share, with ``%(name)s`` places for
    parameters, which the adapter escapes.
    """

    async def start(self) -> None:
        """Connect, create the database if it is missing, and learn :attr:`version`."""

    async def stop(self) -> None:
        """Wait for running statements (bounded) and disconnect."""

    @property
    def version(self) -> tuple[int, int]:
        """The server's version, such as ``(18, 16)``; known after :meth:`start`."""

    @property
    def cluster(self) -> Cluster | None:
        """What it is a cluster of; None: one server. Its tables are made accordingly (plan.py)."""

    @property
    def servers(self) -> Sequence[LogStore]:
        """All that it is made of, each to be told by itself what tables it has; alone: itself.
        Whoever starts this store does not start them."""

    async def shards(self) -> Sequence[LogStore]:
        """Return one server of each part of the rows: what is told to it, its replicas follow.

        :raises StoreUnavailable: of one part there is none.
        """

    async def settled(self) -> None:
        """Return once every question sees what was inserted until now; alone it does anyway.

        :raises StoreUnavailable: not now: the cluster is away, or a replica lacks rows.
        """

    async def execute(self, statement: str) -> None:
        """Run a statement without a result (DDL, INSERT SELECT)."""

    async def query(
        self, sql: str, parameters: Mapping[str, Value | Sequence[Value]] | None = None
    ) -> list[tuple[Value, ...]]:
        """Return the rows of a SELECT. Date columns are not returned as such: select
        ``toUnixTimestamp(...)``."""

    async def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[Value]], token: str
    ) -> None:
        """Insert columnar ``data`` (one sequence a column, all equally long) as one block.

        Where it is a cluster, the same block comes again at another server when one is lost, and
        counts once unless its table says otherwise.

        :param token: names the block; where the server knows ``insert_deduplication_token``, the
            same token again inserts nothing.
        """

    async def insert_block(self, table: str, block: Block, token: str) -> None:
        """Like :meth:`insert`, for many rows: a block costs a tenth of lists."""
