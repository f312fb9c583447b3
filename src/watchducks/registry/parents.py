"""The part that sees what a zone's parent did, so that its owner need not say it.

A rollover waits until the parent has the new key's DS, and the way out until it has none. This
looks now and then; what it has seen twice is confirmed as ``watchducks site confirm-ds`` would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.model.changes import Changes
from watchducks.model.problems import InvalidFields
from watchducks.model.signing import Phase, Signing, apex_name
from watchducks.model.sites import Site
from watchducks.registry.keys import KeyStep
from watchducks.registry.statements import SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable

# A parent publishes what it was given within hours at best; the wait that follows takes days.
LOOK_SECONDS: Final = 600.0

# In the first, the time for the second may come.
_MAY_WAIT: Final = frozenset({Phase.PUBLISHING, Phase.REPLACING, Phase.WITHDRAWING})


class Parents(Protocol):
    """Asks parents: :class:`watchducks.lookups.parents.Parents`."""

    async def ds_of(self, zone: str) -> Sequence[str] | None:
        """Return the parent's DS records as zone files write them; None: it cannot be asked."""


class Keys(Protocol):
    """Steps of keys: :class:`watchducks.registry.registry.Registry`."""

    async def step_keys(self, name: str, step: KeyStep) -> Site:
        """Take one step of the keys of a site's zone."""


class ParentWatch:
    """Follow the registry's feed with :meth:`apply`.

    What is seen once only is not believed: one of the parent's servers is asked, another may be
    behind, and an answer may be forged. Each look uses a port and an id of its own.

    :param clock: its seconds are POSIX seconds.
    """

    _log = Logger()

    def __init__(
        self,
        keys: Keys,
        parents: Parents,
        *,
        clock: IReactorTime,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._keys = keys
        self._parents = parents
        self._clock = clock
        self._sites: dict[str, Site] = {}
        # What the parent was found to have done at the last look, by zone.
        self._seen: dict[str, Signing] = {}
        self._looks = Repeating(
            self._look, look_seconds, clock=clock, log=self._log, name="looking at parents' DS"
        )

    def apply(self, changes: Changes) -> None:
        """Take over the sites whose parent has to act."""
        for zone in changes.removed:
            self._sites.pop(zone, None)
        for site in changes.sites:
            if site.signing.phase in _MAY_WAIT:
                self._sites[site.zone] = site
            else:
                self._sites.pop(site.zone, None)

    async def start(self) -> None:
        """Begin to look."""
        self._looks.start()

    async def stop(self) -> None:
        """Break off."""
        await self._looks.stop()

    async def _look(self) -> None:
        seen, self._seen = self._seen, {}
        for site in list(self._sites.values()):
            signing = site.signing.at(self._clock.seconds())
            if not signing.waits_for_parent:
                continue
            found = await self._parents.ds_of(site.zone)
            if found is None or not signing.fulfilled(apex_name(site.zone), found):
                continue
            if seen.get(site.zone) == signing:
                await self._confirm(site)
            else:
                self._seen[site.zone] = signing

    async def _confirm(self, site: Site) -> None:
        try:
            await self._keys.step_keys(site.name, KeyStep.CONFIRM)
        except (InvalidFields, SiteNotFound):
            return  # its owner was faster
        except StoreUnavailable as error:
            self._log.warn(
                "the DS of {zone} is as wanted, but that cannot be kept: {error}",
                zone=site.zone,
                error=str(error),
            )
            return
        self._log.info("the parent of {zone} has done its part", zone=site.zone)
