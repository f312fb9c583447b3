"""Whether a crawler is the one that it says: by forward-confirmed reverse DNS.

An operator names the domains that its crawlers' addresses lead to. A host of them that leads back
to the address proves it; anybody can let his own address lead to any name, but not that name back.

Rows wait for none of this. Until an address is known its claim stands as declared; a minute later
it is verified, or found to be false. What nobody can tell (no resolver answers) stays declared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.journal.bots import Crawler
from watchducks.model.origins import Address

# A crawler's address stays one for longer, but nobody needs to know it sooner.
VERDICT_SECONDS: Final = 24 * 3600.0
# What could not be found out is asked again; and what was false is so for an hour.
RETRY_SECONDS: Final = 3600.0
INTERVAL_SECONDS: Final = 1.0
# Look-ups at a time: four a second at most, so that who makes up addresses (it takes a connection
# each) gets no storm of questions out of us.
MAX_AT_ONCE: Final = 4
LOOK_UP_SECONDS: Final = 10.0
# Addresses in line, and those that are known. Google has some 2,000.
MAX_WAITING: Final = 1_000
MAX_KNOWN: Final = 20_000
# Names of one address that are followed: a crawler's has one.
MAX_NAMES: Final = 3


class LookUps(Protocol):
    """What asks the DNS. Both raise LookupError if nobody can tell."""

    async def names_of(self, address: Address) -> Sequence[str]:
        """Return where an address leads: lower case, without final dot; none: nowhere."""

    async def addresses_of(self, name: str) -> Collection[Address]:
        """Return where a name leads; none: nowhere."""


class _Known(NamedTuple):
    """:ivar verdict: None: nobody could tell. :ivar until: the clock's seconds."""

    verdict: bool | None
    until: float


class CrawlerChecks:
    """The verdicts. A Part; :meth:`verdict` is for another thread."""

    _log = Logger()

    def __init__(self, look_ups: LookUps, *, clock: IReactorTime) -> None:
        self._look_ups = look_ups
        self._clock = clock
        self._known: dict[tuple[str, Address], _Known] = {}
        # What the shipper's thread wants to know; appending is atomic, and so is taking.
        self._wanted: deque[tuple[Crawler, Address]] = deque(maxlen=MAX_WAITING)
        self._checks = Repeating(
            self._check, INTERVAL_SECONDS, clock=clock, log=self._log, name="checking crawlers"
        )

    async def start(self) -> None:
        """Begin to look up what is wanted."""
        self._checks.start()

    async def stop(self) -> None:
        """End the look-ups."""
        await self._checks.stop()

    def verdict(self, crawler: Crawler, address: Address) -> bool | None:
        """Return whether ``address`` is one of the crawler's; None: it is not known, or not yet."""
        known = self._known.get((crawler.name, address))
        if known is None or known.until <= self._clock.seconds():
            self._wanted.append((crawler, address))
        return None if known is None else known.verdict

    async def _check(self) -> None:
        """Look up the next few."""
        now = self._clock.seconds()
        chosen: dict[tuple[str, Address], Crawler] = {}
        while self._wanted and len(chosen) < MAX_AT_ONCE:
            crawler, address = self._wanted.popleft()
            key = (crawler.name, address)
            known = self._known.get(key)
            if known is None or known.until <= now:
                chosen[key] = crawler
        if not chosen:
            return
        # Cancelling the list cancels what is in it.
        await DeferredList(
            [
                Deferred.fromCoroutine(self._find_out(crawler, address))
                for (_, address), crawler in chosen.items()
            ],
            consumeErrors=True,
        )

    async def _find_out(self, crawler: Crawler, address: Address) -> None:
        found: Deferred[bool] = Deferred.fromCoroutine(self._is_one(crawler, address))
        _ = found.addTimeout(LOOK_UP_SECONDS, self._clock)
        verdict: bool | None
        try:
            verdict = await found
        except (LookupError, DeferredTimeout):
            verdict = None
        except CancelledError:
            raise
        except Exception:
            self._log.failure("{address} could not be looked up", address=str(address))
            verdict = None
        key = (crawler.name, address)
        self._known.pop(key, None)  # what is looked up anew is the latest
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        life = VERDICT_SECONDS if verdict else RETRY_SECONDS
        self._known[key] = _Known(verdict, self._clock.seconds() + life)

    async def _is_one(self, crawler: Crawler, address: Address) -> bool:
        names = await self._look_ups.names_of(address)
        for name in names[:MAX_NAMES]:
            if crawler.owns(name) and address in await self._look_ups.addresses_of(name):
                return True
        return False
