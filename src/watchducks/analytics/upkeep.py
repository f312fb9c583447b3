"""Upkeep of the log store: roll-ups that agree with the rows, and days that are old enough go.

A UTC day is looked at when somebody doubts it (:mod:`watchducks.analytics.rollups` says why), and
once when it is over. Where the roll-ups have as many requests and bytes as the rows, it is settled:
rows and roll-ups of a block become visible one after the other, so a moment in which they agree
shows that none is missing. Where they do not and the day is over, they are made anew, and looked at
again; a day that is not over may have been looked at in the middle of an insert, and has time.

Several hosts may do all this at the same time: what two of them made at once does not agree with
the rows, and is made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.analytics.plan import HAS_TTL
from watchducks.analytics.rollups import (
    DAY,
    FACET_TABLES,
    FACETS,
    HOUR,
    TRAFFIC_TABLES,
    facets_of_rows,
    feed_of,
    traffic_of_rows,
)
from watchducks.analytics.schema import Schema
from watchducks.background import Repeating
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

# A doubt costs questions about its day some speed, no more.
UPKEEP_SECONDS: Final = 60.0
# A day is over when the requests that began in it have ended, but for streams, and their segments
# came: rows that come later are doubted like any other, or are few.
OVER_SECONDS: Final = 2 * HOUR
# Deleting a day from the roll-ups writes some parts anew. A server that takes longer is busy, and
# the day is tried again.
MUTATION_POLLS: Final = 120
MUTATION_POLL_SECONDS: Final = 0.5
# The token under which a day is noted that was looked at when it was over.
_OVER: Final = "over"

_EPOCH: Final = date(1970, 1, 1).toordinal()

# A place of SQL for the rows of a day, or of an hour.
_TIME: Final = "time >= toDateTime(%(start)s) AND time < toDateTime(%(end)s)"


class Upkeep:
    """A Part.

    :ivar rebuilt: days whose roll-ups were made anew.
    """

    _log = Logger()

    def __init__(
        self,
        store: LogStore,
        schema: Schema,
        raw_days: int,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param raw_days: how long rows of single requests are kept.

        :param now: POSIX seconds.
        """
        self._store = store
        self._schema = schema
        self._raw_days = raw_days
        self._clock = clock
        self._now = now
        # Hosts that were started together do not look at the same day at the same time.
        interval = UPKEEP_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311  no secret
        self._repeating = Repeating(
            self._turn, interval, clock=clock, log=self._log, name="upkeep of the log store"
        )
        self.rebuilt = 0

    async def start(self) -> None:
        self._repeating.start()

    async def stop(self) -> None:
        await self._repeating.stop()

    async def _turn(self) -> None:
        if not self._schema.ready:
            return
        try:
            await self.drop_old_days()
            for day in await self._days_to_look_at():
                await self.look_at(day)
        except (StoreUnavailable, StoreRefused) as error:
            self._log.warn("upkeep of the log store waits: {error}", error=str(error))

    async def drop_old_days(self) -> None:
        """Let old rows go where the server does not do it by itself."""
        if self._store.version >= HAS_TTL:
            return
        today = int(self._now()) // DAY
        for table in ("requests", "traffic_minute"):
            for day, partition in await self._days_of(table):
                if day < today - self._raw_days:
                    await self._store.execute(f"ALTER TABLE {table} DROP PARTITION {partition}")

    async def _days_of(self, table: str) -> list[tuple[int, str]]:
        """Return the UTC days of which there are rows, with their partitions, oldest first."""
        rows = await self._store.query(
            "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase()"
            " AND table = %(table)s AND active ORDER BY partition",
            {"table": table},
        )
        return [(_day_number(str(row[0])), str(row[0])) for row in rows]

    async def _days_to_look_at(self) -> list[int]:
        rows = await self._store.query(
            "SELECT DISTINCT day FROM (SELECT day, token, max(settled) AS known FROM day_doubts"
            " GROUP BY day, token) WHERE known = 0"
        )
        doubted = {int(row[0]) for row in rows}
        rows = await self._store.query(
            "SELECT DISTINCT day FROM day_doubts WHERE token = %(token)s", {"token": _OVER}
        )
        known = {int(row[0]) for row in rows}
        kept = {day for day, _ in await self._days_of("requests")}
        return sorted(doubted | {day for day in kept - known if self._is_over(day)})

    def _is_over(self, day: int) -> bool:
        return self._now() >= (day + 1) * DAY + OVER_SECONDS

    def _has_all_rows(self, day: int) -> bool:
        return self._now() < (day + self._raw_days) * DAY - HOUR

    async def look_at(self, day: int) -> bool:
        """Compare a day's roll-ups with its rows; return whether it is settled by now.

        :param day: UTC days since 1970.
        :raises StoreUnavailable, StoreRefused: not now.
        """
        # Those that come meanwhile stay doubts.
        rows = await self._store.query(
            "SELECT DISTINCT token FROM day_doubts WHERE day = %(day)s AND settled = 0",
            {"day": day},
        )
        tokens = [str(row[0]) for row in rows]
        over = self._is_over(day)
        # Where rows are too old to be all there, nothing can be compared, let alone made of them.
        agrees = not self._has_all_rows(day) or await self._agrees(day)
        if not agrees and over:
            self._log.warn("the roll-ups of the day {day} are made anew", day=day)
            await self._rebuild(day)
            self.rebuilt += 1
            agrees = await self._agrees(day)
        if agrees:
            await self._settle(day, [*tokens, *([_OVER] if over else [])])
        return agrees

    async def _settle(self, day: int, tokens: list[str]) -> None:
        if tokens:
            count = len(tokens)
            await self._store.insert(
                "day_doubts",
                ("day", "token", "settled"),
                ([day] * count, tokens, [1] * count),
                f"settled-{day}-{self._now()}",
            )

    async def _agrees(self, day: int) -> bool:
        """Return whether every roll-up has what the rows have."""
        place = {"start": day * DAY, "end": (day + 1) * DAY, "status": FACETS["status"][0]}
        rows = await self._store.query(
            "SELECT count(), sum(response_bytes), countIf(kind = 'request'),"
            f" sumIf(response_bytes, kind = 'request') FROM requests WHERE {_TIME}",
            place,
        )
        all_rows, requests = tuple(rows[0][:2]), tuple(rows[0][2:])
        for table in TRAFFIC_TABLES:
            found = await self._store.query(
                f"SELECT sum(requests) + sum(connections), sum(sent) FROM {table} WHERE {_TIME}",
                place,
            )
            if found[0] != all_rows:
                return False
        for table in FACET_TABLES:
            # Each request has a status.
            found = await self._store.query(
                f"SELECT sum(requests), sum(sent) FROM {table}"
                f" WHERE facet = %(status)s AND {_TIME}",
                place,
            )
            if found[0] != requests:
                return False
        return True

    async def _rebuild(self, day: int) -> None:
        """Make a day's roll-ups of its rows: what is there goes first."""
        for table in (*TRAFFIC_TABLES, *FACET_TABLES):
            await self._store.execute(
                f"ALTER TABLE {table} DELETE WHERE time >= toDateTime({day * DAY})"
                f" AND time < toDateTime({(day + 1) * DAY})"
            )
        await self._mutated()
        version = self._store.version
        # An hour at a time: a day of a very busy host takes longer than a statement may.
        for start in range(day * DAY, (day + 1) * DAY, HOUR):
            time = f"time >= toDateTime({start}) AND time < toDateTime({start + HOUR})"
            for table, select in (
                ("traffic_minute", traffic_of_rows(f" WHERE {time}")),
                ("facets_hour", facets_of_rows(f" AND {time}")),
            ):
                await self._store.execute(f"INSERT INTO {feed_of(table, version)} {select}")

    async def _mutated(self) -> None:
        """Wait until the deletions are done. :raises StoreUnavailable: it takes too long."""
        for _ in range(MUTATION_POLLS):
            rows = await self._store.query(
                "SELECT count() FROM system.mutations"
                " WHERE database = currentDatabase() AND is_done = 0"
            )
            if not int(rows[0][0]):
                return
            await deferLater(self._clock, MUTATION_POLL_SECONDS)
        raise StoreUnavailable("deleting a day's roll-ups takes too long")


def _day_number(partition: str) -> int:
    """Return the day of a partition such as 20261123."""
    return date(int(partition[:4]), int(partition[4:6]), int(partition[6:])).toordinal() - _EPOCH
