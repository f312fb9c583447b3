"""Live: tells consoles of the requests of those sites that somebody looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.model.live import MOST_VISITS, WATCH, WATCH_SECONDS, Visit, channel_of, pack
from watchducks.model.rows import Row, RowSink
from watchducks.stores.interfaces import Cache, StoreUnavailable

INTERVAL_SECONDS: Final = 1.0
# Sites that are looked at at the same time; the next ones are shown from the log store alone.
MAX_WATCHED: Final = 200


class LiveTap:
    """A RowSink before another, and a Part."""

    _log = Logger()

    def __init__(self, sink: RowSink, cache: Cache, *, clock: IReactorTime) -> None:
        self._record = sink.record
        self._cache = cache
        self._clock = clock
        # Site -> until when it is watched, and what there was since the last second.
        self._watched: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._visits: dict[int, list[Visit]] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._telling = Repeating(
            self._tell, INTERVAL_SECONDS, clock=clock, log=self._log, name="telling live requests"
        )

    def record(self, row: Row) -> None:
        """Pass a row on; if its site is watched, remember it for a second."""
        self._record(row)
        if row.site_id in self._watched and row.kind == "request":
            self._counts[row.site_id] = self._counts.get(row.site_id, 0) + 1
            visits = self._visits.setdefault(row.site_id, [])
            visits.append(Visit.of(row))
            # The latest are shown.
            del visits[:-MOST_VISITS]

    async def start(self) -> None:
        """Begin to listen for who is watched."""
        self._unsubscribe = self._cache.subscribe(WATCH, self._watch)
        self._telling.start()

    async def stop(self) -> None:
        """End."""
        await self._telling.stop()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _watch(self, message: bytes) -> None:
        if not message.isdigit() or len(message) > 10:
            return
        site_id = int(message)
        if site_id in self._watched or len(self._watched) < MAX_WATCHED:
            self._watched[site_id] = self._clock.seconds() + WATCH_SECONDS

    async def _tell(self) -> None:
        now = self._clock.seconds()
        for site_id in [site for site, until in self._watched.items() if until < now]:
            del self._watched[site_id]
        counts, self._counts = self._counts, {}
        visits, self._visits = self._visits, {}
        try:
            for site_id, count in counts.items():
                await self._cache.publish(channel_of(site_id), pack(count, visits[site_id]))
        except StoreUnavailable:
            return  # this second is in the log store
