"""The tables of the log store and their migrations: forward only, from many hosts at once, again.

One schema for every version from ClickHouse 18.16 to the newest chDB; what a version has beyond
that (codecs, TTL, the deduplication window) is added where it is known.

``requests`` is partitioned by UTC day: a segment's existence check and most queries read one or a
few days, old days go as a whole, and 400 of them are no burden. Rows are ordered by site and time,
because every question is about one site over some time.

Raw rows live :data:`RAW_DAYS` days, where the server has TTL: they are the only history for now.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, StartupError
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

Version = tuple[int, int]

# A year and a month: a month can be compared with the same month of the year before.
RAW_DAYS = 400

# How many tokens the table remembers: at one segment in five seconds from each of ten hosts these
# are 500 s, much longer than an insert in doubt waits for its second try.
DEDUPLICATION_WINDOW = 1000

# While the store is unreachable it is tried this often; the proxy serves meanwhile.
RETRY_SECONDS = 5.0

# First versions that have a thing. Each was in use some releases earlier, as an experiment.
HAS_CODECS: Version = (20, 1)
HAS_TTL: Version = (20, 1)
HAS_DEDUPLICATION: Version = (22, 3)  # insert_deduplication_token on plain MergeTree


class Migration(NamedTuple):
    """One step. Its statements may run twice, and at the same time on several hosts."""

    number: int
    statements: Callable[[Version], list[str]]


def _requests(version: Version) -> list[str]:
    def codec(what: str) -> str:
        return f" CODEC({what})" if version >= HAS_CODECS else ""

    extras = ""
    if version >= HAS_TTL:
        extras += f" TTL time + INTERVAL {RAW_DAYS} DAY"
    if version >= HAS_DEDUPLICATION:
        extras += f" SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
    return [
        "CREATE TABLE IF NOT EXISTS requests ("
        " segment String,"
        f" time DateTime('UTC'){codec('DoubleDelta, LZ4')},"
        f" time_us UInt64{codec('Delta, ZSTD')},"
        " site UInt32,"
        " kind LowCardinality(String),"
        " scheme LowCardinality(String),"
        " protocol LowCardinality(String),"
        " method LowCardinality(String),"
        " host LowCardinality(String),"
        f" path String{codec('ZSTD')},"
        " status UInt16,"
        " reason LowCardinality(String),"
        " visitor UInt64,"
        f" referrer_host String{codec('ZSTD')},"
        " request_bytes UInt64,"
        " response_bytes UInt64,"
        f" duration_us UInt64{codec('T64, LZ4')},"
        f" origin_us UInt64{codec('T64, LZ4')}"
        ") ENGINE = MergeTree PARTITION BY toYYYYMMDD(time) ORDER BY (site, time)" + extras
    ]


def _dns_questions(version: Version) -> list[str]:
    """Counts of DNS questions: as large as a zone is popular, and a month of them is one part."""
    extras = f" TTL time + INTERVAL {RAW_DAYS} DAY" if version >= HAS_TTL else ""
    if version >= HAS_DEDUPLICATION:
        extras += f" SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
    return [
        "CREATE TABLE IF NOT EXISTS dns_questions ("
        " time DateTime('UTC'),"
        " zone String,"
        " type LowCardinality(String),"
        " rcode LowCardinality(String),"
        " network String,"
        " questions UInt64"
        ") ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (zone, time)" + extras
    ]


def _verdicts(version: Version) -> list[str]:
    """Changes of a verdict on a proxy, each as one name server saw it: a few a year, or a flood in
    a bad hour, and kept for as long as the charts that they explain."""
    extras = ""
    if version >= HAS_DEDUPLICATION:
        extras = f" SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
    return [
        "CREATE TABLE IF NOT EXISTS verdicts ("
        " time DateTime('UTC'),"
        " observer LowCardinality(String),"
        " address LowCardinality(String),"
        " healthy UInt8,"
        " healthy_proxies UInt16,"
        " reason String"
        ") ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (observer, time)" + extras
    ]


# Forward only: a number that was released never changes and never goes.
MIGRATIONS = (Migration(1, _requests), Migration(2, _dns_questions), Migration(3, _verdicts))

_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_versions (version UInt32, applied DateTime('UTC'))"
    " ENGINE = MergeTree PARTITION BY tuple() ORDER BY version"
)


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
        required: bool = True,
    ) -> None:
        """:param state_directory: ``data_dir/journal``: remembers that the store was once reached.

        :param now: POSIX seconds.
        :param required: False: an outage at the first start is none of our business.
        """
        self._store = store
        self._marker = state_directory / "log-store-was-ready"
        self._now = now
        self._required = required
        self._repeating = Repeating(
            self._retry, RETRY_SECONDS, clock=clock, log=self._log, name="preparing the log store"
        )
        self._retrying = False
        self.ready = False

    async def start(self) -> None:
        """Connect and migrate.

        A store that cannot be reached is an error the first time, when it is most likely a wrong
        URL. Later it is an outage, which the proxy survives: we go on and try again.

        :raises StartupError: not reachable at the first start, or the tables cannot be made.
        """
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
        else:
            self._remember()

    async def stop(self) -> None:
        """Stop trying, and stop the store."""
        if self._retrying:
            await self._repeating.stop()
        await self._store.stop()

    async def apply(self) -> None:
        """Make the database and the tables right; nothing happens when they are.

        :raises StoreUnavailable: not now.
        :raises StoreRefused: the store does not do it.
        """
        await self._store.start()
        await self._store.execute(_VERSIONS)
        rows = await self._store.query("SELECT DISTINCT version FROM schema_versions")
        applied = {int(row[0]) for row in rows}
        for migration in MIGRATIONS:
            # The statements run even where the number is there: a table that somebody dropped
            # comes back, and "IF NOT EXISTS" costs a millisecond.
            for statement in migration.statements(self._store.version):
                await self._store.execute(statement)
            if migration.number not in applied:
                await self._store.insert(
                    "schema_versions",
                    ("version", "applied"),
                    ([migration.number], [int(self._now())]),
                    f"schema-{migration.number}-{secrets.token_hex(8)}",
                )
        self.ready = True

    async def _retry(self) -> None:
        if self.ready:
            return
        try:
            await self.apply()
        except (StoreUnavailable, StoreRefused) as error:
            self._log.debug("the log store is not there yet: {error}", error=str(error))
        else:
            self._log.info("the log store is there")
            self._remember()

    def _remember(self) -> None:
        try:
            self._marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._marker.touch()
        except OSError as error:
            # Costs only that an outage at the next start is taken for a wrong URL.
            self._log.warn("cannot write {path}: {error}", path=str(self._marker), error=str(error))
