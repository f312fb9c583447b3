"""The pulse of the log store: whether anything in it has changed.

Rows come in blocks, seconds apart, and between two of them every question has the answer that it
had. One small question about the tables' parts tells, and saves asking all the others.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

# A request is to be seen within a second of its segment's being sealed, of which the insert and the
# page's own polling take most; a hundred viewers cost as much as four.
LOOK_SECONDS: Final = 0.25
# While the store does not tell, and where it is a cluster, whose servers do not have everything at
# the same moment, whatever was seen may be different after this time.
BLIND_SECONDS: Final = 1.0

# Each inserted block gets the next number of its table, and merging parts keeps both figures of
# plain tables. Rows that leave change the second one.
_PARTS: Final = (
    "SELECT table, sum(last), sum(rows) FROM"
    " (SELECT table, partition, max(max_block_number) AS last, sum(rows) AS rows FROM system.parts"
    " WHERE active AND database = currentDatabase() GROUP BY table, partition)"
    " GROUP BY table ORDER BY table"
)


class Pulse:
    """Tells versions of what the log store holds."""

    def __init__(self, store: LogStore, *, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._version = ""
        self._good_until = 0.0
        self._waiting: list[Deferred[bool]] | None = None

    @property
    def known(self) -> str | None:
        """The version, if it was asked for within :data:`LOOK_SECONDS`; else None."""
        return self._version if self._clock.seconds() < self._good_until else None

    @property
    def last(self) -> str:
        """The version that was seen last, however long ago."""
        return self._version

    async def version(self) -> str:
        """Return the version: as long as it stays the same, so do the answers to all questions
        that do not depend on the time. Never raises."""
        while self.known is None:
            if self._waiting is None:
                await self._look()
                break
            waiter: Deferred[bool] = Deferred()
            self._waiting.append(waiter)
            if await waiter:
                break
        return self._version

    async def _look(self) -> None:
        """Look, for all who come meanwhile; if whoever looks leaves, one of them does it anew."""
        self._waiting, seen = [], False
        asked = self._clock.seconds()
        try:
            self._version = await self._seen(asked)
            self._good_until = asked + LOOK_SECONDS
            seen = True
        finally:
            waiting, self._waiting = self._waiting, None
            for waiter in waiting:
                waiter.callback(seen)

    async def _seen(self, now: float) -> str:
        if self._store.cluster is None:
            try:
                return repr(await self._store.query(_PARTS))
            except (StoreUnavailable, StoreRefused):
                pass
        return f"since {now // BLIND_SECONDS:.0f}"
