"""The part that looks whether the sites' zones are delegated to us, when each is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.lookups.together import attempt_all
from watchducks.model.cutover import (
    UNCLAIMED,
    CutoverRules,
    Farewell,
    Look,
    SiteCutover,
    farewell,
    forgotten_at,
)
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable

# An owner who clicks sees the answer within this and the look itself.
INTERVAL_SECONDS: Final = 3.0
# Looks at a time; each asks about six questions one after another, of the 64 that the client has
# sockets for. At 0.2 s a look 100,000 sites need six of these seconds an hour each.
AT_ONCE: Final = 8
# Taken from the registry at a time: they are through, at 40 s for the slowest, before the lease of
# two minutes that the registry gives.
MAX_TAKEN: Final = 2 * AT_ONCE
# Sites that an earlier version registered beside us, or before us, are taken in now and then.
ADOPT_SECONDS: Final = 600.0
ADOPTED_AT_ONCE: Final = 500


class CutoverStore(Protocol):
    """Where it is kept how far sites are: :class:`watchducks.registry.registry.Registry`, which
    says more. Every method may raise StoreUnavailable."""

    async def take_due_cutovers(self, limit: int) -> list[SiteCutover]:
        """Return sites to look at now, that nobody else looks at."""

    async def keep_look(self, site_id: int, look: Look, own: Collection[str]) -> Site | None:
        """Take over what was seen."""

    async def cutover(self, site_id: int) -> SiteCutover | None:
        """Return how far a site is."""

    async def keep_warned(self, site_id: int) -> None:
        """Keep that its owner was told that it will be forgotten."""

    async def forget(self, site_id: int) -> bool:
        """Remove it if it is time; whether it was."""

    async def adopt_cutovers(self, limit: int) -> bool:
        """Take in sites of earlier versions; whether there may be more."""


class Looks(Protocol):
    """Looks at zones: :class:`watchducks.lookups.delegation.Delegations`."""

    async def look(self, zone: str, proof: str | None) -> Look:
        """Return what is seen of a zone. Never raises for what it finds."""


class Warns(Protocol):
    """Tells owners."""

    async def __call__(self, site: Site, forgotten: float) -> None:
        """Tell the owner of ``site`` when it will be forgotten (POSIX seconds).

        :raises StoreUnavailable: he cannot be told now.
        """


class CutoverFollower:
    """Several hosts may have this part: the registry gives each site to one at a time.

    :param own: the names of our name servers.
    :param told: called with each site whose name servers made it another state.
    """

    _log = Logger()

    def __init__(
        self,
        store: CutoverStore,
        looks: Looks,
        own: Collection[str],
        *,
        warn: Warns,
        told: Callable[[Site], None] = lambda _site: None,
        rules: CutoverRules,
        clock: IReactorTime,
    ) -> None:
        self._warn = warn
        self._told = told
        self._rules = rules
        self._clock = clock
        self._store = store
        self._looks = looks
        self._own = own
        self._turns = Repeating(
            self._turn, INTERVAL_SECONDS, clock=clock, log=self._log, name="looking at delegations"
        )
        self._adoptions = Repeating(
            self._adopt, ADOPT_SECONDS, clock=clock, log=self._log, name="taking in earlier sites"
        )

    async def start(self) -> None:
        """Begin with the sites that are due."""
        self._adoptions.start()
        self._turns.start()

    async def stop(self) -> None:
        """Break off the looks under way; they are made after their leases."""
        await self._turns.stop()
        await self._adoptions.stop()

    async def _adopt(self) -> None:
        try:
            while await self._store.adopt_cutovers(ADOPTED_AT_ONCE):
                pass
        except StoreUnavailable:  # the feed of the registry says so already
            return

    async def _turn(self) -> None:
        try:
            while batch := await self._store.take_due_cutovers(MAX_TAKEN):
                waiting = deque(batch)
                await attempt_all([self._look_at_all(waiting) for _ in range(AT_ONCE)])
        except StoreUnavailable:  # the feed of the registry says so already
            return

    async def _look_at_all(self, waiting: deque[SiteCutover]) -> None:
        while waiting:
            found = waiting.popleft()
            before = found.site
            proof = found.proof if found.rivals and not found.progress.proven else None
            look = await self._looks.look(before.zone, proof)
            after = await self._store.keep_look(before.id, look, self._own)
            if after is not None and after.state is not before.state:
                self._log.info(
                    "{zone} was {before} and is {after}",
                    zone=after.zone,
                    before=before.state.value,
                    after=after.state.value,
                )
                self._told(after)
            if after is not None and after.state in UNCLAIMED:
                await self._part_from(after.id)

    async def _part_from(self, site_id: int) -> None:
        """Tell the owner of a site that nobody delegates, and forget it later."""
        found = await self._store.cutover(site_id)
        if found is None:
            return
        now = int(self._clock.seconds())
        match farewell(found.site, found.progress, self._rules, now):
            case Farewell.WARN:
                told = replace(found.progress, warned=now)
                try:
                    await self._warn(found.site, forgotten_at(found.site, told))
                except StoreUnavailable as error:
                    zone = found.site.zone
                    self._log.warn("{zone}: no mail: {error}", zone=zone, error=str(error))
                    return
                await self._store.keep_warned(site_id)
            case Farewell.FORGET:
                if await self._store.forget(site_id):
                    self._log.info("{zone} is forgotten", zone=found.site.zone)
            case Farewell.NOTHING:
                pass
