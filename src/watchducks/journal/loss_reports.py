"""Losses on their way into the log store, where the charts find them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Threads
from watchducks.journal.losses import Losses
from watchducks.stores.interfaces import LogStore, StoreRefused, Value

TABLE: Final = "losses"
_COLUMNS: Final = ("time", "until", "site", "node", "batch", "rows")
# While a full disk costs rows all the time: an owner sees it within a minute, and the table gets
# one block for it.
REPORT_SECONDS: Final = 60.0


class LossReports:
    """Stores what :class:`Losses` has noted; a batch that came twice counts once (events.py)."""

    _log = Logger()

    def __init__(
        self, losses: Losses, store: LogStore, node: str, *, pool: Threads, clock: IReactorTime
    ) -> None:
        """:param node: the name of this node."""
        self._losses = losses
        self._store = store
        self._node = node
        self._pool = pool
        self._clock = clock
        self._not_before = 0.0

    async def send(self, mend_tables: Callable[[], Awaitable[None]]) -> None:
        """Store the next batch, if there is one and it is time to.

        :param mend_tables: called when the store refused it: perhaps somebody dropped the table.
        :raises StoreUnavailable: not now; the batch waits.
        """
        if self._clock.seconds() < self._not_before:
            return
        batch = await self._losses.leaving(self._pool)
        if batch is None:
            return
        rows = [
            (loss.first, loss.last, site, self._node, batch.name, loss.rows)
            for site, loss in batch.losses
        ]
        columns: list[Sequence[Value]] = list(zip(*rows, strict=True))
        token = f"losses-{batch.name}"
        try:
            try:
                await self._store.insert(TABLE, _COLUMNS, columns, token)
            except StoreRefused:
                await mend_tables()
                await self._store.insert(TABLE, _COLUMNS, columns, token)
        except StoreRefused as error:
            self._log.error("charts will not show what was lost: {error}", error=str(error))
        await self._losses.stored(self._pool)
        self._not_before = self._clock.seconds() + REPORT_SECONDS
