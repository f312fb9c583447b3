"""Looks: what a registration would lead to, shown before it is made, and how often one may ask.

Each look has us ask servers that a stranger names, so there are few of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IReactorTime

from watchducks.background import Threads
from watchducks.console.answers import Refusal
from watchducks.console.interfaces import Looking
from watchducks.console.languages import mark
from watchducks.console.rates import RateLimit
from watchducks.console.registrations import Registrations
from watchducks.console.shown_dns import ShownDns, shown_dns
from watchducks.model.problems import Problem
from watchducks.model.prospects import Prospect

# Of one network: somebody who tries some spellings, and a class at its first lesson, slowly.
LOOKS_PER_SECOND: Final = 1 / 10
LOOKS_BURST: Final = 10
# At a time: the scans of sites that were registered go on beside them.
AT_ONCE: Final = 3
# Who looks twice at the same has what was found: servers are asked once in that time.
KEPT_SECONDS: Final = 60.0
MAX_KEPT: Final = 100

_BUSY: Final = Problem("busy", mark("Others are looking just now; try again in some seconds."))


@dataclass(frozen=True, slots=True)
class Look:
    """What the form shows."""

    prospect: Prospect
    dns: ShownDns


class Looks:
    """Looks for people at the form.

    :param threads: for printing records.
    """

    def __init__(
        self,
        registrations: Registrations,
        looking: Looking,
        *,
        threads: Threads,
        clock: IReactorTime,
    ) -> None:
        self._registrations = registrations
        self._looking = looking
        self._threads = threads
        self._clock = clock
        self._networks = RateLimit(LOOKS_PER_SECOND, LOOKS_BURST, clock)
        self._kept: OrderedDict[tuple[str, str], tuple[float, Look]] = OrderedDict()
        self._under_way = 0

    async def look(self, fields: Mapping[str, str], *, network: str, address: str) -> Look:
        """Return what would become of a site with this domain and origin.

        :raises Refusal: 429, there were too many looks; 503, too many are under way; 403, it is
            blocked. :raises InvalidFields: nothing like that can be registered.
        """
        domain, zone, origin = await self._registrations.wanted(fields, address=address)
        key = (domain, str(origin))
        now = self._clock.seconds()
        made, known = self._kept.get(key, (0.0, None))
        if known is not None and now - made < KEPT_SECONDS:
            return known
        if not self._networks.allows(network):
            problem = Problem("too-many", mark("Too many requests; try again in a minute."))
            raise Refusal(429, problem, headers={"Retry-After": "60"})
        if self._under_way >= AT_ONCE:
            raise Refusal(503, _BUSY, headers={"Retry-After": "10"})
        self._under_way += 1
        try:
            prospect = await self._looking.look(domain, zone, origin)
            dns = await self._threads.run(shown_dns, prospect.scan, zone)
        finally:
            self._under_way -= 1
        found = Look(prospect, dns)
        self._kept[key] = (self._clock.seconds(), found)
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found
