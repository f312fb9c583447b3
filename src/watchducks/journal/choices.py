"""What owners want kept of their visitors, as the shipper needs to know it."""

from __future__ import annotations

from watchducks.model.changes import Changes
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices


class OwnersChoices:
    """The choices of all sites, by their numbers. Follow the registry's feed with :meth:`apply`.

    Written on the reactor's thread and read in the shipper's: each look is one look-up.
    """

    def __init__(self) -> None:
        self._chosen: dict[int, SiteChoices] = {}
        self._ids: dict[str, int] = {}  # of those that are there

    def apply(self, changes: Changes) -> None:
        """Take over changes of the registry."""
        for zone in changes.removed:
            self._forget(zone)
        for site in changes.sites:
            self._forget(site.zone)
            if site.choices != DEFAULT_CHOICES:
                self._chosen[site.id] = site.choices
                self._ids[site.zone] = site.id

    def of(self, site_id: int) -> SiteChoices:
        """Return what a site's owner chose; the default for a site that nobody knows (any more)."""
        return self._chosen.get(site_id, DEFAULT_CHOICES)

    def _forget(self, zone: str) -> None:
        site_id = self._ids.pop(zone, None)
        if site_id is not None:
            self._chosen.pop(site_id, None)
