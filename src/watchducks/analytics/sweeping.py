"""What has done its work goes: rows of makings that do not count, closed entries, old rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from itertools import islice
from typing import Final

from watchducks.analytics.ledger import CLOSED, HAD, ROLLED, TABLE, Day, Entry, Ledger, new_number
from watchducks.analytics.plan import HAS_TTL, rows_of
from watchducks.analytics.rolling import note, within
from watchducks.analytics.rollups import AGES_BY, DAY, FACET_TABLES, HOUR, TRAFFIC_TABLES
from watchducks.stores.interfaces import LogStore, StoreUnavailable

# Nothing of a day was noted for so long: no question believes any more what was true before.
REST_SECONDS: Final = 600
# Numbers in one statement: its text may have 256 KiB.
MOST_NUMBERS: Final = 5_000
# Days closed at once.
MOST_DAYS: Final = 50
# Partitions are looked through this often for days that are old enough.
DROP_SECONDS: Final = float(HOUR)
# Entries of blocks that were rolled up are kept this much longer than the blocks' rows.
_HAD_DAYS: Final = 2

# What is not deleted yet, and tables of which a replica is away.
_UNFINISHED: Final = (
    "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND is_done = 0",
    "SELECT count() FROM system.replicas"
    " WHERE database = currentDatabase() AND active_replicas < total_replicas",
)

_EPOCH: Final = date(1970, 1, 1).toordinal()


class Sweeper:
    """Every method may raise StoreUnavailable or StoreRefused."""

    def __init__(self, store: LogStore, raw_days: int, *, now: Callable[[], float]) -> None:
        self._store = store
        self._raw_days = raw_days
        self._now = now
        self._drop_at = -math.inf

    async def sweep(self, ledger: Ledger) -> bool:
        """Do the next thing, if there is any; return whether the ledger is another one now."""
        resting = [
            day
            for _, day in sorted(ledger.days.items())
            if day.is_whole
            and not day.open
            and not day.doubts
            and day.youngest >= REST_SECONDS
            and (day.number + 1) * DAY <= ledger.rolled_until
        ][:MOST_DAYS]
        if not (resting or ledger.closed) or await self._is_mutating():
            return False
        if resting:
            dead = list(islice((made for day in resting for made in day.dead), MOST_NUMBERS))
            if not await self._delete(dead):
                await self._close(ledger, resting)
                return True
        elif any(ledger.closed.values()):
            numbers = list(
                islice((n for n, is_left in ledger.closed.items() if is_left), MOST_NUMBERS)
            )
            await self._alter(
                TABLE, f"DELETE WHERE kind != '{CLOSED}' AND made IN {_list(numbers)}"
            )
        else:
            numbers = list(islice(ledger.closed, MOST_NUMBERS))
            await self._alter(TABLE, f"DELETE WHERE kind = '{CLOSED}' AND made IN {_list(numbers)}")
        return False

    async def _delete(self, dead: Sequence[int]) -> bool:
        """Delete the rows of these makings; return whether there were any."""
        found = False
        if dead:
            for table in (*TRAFFIC_TABLES, *FACET_TABLES):
                rows = await self._store.query(
                    f"SELECT count() FROM {table} WHERE made IN {_list(dead)}"
                )
                if int(rows[0][0]):
                    found = True
                    await self._alter(table, f"DELETE WHERE made IN {_list(dead)}")
        return found

    async def _close(self, ledger: Ledger, days: Sequence[Day]) -> None:
        """Note that what the ledger says of these days is true anyway by now."""
        number = new_number(self._now())
        entries = [Entry(ROLLED, 0, number, other=ledger.rolled_until)]
        entries += [Entry(CLOSED, 0, mark) for mark in ledger.marks]
        for day in days:
            entries += [Entry(CLOSED, day.number, closed) for closed in day.numbers]
            had = {(unit, token) for batch in day.batches for unit, _, token in batch.settles}
            entries += [Entry(HAD, day.number, 0, unit, 0, token) for unit, token in had]
        await note(self._store, entries)

    async def _is_mutating(self) -> bool:
        """Whether rows that were deleted are still somewhere, or may be: a replica that is away
        would have them when it is back, and nobody would know any more that they do not count."""
        for server in self._store.servers:
            try:
                for unfinished in _UNFINISHED:
                    rows = await server.query(unfinished)
                    if int(rows[0][0]):
                        return True
            except StoreUnavailable:
                return True
        return False

    async def _alter(self, table: str, how: str) -> None:
        for shard in await self._store.shards():
            await shard.execute(f"ALTER TABLE {rows_of(table, self._store.cluster)} {how}")

    async def drop_old_days(self) -> None:
        """Let go what is old enough and does not go by itself; once an hour."""
        now = self._now()
        if now < self._drop_at:
            return
        self._drop_at = now + DROP_SECONDS
        old = f"toUInt32(at) < {int(now) - (self._raw_days + _HAD_DAYS) * DAY}"
        rows = await self._store.query(
            f"SELECT count() FROM {TABLE} WHERE kind = '{HAD}' AND {old}"
        )
        if int(rows[0][0]):
            await self._alter(TABLE, f"DELETE WHERE kind = '{HAD}' AND {old}")
        if self._store.version >= HAS_TTL:
            return
        oldest = int(now) - self._raw_days * DAY
        for table, column in AGES_BY.items():
            for shard in await self._store.shards():
                await self._drop_old(shard, table, column, oldest)

    async def _drop_old(self, shard: LogStore, table: str, column: str, oldest: int) -> None:
        rows_in = rows_of(table, self._store.cluster)
        for day, partition in await self._days_of(shard, rows_in):
            if (day + 1) * DAY > oldest:
                continue
            rows = await shard.query(
                f"SELECT max(toUInt32({column})) FROM {rows_in}"
                f" WHERE {within(day * DAY, (day + 1) * DAY)}"
            )
            if int(rows[0][0]) < oldest:
                await shard.execute(f"ALTER TABLE {rows_in} DROP PARTITION {partition}")

    async def _days_of(self, shard: LogStore, table: str) -> list[tuple[int, str]]:
        """Return the UTC days of which there are rows, with their partitions, oldest first."""
        rows = await shard.query(
            "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase()"
            " AND table = %(table)s AND active ORDER BY partition",
            {"table": table},
        )
        return [(_day_number(str(row[0])), str(row[0])) for row in rows]


def _list(numbers: Iterable[int]) -> str:
    return f"({', '.join(map(str, numbers))})"


def _day_number(partition: str) -> int:
    """Return the day of a partition such as 20261123."""
    return date(int(partition[:4]), int(partition[4:6]), int(partition[6:])).toordinal() - _EPOCH
