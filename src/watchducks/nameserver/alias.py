"""ALIAS: the addresses of other people's names, looked up in the background and kept fresh.

An apex cannot have a CNAME (RFC 1034 section 3.6.2), so an owner whose server is a host name says
ALIAS, and we ask for that name's addresses ourselves. Nothing is looked up while a question is
answered: the zones are told what is known, and hold to it while the resolver is away.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection
from typing import Final, Protocol

from dns.name import Name, from_wire
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, Tasks
from watchducks.model.changes import Changes
from watchducks.model.origins import Address
from watchducks.model.sites import Site
from watchducks.model.zones import ALIAS, DEFAULT_CONTENTS

# What an answer made of an ALIAS says. The same each time, for each change of an answer makes the
# name server forget those it has at hand; short, because it comes on top of the next two.
ANSWER_TTL_SECONDS: Final = 30
# How long what was found is held to: as long as its own TTL says, within reason. Below, a thousand
# names would be a load on the resolver; above, a move would take longer than owners put up with.
MIN_FRESH_SECONDS: Final = 30
MAX_FRESH_SECONDS: Final = 300
# After a look-up that failed. What was known stands meanwhile.
RETRY_SECONDS: Final = 30
# Look-ups at a time: each may wait some seconds for a resolver that is away, so a thousand names
# are all tried again within some minutes, and the resolver hardly notices.
MAX_AT_ONCE: Final = 32
# How soon a look-up begins when it is due.
TURN_SECONDS: Final = 1.0


class Resolving(Protocol):
    """Whoever knows the addresses of names."""

    async def addresses(self, name: Name) -> tuple[Collection[Address], int]:
        """Return the addresses of a host, and for how many seconds they are good.

        Bounded in time. No address: it has none. Raises any exception if nobody could tell.
        """


class Knowing(Protocol):
    """Whoever answers with what was found: :class:`watchducks.nameserver.zones.ZoneTable`."""

    def learn(self, target: bytes, addresses: Collection[Address], ttl: int) -> None: ...
    def forget(self, target: bytes) -> None: ...


class Aliases:
    """A Part. :meth:`apply` is what a ``SiteFeed`` calls; it may begin before the start."""

    def __init__(self, zones: Knowing, resolver: Resolving, *, clock: IReactorTime) -> None:
        self._log = Logger()
        self._zones = zones
        self._resolver = resolver
        self._clock = clock
        self._by_zone: dict[str, frozenset[bytes]] = {}
        self._users: Counter[bytes] = Counter()
        # When each is to be looked up (again), and the same in order. What no longer agrees with
        # the first is passed over.
        self._due: dict[bytes, float] = {}
        self._queue: list[tuple[float, bytes]] = []
        self._looked_up: set[bytes] = set()
        self._failing: set[bytes] = set()
        self._tasks = Tasks(self._log)
        self._turns = Repeating(
            self._turn, TURN_SECONDS, clock=clock, log=self._log, name="following the aliases"
        )

    async def start(self) -> None:
        """Begin to look up."""
        self._turns.start()

    async def stop(self) -> None:
        """End the look-ups under way."""
        await self._turns.stop()
        await self._tasks.stop()

    def apply(self, changes: Changes) -> None:
        """Follow the ALIAS records of the changed sites."""
        for zone in changes.removed:
            self._use(zone, frozenset())
        for site in changes.sites:
            self._use(site.zone, _targets(site))

    def _use(self, zone: str, targets: frozenset[bytes]) -> None:
        before = self._by_zone.pop(zone, frozenset())
        if targets:
            self._by_zone[zone] = targets
        for target in targets - before:
            self._users[target] += 1
            if self._users[target] == 1 and target not in self._looked_up:
                self._look_up_at(self._clock.seconds(), target)
        for target in before - targets:
            self._users[target] -= 1
            if not self._users[target]:
                del self._users[target]
                self._due.pop(target, None)
                self._failing.discard(target)
                self._zones.forget(target)

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
                self._tasks.start(self._look_up(target), "looking up an alias")

    async def _look_up(self, target: bytes) -> None:
        wait = RETRY_SECONDS
        try:
            addresses, seconds = await self._resolver.addresses(from_wire(target, 0)[0])
            if target in self._users:
                # In an order of its own: a resolver turns its answers round.
                self._zones.learn(target, sorted(addresses, key=_order), ANSWER_TTL_SECONDS)
            self._failing.discard(target)
            wait = min(max(seconds, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
        except CancelledError:
            raise
        except Exception as error:  # whatever keeps us from knowing: it is tried again
            self._report(target, error)
        finally:
            self._looked_up.discard(target)
            if target in self._users:
                self._look_up_at(self._clock.seconds() + wait, target)

    def _report(self, target: bytes, error: Exception) -> None:
        if target in self._failing or target not in self._users:
            return  # said once, not each time
        self._failing.add(target)
        self._log.warn(
            "the addresses of {target} are not known, or are those of before: {error}",
            target=from_wire(target, 0)[0].to_text(),
            error=str(error),
        )


def _targets(site: Site) -> frozenset[bytes]:
    if site.contents is DEFAULT_CONTENTS:
        return frozenset()
    return frozenset(record.rdata for record in site.contents.records if record.type == ALIAS)


def _order(address: Address) -> tuple[int, bytes]:
    return address.version, address.packed
