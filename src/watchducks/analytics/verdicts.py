"""Changes of verdicts on the proxies: from the name server's health probes into the log store."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.analytics.schema import Schema
from watchducks.background import Repeating
from watchducks.model.verdicts import Verdict
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable, Value

_COLUMNS: Final = ("time", "observer", "address", "healthy", "healthy_proxies", "reason")
# A chart shows a failover soon after it began; one insert takes all changes of that time.
STORE_SECONDS: Final = 2.0
# While the log store is away. A proxy that flaps as fast as damping lets it changes ten times an
# hour: that is four days of it. Then the oldest are given up.
MAX_WAITING: Final = 1_000
# How long stop() tries to store the last ones.
LAST_SECONDS: Final = 2.0
# A reason is a few words of ours, or an exception's text.
MAX_REASON_CHARACTERS: Final = 200

_Row = tuple[int, str, str, int, int, str]


class VerdictHistory:
    """A Part. The name server needs none of it: what cannot be stored waits, within a bound."""

    _log = Logger()

    def __init__(
        self, observer: str, store: LogStore, schema: Schema, *, clock: IReactorTime
    ) -> None:
        """:param observer: the name of this node."""
        self._observer = observer
        self._store = store
        self._schema = schema
        self._clock = clock
        self._waiting: deque[_Row] = deque(maxlen=MAX_WAITING)
        # What is being stored, with its name: it may be in the store already.
        self._doubtful: tuple[list[_Row], str] | None = None
        self._repeating = Repeating(
            self._flush, STORE_SECONDS, clock=clock, log=self._log, name="storing verdicts"
        )

    def record(self, verdict: Verdict, healthy_proxies: int) -> None:
        """Keep one change. :param healthy_proxies: how many there are after it."""
        self._waiting.append(
            (
                int(verdict.since),
                self._observer,
                str(verdict.address),
                int(verdict.healthy),
                healthy_proxies,
                verdict.reason[:MAX_REASON_CHARACTERS],
            )
        )

    async def start(self) -> None:
        self._repeating.start()

    async def stop(self) -> None:
        """Store what there is, if that is possible within :data:`LAST_SECONDS`."""
        await self._repeating.stop()
        last = Deferred.fromCoroutine(self._flush())
        try:
            await last.addTimeout(LAST_SECONDS, self._clock)
        except (CancelledError, TimeoutError):
            self._log.warn("the log store takes too long for the last verdicts")

    async def _flush(self) -> None:
        if self._doubtful is None:
            if not self._waiting:
                return
            self._doubtful = list(self._waiting), f"verdicts-{secrets.token_hex(8)}"
            self._waiting.clear()
        rows, token = self._doubtful
        columns: list[Sequence[Value]] = list(zip(*rows, strict=True))
        try:
            if not self._schema.ready:
                return
            await self._store.insert("verdicts", _COLUMNS, columns, token)
        except StoreUnavailable as error:
            self._log.debug("verdicts wait for the log store: {error}", error=str(error))
            return
        except StoreRefused as error:
            self._log.error("verdicts are lost: {error}", error=str(error))
        self._doubtful = None
