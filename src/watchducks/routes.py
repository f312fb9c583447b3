"""Routes: from the host a visitor asked for to the site that answers it.

The rules:

* A known host is one dictionary look-up (:meth:`RouteTable.known`), without I/O.
* An unknown host costs one look-up for all who wait for it: the shared cache, then the registry.
* "No such site" is remembered briefly, so that a flood of wrong hosts reaches no store.
* Memory is bounded: the least recently used host goes first.
* Changes arrive through the registry's feed; when the stores are down, what is known stands.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, replace
from enum import Enum
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Overloaded, Tasks
from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.model.origins import Origin, parse_origin
from watchducks.model.routing import Route
from watchducks.model.sites import Site, SiteChoices
from watchducks.model.zones import DEFAULT_CONTENTS
from watchducks.stores.interfaces import Cache, StoreRefused, StoreUnavailable


class Unknown(Enum):
    """The type of :data:`UNKNOWN`."""

    UNKNOWN = "unknown"


# Not in memory: ask `look_up`. None, by contrast, is the knowledge that there is no such site.
UNKNOWN: Final = Unknown.UNKNOWN

# Two hosts a site, about 300 bytes each: 200,000 hosts are 100,000 sites in some 60 MB.
MAX_HOSTS: Final = 200_000
# Wrong hosts are a stranger's input, so they have a table of their own that cannot push out sites.
MAX_MISSES: Final = 10_000
# A site registered elsewhere is seen at the latest after this, even when no feed tells of it.
MISS_LIFE_SECONDS: Final = 5.0
# The registry is asked at most this often in parallel for hosts that nobody has heard of.
MAX_LOOK_UPS: Final = 100
# In the shared cache; the feed of each process corrects changed sites much earlier.
CACHE_LIFE_SECONDS: Final = 60.0
# Counted up when the value's content changes: two versions of the program may share a cache.
CACHE_FORMAT: Final = 4


class SiteSource(Protocol):
    """The part of the registry that a look-up needs."""

    async def site_for_host(self, host: str) -> Site | None:
        """Return the site that serves ``host``, or None. May raise StoreUnavailable."""


class RouteTable:
    """The routes of this process.

    :ivar look_ups: hosts that were not known here and had to be looked up, since the start.
    """

    def __init__(
        self,
        source: SiteSource,
        cache: Cache,
        *,
        clock: IReactorTime,
        lineage: Callable[[], str],
        max_hosts: int = MAX_HOSTS,
        rules: CutoverRules | None = None,
        resolved: Callable[[Origin], Origin] = lambda origin: origin,
    ) -> None:
        """:param lineage: names the registry that is followed: another one's routes may lie in the
        same cache, and so may those of a database that was there before.
        :param rules: which sites are carried; ``source`` has the same.
        :param resolved: gives an origin that is a host name its addresses, as far as they are
        known. Sites that the feed brings have them already.
        """
        self._log = Logger()
        self._source = source
        self._cache = cache
        self._clock = clock
        self._lineage = lineage
        self._max_hosts = max_hosts
        self._rules = rules or CutoverRules()
        self._resolved = resolved
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._misses: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, list[Deferred[Route | None]]] = {}
        self._changed_meanwhile: set[str] = set()
        # The hosts of the zones that do not have the usual ones, to be found when they change.
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._revision = 0
        self._tasks = Tasks(self._log)
        self.look_ups = 0

    @property
    def hosts(self) -> int:
        """How many hosts are known here."""
        return len(self._routes)

    def known(self, host: str) -> Route | Unknown | None:
        """Return the route of ``host`` (lower case, no port), None if there is no such site, or
        :data:`UNKNOWN` if only :meth:`look_up` can tell."""
        route = self._routes.get(host)
        if route is not None:
            self._routes.move_to_end(host)
            return route
        until = self._misses.get(host)
        if until is not None:
            if self._clock.seconds() < until:
                return None
            del self._misses[host]
        return UNKNOWN

    async def look_up(self, host: str) -> Route | None:
        """Find out about a host that is not known here; None: there is no such site.

        :raises StoreUnavailable: nobody can tell now.
        :raises Overloaded: too many hosts are being looked up already.
        """
        known = self.known(host)
        if known is not UNKNOWN:
            return known
        waiting = self._waiting.get(host)
        mine: Deferred[Route | None] = Deferred()
        if waiting is not None:
            waiting.append(mine)
            return await mine
        if len(self._waiting) >= MAX_LOOK_UPS:
            raise Overloaded(f"more than {MAX_LOOK_UPS} unknown hosts are being looked up")
        self._waiting[host] = [mine]
        self.look_ups += 1
        # The look-up belongs to nobody in particular: a visitor who leaves does not end it.
        self._tasks.start(self._find(host), f"looking up {host!r}")
        return await mine

    async def _find(self, host: str) -> None:
        # Taken before the registry is read: what is read may be newer than the key, never older.
        key = self._cache_key(host)
        try:
            route, shared = await self._from_cache(host, key), True
            if route is UNKNOWN:
                site = await self._source.site_for_host(host)
                route, shared = (None if site is None else Route.of(site)), False
        except BaseException as error:
            for deferred in self._finished(host):
                deferred.errback(error)
            if not isinstance(error, StoreUnavailable | StoreRefused | Overloaded):
                raise
            return
        if route is not None and route.origin.name:
            route = replace(route, origin=self._resolved(route.origin))
        self._keep(host, route)
        for deferred in self._finished(host):
            deferred.callback(route)
        if route is not None and not shared:
            await self._share(route, key)

    def _finished(self, host: str) -> list[Deferred[Route | None]]:
        """End the look-up; a visitor who left meanwhile has had his Deferred cancelled."""
        self._changed_meanwhile.discard(host)
        return [deferred for deferred in self._waiting.pop(host) if not deferred.called]

    def _keep(self, host: str, route: Route | None) -> None:
        if host in self._changed_meanwhile:
            return  # the feed told us something newer than what was read
        if route is None:
            self._misses[host] = self._clock.seconds() + MISS_LIFE_SECONDS
            self._misses.move_to_end(host)
            if len(self._misses) > MAX_MISSES:
                self._misses.popitem(last=False)
        else:
            self._store(host, route)

    def _store(self, host: str, route: Route) -> None:
        self._routes[host] = route
        self._routes.move_to_end(host)
        if len(self._routes) > self._max_hosts:
            self._routes.popitem(last=False)

    def apply(self, changes: Changes) -> None:
        """Follow the registry's feed: take over changed sites, forget removed ones."""
        self._revision = changes.revision
        for zone in changes.removed:
            self._forget(zone)
        for site in changes.sites:
            route = Route.of(site)
            self._forget(site.zone)
            if not self._rules.claims(site.state):
                continue  # another site may have these hosts: a look-up tells
            if site.contents.proxied != DEFAULT_CONTENTS.proxied:
                self._hosts[site.zone] = site.hosts
            for host in site.hosts:
                self._misses.pop(host, None)
                self._store(host, route)
                if host in self._waiting:
                    self._changed_meanwhile.add(host)

    def _forget(self, zone: str) -> None:
        """Forget the hosts that a zone had: they may be fewer now."""
        for host in self._hosts.pop(zone, (zone, f"www.{zone}")):
            self._routes.pop(host, None)
            if host in self._waiting:
                self._changed_meanwhile.add(host)

    async def start(self) -> None:
        """Nothing to do: routes come by the feed and by look-ups."""

    async def stop(self) -> None:
        """End the look-ups under way."""
        await self._tasks.stop()

    # The shared cache: one look-up in the registry serves every proxy. It is only ever a help. Its
    # keys hold which registry this process follows, and up to which revision, so what it says is
    # never older than what we have seen already; entries of earlier revisions are left to expire.

    def _cache_key(self, host: str) -> str:
        return f"route{CACHE_FORMAT}:{self._lineage()}:{self._revision}:{host}"

    async def _from_cache(self, host: str, key: str) -> Route | Unknown | None:
        try:
            value = await self._cache.get(key)
        except StoreUnavailable:
            return UNKNOWN
        if value is None:
            return UNKNOWN
        try:
            site_id, site_name, domain, origin, choices = json.loads(value)
            return Route(
                int(site_id),
                str(site_name),
                str(domain),
                parse_origin(origin),
                SiteChoices.read(*choices),
            )
        except (ValueError, TypeError):
            self._log.warn("the shared cache has an unreadable route for {host}", host=host)
            return UNKNOWN

    async def _share(self, route: Route, key: str) -> None:
        value = json.dumps(
            [
                route.site_id,
                route.site_name,
                route.domain,
                str(route.origin),
                astuple(route.choices),
            ]
        )
        with suppress(StoreUnavailable):  # then the next process asks the registry itself
            await self._cache.set(key, value.encode(), CACHE_LIFE_SECONDS)
