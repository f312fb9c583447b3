"""Several ClickHouse servers with the same replicated and distributed tables, as one log store.

Each server can answer for all of them, so one is asked until it fails, and then the next one. What
was inserted may be asked of another server before it has come there: :meth:`settled` waits for it.

An insert that lost its server is made again at the next one. Whether the first one took place is
nobody's business: the table's replicas agree in ZooKeeper which blocks they have, and take none
twice (by token where the server knows tokens, by its content otherwise, and it is the same one).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from watchducks.background import StartupError, together
from watchducks.stores.blocks import Block
from watchducks.stores.clickhouse import ClickHouseStore
from watchducks.stores.clickhouse_errors import ServerAway
from watchducks.stores.interfaces import Cluster, StoreUnavailable, Value

T = TypeVar("T")

# What replicas fetch from each other is there within a tenth of a second. One that was away for
# long takes minutes, which nobody waits for in one call.
SETTLE_SECONDS: Final = 5.0
_SETTLE_POLL_SECONDS: Final = 0.1

# What a server knows of a cluster: how many shards it has, and whether it is one of its servers.
CLUSTER_KNOWN: Final = (
    "SELECT uniqExact(shard_num), max(is_local) FROM system.clusters WHERE cluster = %(cluster)s"
)
MACROS: Final = "SELECT macro, substitution FROM system.macros"

# Of each table that takes rows: its place in ZooKeeper, whether it lacks rows which another replica
# has, and whether that is not clear: a log without entries looks like one with a first entry.
_REPLICAS: Final = (
    "SELECT zookeeper_path, inserts_in_queue > 0 OR log_pointer <= log_max_index AND log_max_index"
    " > 0, log_pointer = 0 AND log_max_index = 0 FROM system.replicas"
    " WHERE database = currentDatabase() AND is_readonly = 0"
)
_LOG_ENTRIES: Final = "SELECT count() FROM system.zookeeper WHERE path = %(log)s"


@dataclass(frozen=True, slots=True)
class Standing:
    """What one server is in the cluster. :ivar shards: how many the cluster has."""

    shard: str
    shards: int


def standing(
    server: str, cluster: str, known: Sequence[Value], macros: Collection[tuple[Value, ...]]
) -> Standing:
    """Return what ``server`` is, by its answers to CLUSTER_KNOWN and MACROS. Pure.

    :raises StartupError: it is not set up as a part of the cluster.
    """
    shards, is_local = int(known[0]), bool(known[1])
    if not shards:
        raise StartupError(
            f'logs.cluster = "{cluster}": {server} has no such cluster in its remote_servers'
        )
    if not is_local:
        raise StartupError(
            f'logs.cluster = "{cluster}": {server} does not find itself in this cluster; its host'
            " and port in remote_servers have to be its own"
        )
    found = {str(name): str(value) for name, value in macros}
    for name in ("shard", "replica"):
        if not found.get(name):
            raise StartupError(f"logs.cluster: {server} has no {name} in its macros")
    return Standing(found["shard"], shards)


class ClickHouseCluster:
    """A LogStore on several servers. It stops what it starts: the servers."""

    def __init__(
        self, servers: Sequence[ClickHouseStore], cluster: Cluster, *, clock: IReactorTime
    ) -> None:
        """:param servers: not yet started; the first one is preferred, until it fails."""
        self._servers = tuple(servers)
        self._cluster = cluster
        self._clock = clock
        self._standings: dict[ClickHouseStore, Standing] = {}
        self._asked = 0

    @property
    def version(self) -> tuple[int, int]:
        """The oldest of the servers' versions: what one of them lacks, no table has."""
        return min(server.version for server in self._standings or self._servers[:1])

    @property
    def cluster(self) -> Cluster:
        """See LogStore."""
        return self._cluster

    @property
    def servers(self) -> Sequence[ClickHouseStore]:
        """See LogStore."""
        return self._servers

    async def start(self) -> None:
        """See LogStore; one living server is enough. May be called again, for those that were away.

        :raises StartupError: a server is not set up as a part of the cluster.
        """
        await self._each_living(self._join, self._servers)

    async def _join(self, server: ClickHouseStore) -> None:
        await server.start()
        known = await server.query(CLUSTER_KNOWN, {"cluster": self._cluster.name})
        macros = await server.query(MACROS)
        self._standings[server] = standing(server.name, self._cluster.name, known[0], macros)

    async def stop(self) -> None:
        """See LogStore."""
        await gatherResults([Deferred.fromCoroutine(server.stop()) for server in self._servers])

    async def shards(self) -> Sequence[ClickHouseStore]:
        """See LogStore."""
        living = await self._each_living(lambda server: server.query("SELECT 1"), self._standings)
        chosen = {self._standings[server].shard: server for server in reversed(list(living))}
        self._require_shards(chosen)
        return tuple(chosen.values())

    async def settled(self) -> None:
        """See LogStore; waits for five seconds at most."""
        deadline = self._clock.seconds() + SETTLE_SECONDS
        while behind := await self._behind():
            if self._clock.seconds() >= deadline:
                raise StoreUnavailable(f"{behind} has not yet what other servers have")
            await deferLater(self._clock, _SETTLE_POLL_SECONDS)

    async def _behind(self) -> str:
        """Return a server that questions may be put to and that lacks rows; "": none.

        A replica that takes no rows is one that was just started: Distributed tables leave it out
        as long as there is another one.
        """
        living = await self._each_living(_lacks_rows, self._standings)
        serving = {server: lacks for server, lacks in living.items() if lacks is not None}
        self._require_shards({self._standings[server].shard for server in serving})
        return next((server.name for server, lacks in serving.items() if lacks), "")

    def _require_shards(self, found: Collection[str]) -> None:
        wanted = max((one.shards for one in self._standings.values()), default=1)
        if len(found) < wanted:
            raise StoreUnavailable(
                f"the cluster {self._cluster.name}: {wanted - len(found)} of {wanted} shards are"
                " away"
            )

    async def execute(self, statement: str) -> None:
        """See LogStore. It is not made again elsewhere: who knows how far it came?"""
        await self._ask(lambda server: server.execute(statement), attempts=1)

    async def query(
        self, sql: str, parameters: Mapping[str, Value | Sequence[Value]] | None = None
    ) -> list[tuple[Value, ...]]:
        """See LogStore."""
        return await self._ask(lambda server: server.query(sql, parameters))

    async def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[Value]], token: str
    ) -> None:
        """See LogStore."""
        await self._ask(lambda server: server.insert(table, columns, data, token))

    async def insert_block(self, table: str, block: Block, token: str) -> None:
        """See LogStore."""
        await self._ask(lambda server: server.insert_block(table, block, token))

    async def _ask(
        self, ask: Callable[[ClickHouseStore], Awaitable[T]], attempts: int | None = None
    ) -> T:
        """Return what the first living server says, beginning with the one asked last."""
        count = len(self._servers)
        first = self._asked
        failure = ServerAway(f"the cluster {self._cluster.name} has no servers")
        for step in range(attempts or count):
            number = (first + step) % count
            try:
                return await ask(self._servers[number])
            except ServerAway as error:
                failure = error
                # Others who ask at the same time may have gone on already.
                if self._asked == number:
                    self._asked = (number + 1) % count
        raise failure

    async def _each_living(
        self,
        ask: Callable[[ClickHouseStore], Awaitable[T]],
        servers: Collection[ClickHouseStore],
    ) -> dict[ClickHouseStore, T]:
        """Return what each of ``servers`` says that is there. :raises ServerAway: none is."""
        failures = [ServerAway(f"the cluster {self._cluster.name} was not reached yet")]

        async def one(server: ClickHouseStore) -> tuple[ClickHouseStore, T] | None:
            try:
                return server, await ask(server)
            except ServerAway as error:
                failures.append(error)
                return None

        found = dict(item for item in await together(map(one, servers)) if item)
        if not found:
            raise failures[-1]
        return found


async def _lacks_rows(server: ClickHouseStore) -> bool | None:
    """Return whether any table of ours lacks rows there; None: none of them takes any."""
    tables = await server.query(_REPLICAS)
    if any(int(lacks) for _, lacks, _ in tables):
        return True
    for path, _, is_unclear in tables:
        if int(is_unclear):
            rows = await server.query(_LOG_ENTRIES, {"log": f"{path}/log"})
            if int(rows[0][0]):
                return True
    return False if tables else None
