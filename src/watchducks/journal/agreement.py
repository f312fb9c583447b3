"""The keys of visitor ids, settled with the other hosts: today's, and tomorrow's ahead of time, so
that an outage of the registry of less than a day makes no difference.

A host that cannot reach the others makes a key of its own and goes on. Once it was used it stays
for that day: its visitors would count twice on this host alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Threads
from watchducks.journal.visitors import VisitorKeys, day_of
from watchducks.stores.interfaces import StoreUnavailable

# How often a key that is not settled is asked for, and how long shipping waits for it.
EVERY_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 5.0


class SharedKeys(Protocol):
    """Where hosts agree: :class:`watchducks.registry.visitor_keys.SharedVisitorKeys`."""

    async def agree(self, day: int, proposal: bytes) -> bytes:
        """Return the key of a day: ``proposal``, unless another host was first.

        :raises StoreUnavailable: not now.
        """


class KeyAgreement:
    """Settles the keys of one host; asked by its shipper before it ships."""

    _log = Logger()

    def __init__(
        self,
        keys: VisitorKeys,
        shared: SharedKeys | None,
        *,
        pool: Threads,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param shared: None: there is no other host.

        :param pool: the thread that uses ``keys``.
        :param now: POSIX seconds.
        """
        self._keys = keys
        self._shared = shared
        self._pool = pool
        self._clock = clock
        self._now = now
        self._next = 0.0
        self._is_alone = False

    async def settle(self) -> None:
        """Settle what is not, if it is time to; waits a few seconds at most."""
        if self._shared is None or self._clock.seconds() < self._next:
            return
        self._next = self._clock.seconds() + EVERY_SECONDS
        today = day_of(int(self._now() * 1e6))
        proposals = await self._pool.run(self._keys.proposals, (today, today + 1))
        for day, proposal in proposals.items():
            agreeing = Deferred.fromCoroutine(self._shared.agree(day, proposal))
            _ = agreeing.addTimeout(WAIT_SECONDS, self._clock)
            try:
                key = await agreeing
            except (StoreUnavailable, DeferredTimeout) as error:
                if not self._is_alone:  # said once, not each minute
                    self._log.warn(
                        "visitors of several proxies count once on each: {error}", error=str(error)
                    )
                self._is_alone = True
                return
            self._is_alone = False
            if not await self._pool.run(self._keys.settle, day, key):
                self._log.warn("visitors of several proxies count once on each until midnight UTC")
