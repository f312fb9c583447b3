"""The tables' migrations: forward only, from many hosts at once, again."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.analytics.ledger import DOUBT, UNITS, Entry, new_number
from watchducks.analytics.plan import HAS_TTL, Plan, rows_of, ttl_of
from watchducks.analytics.rolling import horizon_of, note_everywhere
from watchducks.analytics.rollups import AGES_BY, DAY, HOUR
from watchducks.analytics.tables import MIGRATIONS, Migration, applied
from watchducks.background import Repeating, StartupError
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

# While the store is unreachable it is tried this often; the proxy serves meanwhile.
RETRY_SECONDS: Final = 5.0


class Schema:
    """Makes the tables right, and owns the store's start and stop. A Part.

    :ivar ready: whether the tables were made or found right since the start.
    """

    _log = Logger()

    def __init__(
        self,
        store: LogStore,
        state_directory: Path,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        raw_days: int,
        required: bool = True,
        waits: bool = False,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        """:param state_directory: ``data_dir/journal``: remembers that the store was once reached.

        :param now: POSIX seconds.
        :param raw_days: how long rows of single requests are kept.
        :param required: False: an outage at the first start is none of our business.
        :param waits: another process may have the store to itself for a while: open it beside
            everything else, and whenever that is.
        :param migrations: all that the program knows, in order.
        """
        self._migrations = migrations
        self._waits = waits
        self._store = store
        self._marker = state_directory / "log-store-was-ready"
        self._now = now
        self._raw_days = raw_days
        self._required = required
        self._repeating = Repeating(
            self._retry, RETRY_SECONDS, clock=clock, log=self._log, name="preparing the log store"
        )
        self._retrying = False
        self._told = ""
        # Servers that were away when the tables were made.
        self._without: list[LogStore] = []
        self.ready = False

    async def start(self) -> None:
        """Connect and migrate.

        A store that cannot be reached is an error the first time, when it is most likely a wrong
        URL. Later it is an outage, which the proxy survives: we go on and try again.

        :raises StartupError: not reachable at the first start, or the tables cannot be made, or
            are too new.
        """
        if self._waits:
            self._retrying = True
            self._repeating.start()
            return
        try:
            await self.apply()
        except StoreUnavailable as error:
            if self._required and not self._marker.exists():
                await self._store.stop()
                raise StartupError(f"logs.url: cannot reach the log store: {error}") from None
            self._log.warn("the log store is not there, rows wait: {error}", error=str(error))
            self._retrying = True
            self._repeating.start()
        except StoreRefused as error:
            await self._store.stop()
            raise StartupError(f"logs.url: the log store refuses the tables: {error}") from None
        except StartupError:
            await self._store.stop()
            raise
        else:
            self._remember()
            if self._without:
                self._retrying = True
                self._repeating.start()

    async def stop(self) -> None:
        """Stop trying, and stop the store."""
        if self._retrying:
            await self._repeating.stop()
        await self._store.stop()

    async def apply(self) -> None:
        """Make the database and the tables right; nothing happens when they are.

        :raises StoreUnavailable: not now.
        :raises StoreRefused: the store does not do it.
        :raises StartupError: a newer version of WatchDucks made them, and this one cannot work on
            them; or they are those of one server, and not of a cluster, or the other way round.
        """
        await self._store.start()
        plan = Plan(self._store.version, self._raw_days, self._store.cluster)
        living = await self._on_each(self._store.servers, applied(plan))
        for server in living:
            await self._require_tables_of(plan, server)
        rows = await self._store.query(
            "SELECT DISTINCT version, oldest_program FROM schema_migrations"
        )
        there = {int(version): int(oldest_program) for version, oldest_program in rows}
        known = self._migrations[-1].number
        if any(oldest_program > known for oldest_program in there.values()):
            raise StartupError(
                f"logs.url: the log store has schema {max(there)}, which is newer than this "
                f"WatchDucks can work on ({known}): install the version that made it, or a later "
                "one"
            )
        for migration in self._migrations:
            # The statements run even where the number is there: a table that somebody dropped
            # comes back, and "IF NOT EXISTS" costs a millisecond.
            living = await self._on_each(living, migration.statements(plan))
            if migration.number not in there:
                await self._store.insert(
                    "schema_migrations",
                    ("version", "oldest_program", "applied"),
                    ([migration.number], [migration.oldest_program], [int(self._now())]),
                    f"schema-{migration.number}-{secrets.token_hex(8)}",
                )
        if plan.version >= HAS_TTL:
            for shard in await self._store.shards():
                await self._keep_for(plan, shard)
        self._without = [server for server in self._store.servers if server not in living]
        self.ready = True

    async def _require_tables_of(self, plan: Plan, server: LogStore) -> None:
        """Refuse tables that were made with another ``logs.cluster``: what stands under the same
        name would be rows of one server, or rows that nobody waits for."""
        rows = await server.query(
            "SELECT engine FROM system.tables"
            " WHERE database = currentDatabase() AND name = 'schema_migrations'"
        )
        for (engine,) in rows:
            if (str(engine) == "Distributed") is (plan.cluster is None):
                whose = "one server" if plan.cluster is not None else "a cluster"
                raise StartupError(
                    f"logs.cluster: the database of logs.url has the tables of {whose};"
                    " name another one, or logs.cluster as it was"
                )

    async def _on_each(
        self, servers: Sequence[LogStore], statements: Sequence[str]
    ) -> list[LogStore]:
        """Run the statements on each server; return those that are there.

        :raises StoreUnavailable: none is. :raises StoreRefused: one does not do it.
        """
        living: list[LogStore] = []
        failure = StoreUnavailable("the log store has no servers")
        for server in servers:
            try:
                for statement in statements:
                    await server.execute(statement)
            except StoreUnavailable as error:
                failure = error
            else:
                living.append(server)
        if not living:
            raise failure
        return living

    async def _keep_for(self, plan: Plan, store: LogStore) -> None:
        """Let the rows live as long as the settings say now; the table was made for others."""
        for table, column in AGES_BY.items():
            ttl = ttl_of(plan.raw_days, column)
            shown = await store.query(
                "SELECT create_table_query FROM system.tables"
                " WHERE database = currentDatabase() AND name = %(table)s",
                {"table": rows_of(table, plan.cluster)},
            )
            if not any(ttl in str(row[0]) for row in shown):
                await store.execute(f"ALTER TABLE {rows_of(table, plan.cluster)} MODIFY TTL {ttl}")

    async def doubt(self, tokens: Collection[str], hours: Collection[int]) -> None:
        """Note that roll-ups may lack rows of these hours: those whose ``segment`` is a token.

        To be called before they are inserted, if the hours are over, and before they are inserted
        again; once more is no harm.

        :param hours: the beginnings of the UTC hours that the rows lie in, POSIX seconds.
        :raises StoreUnavailable, StoreRefused: it could not be noted.
        """
        now = self._now()
        horizon = horizon_of(now, self._raw_days)
        # Another number for each token and day, as these are done with one by one.
        number = new_number(now)
        days = sorted({hour // DAY for hour in hours})
        pairs = [(token, day) for token in tokens for day in days]
        numbers = {pair: number + place * UNITS for place, pair in enumerate(pairs)}
        units = sorted({(hour // DAY, hour % DAY // HOUR) for hour in hours})
        entries = [
            Entry(DOUBT, day, numbers[token, day], unit, int(day * DAY < horizon), token)
            for token in tokens
            for day, unit in units
        ]
        await note_everywhere(self._store, entries)

    async def _retry(self) -> None:
        try:
            if self.ready and not await self._has_come_back():
                return
            await self.apply()
        except (StoreUnavailable, StoreRefused) as error:
            self._log.debug("the log store is not there yet: {error}", error=str(error))
        except StartupError as error:
            # What needs the log store waits; all else goes on.
            if self._told != str(error):
                self._told = str(error)
                self._log.error("{error}", error=self._told)
        else:
            self._log.info("the log store is there")
            self._remember()

    async def _has_come_back(self) -> bool:
        """Whether a server is there that was not when the tables were made."""
        for server in self._without:
            with contextlib.suppress(StoreUnavailable):
                await server.start()
                return True
        return False

    def _remember(self) -> None:
        try:
            self._marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._marker.touch()
        except OSError as error:
            # Costs only that an outage at the next start is taken for a wrong URL.
            self._log.warn("cannot write {path}: {error}", path=str(self._marker), error=str(error))
