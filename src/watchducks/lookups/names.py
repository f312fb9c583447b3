"""Host names of others: looked up in the background and kept fresh, for whoever needs addresses.

Two things of a site may be somebody's host name instead of an address: an ALIAS, because an apex
cannot have a CNAME (RFC 1034 section 3.6.2), and its origin. Nothing is looked up while a question
or a request is answered. Those who follow the registry's feed by way of this part
(:mod:`watchducks.lookups.known_names`) are told of each site with its origin's addresses filled in,
and again when these change.

===================================  ===========================================================
what a look-up finds                 what becomes of it
===================================  ===========================================================
addresses                            an ALIAS answers them; an origin gets those that may be one
only private ones, or our own        an ALIAS answers them; an origin keeps what it had before
none: the name has none              an ALIAS answers none; an origin keeps what it had before
nothing: no resolver could tell      all stands, and it is tried again
===================================  ===========================================================

An origin keeps its addresses when its name gives none because a slip in somebody's zone must not
end a site. It is never led to a private address by a name (DNS rebinding): each look-up is checked.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, Protocol

from dns.name import Name, from_wire
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from watchducks.background import Overloaded, Repeating, Tasks, Threads
from watchducks.lookups import remembered
from watchducks.lookups.known_names import KnownNames
from watchducks.lookups.remembered import Known, Remembered
from watchducks.model.origins import Address

# How long what was found is held to: as long as its own TTL says, within reason. Below, a thousand
# names would be a load on the resolver; above, a move would take longer than owners put up with.
MIN_FRESH_SECONDS: Final = 30
MAX_FRESH_SECONDS: Final = 300
# After a look-up that failed. What was known stands meanwhile.
RETRY_SECONDS: Final = 30
# Look-ups at a time: each may wait some seconds for a resolver that is away, so a thousand names
# are all tried again within some minutes, and the resolver hardly notices.
MAX_AT_ONCE: Final = 32
# How soon a look-up begins when it is due, and how soon what it found is on the disk.
TURN_SECONDS: Final = 1.0
# The file is not written for more than this share of the time, however many names there are.
SAVE_SHARE: Final = 1 / 50

FILE_NAME: Final = "addresses.json"


class Resolving(Protocol):
    """Whoever knows the addresses of names."""

    async def addresses(self, name: Name) -> tuple[Collection[Address], int]:
        """Return the addresses of a host, and for how many seconds they are good.

        Bounded in time. No address: it has none. Raises any exception if nobody could tell.
        """


class HostNames(KnownNames):
    """A Part. :meth:`apply` may begin before the start.

    :ivar changes: how often what is known changed, for who tells other processes.
    :param usable: returns those of a name's addresses where an origin may be.
    :param state_dir: where what is known is kept.
    :param pool: for reading and writing that; it belongs to the caller.
    """

    def __init__(
        self,
        resolver: Resolving,
        *,
        usable: Callable[[Iterable[Address]], tuple[Address, ...]],
        state_dir: Path,
        pool: Threads,
        clock: IReactorTime,
    ) -> None:
        super().__init__()
        self.changes = 0
        self._resolver = resolver
        self._usable = usable
        self._path = state_dir / FILE_NAME
        self._pool = pool
        self._clock = clock
        # When each is to be looked up (again), and the same in order. What no longer agrees with
        # the first is passed over.
        self._due: dict[bytes, float] = {}
        self._queue: list[tuple[float, bytes]] = []
        self._looked_up: set[bytes] = set()
        self._failing: set[bytes] = set()
        self._saved = 0
        self._save_at = 0.0
        self._tasks = Tasks(self._log)
        self._turns = Repeating(
            self._turn, TURN_SECONDS, clock=clock, log=self._log, name="following host names"
        )
        self._saves = Repeating(
            self._save_if_due,
            TURN_SECONDS,
            clock=clock,
            log=self._log,
            name="keeping the addresses of host names",
        )

    async def start(self) -> None:
        """Take over what was known, and begin to look up."""
        kept = await self._pool.run(remembered.read, self._path)
        # What may be an origin is up to the settings of today, and the last change of addresses
        # may not have reached the disk.
        self.told(
            Remembered(
                {
                    target: known._replace(usable=self._usable(known.usable))
                    for target, known in kept.names.items()
                },
                {zone: times + 1 for zone, times in kept.moves.items()},
            )
        )
        self._turns.start()
        self._saves.start()

    async def stop(self) -> None:
        """End the look-ups under way, and keep what is known."""
        await self._turns.stop()
        await self._tasks.stop()
        await self._saves.stop()
        if self.changes != self._saved:
            await self._save()

    def _begin(self, target: bytes) -> None:
        super()._begin(target)
        if target not in self._looked_up:
            self._look_up_at(self._clock.seconds(), target)

    def _end(self, target: bytes) -> None:
        super()._end(target)
        self._due.pop(target, None)
        self._failing.discard(target)
        if self._known.pop(target, None) is not None:
            self.changes += 1

    # --- looking up -----------------------------------------------------------------------------

    def _look_up_at(self, when: float, target: bytes) -> None:
        self._due[target] = when
        heapq.heappush(self._queue, (when, target))

    async def _turn(self) -> None:
        now = self._clock.seconds()
        while self._queue and self._queue[0][0] <= now and len(self._looked_up) < MAX_AT_ONCE:
            when, target = heapq.heappop(self._queue)
            if self._due.get(target) == when:
                del self._due[target]
                self._looked_up.add(target)
                self._tasks.start(self._look_up(target), "looking up a host name")

    async def _look_up(self, target: bytes) -> None:
        wait = RETRY_SECONDS
        try:
            addresses, seconds = await self._resolver.addresses(from_wire(target, 0)[0])
            if target in self._users:
                # In an order of its own: a resolver turns its answers round.
                self._learn(target, tuple(sorted(addresses, key=_order)))
            wait = min(max(seconds, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
        except CancelledError:
            raise
        except Exception as error:  # whatever keeps us from knowing: it is tried again
            self._report(target, str(error))
        finally:
            self._looked_up.discard(target)
            if target in self._users:
                self._look_up_at(self._clock.seconds() + wait, target)

    def _learn(self, target: bytes, found: tuple[Address, ...]) -> None:
        before = self._known.get(target)
        usable = self._usable(found)
        if found and not usable:
            self._report(target, f"no site can be at {found[0]}")
        else:
            self._failing.discard(target)
        if not usable and before is not None:
            usable = before.usable
        known = Known(found, usable)
        if known == before:
            return
        self._known[target] = known
        self.changes += 1
        for zone in sorted(self._users[target]):
            self._moved(zone, self._moves.get(zone, 0) + 1)
        self._tell_of([target])

    def _report(self, target: bytes, reason: str) -> None:
        if target in self._failing or target not in self._users:
            return  # said once, not each time
        self._failing.add(target)
        self._log.warn(
            "the addresses of {target} are not known, or are those of before: {reason}",
            target=from_wire(target, 0)[0].to_text(),
            reason=reason,
        )

    # --- on disk --------------------------------------------------------------------------------

    async def _save_if_due(self) -> None:
        began = self._clock.seconds()
        if self.changes != self._saved and began >= self._save_at:
            await self._save()
            now = self._clock.seconds()
            self._save_at = now + (now - began) / SAVE_SHARE

    async def _save(self) -> None:
        saved = self.changes
        try:
            await self._pool.run(remembered.write, self._path, self.remembered())
        except (OSError, Overloaded) as error:
            self._log.error("cannot keep the addresses of names: {error}", error=str(error))
            return
        self._saved = saved


def _order(address: Address) -> tuple[int, bytes]:
    return address.version, address.packed
