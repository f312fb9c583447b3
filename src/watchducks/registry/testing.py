"""A registry for the tests of those who follow one: in memory, and able to misbehave."""

from __future__ import annotations

from watchducks.model.changes import Changes, Head
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable


class FakeRegistry:
    """What :class:`~watchducks.registry.feed.SiteFeed` needs of a registry.

    :ivar away: while true, every call raises StoreUnavailable.
    :ivar calls_left: that many calls are answered before it goes away; None: no end.
    :ivar page_changes: how many changes a page has.
    """

    def __init__(self, lineage: str = "first", *, page_changes: int = 2) -> None:
        self.away = False
        self.calls_left: int | None = None
        self.page_changes = page_changes
        self._lineage = lineage
        self._revision = 0
        # zone -> (revision, the site, or None for one that was removed)
        self._zones: dict[str, tuple[int, Site | None]] = {}

    @property
    def sites(self) -> dict[str, Site]:
        """The sites that are registered, by zone."""
        return {zone: site for zone, (_, site) in self._zones.items() if site is not None}

    def put(self, site: Site) -> None:
        """Register a site, or change it."""
        self._revision += 1
        self._zones[site.zone] = (self._revision, site)

    def remove(self, zone: str) -> None:
        """Remove the site with this zone."""
        self._revision += 1
        self._zones[zone] = (self._revision, None)

    def backup(self) -> tuple[str, int, dict[str, tuple[int, Site | None]]]:
        """Return everything, for :meth:`restore`."""
        return self._lineage, self._revision, dict(self._zones)

    def restore(self, backup: tuple[str, int, dict[str, tuple[int, Site | None]]]) -> None:
        """Be what another registry, or this one at another time, was."""
        self._lineage, self._revision = backup[:2]
        self._zones = dict(backup[2])

    async def head(self) -> Head:
        """See :meth:`watchducks.registry.registry.Registry.head`."""
        self._answer()
        return Head(self._lineage, self._revision)

    async def changes_since(self, revision: int) -> Changes:
        """See :meth:`watchducks.registry.registry.Registry.changes_since`."""
        self._answer()
        later = sorted(
            (changed, zone, site)
            for zone, (changed, site) in self._zones.items()
            if changed > revision
        )
        page, more = later[: self.page_changes], len(later) > self.page_changes
        return Changes(
            revision=page[-1][0] if more else self._revision,
            sites=tuple(site for _, _, site in page if site is not None),
            removed=tuple(zone for _, zone, site in page if site is None),
            more=more,
        )

    def _answer(self) -> None:
        if self.calls_left is not None:
            if self.calls_left == 0:
                self.away = True
            else:
                self.calls_left -= 1
        if self.away:
            raise StoreUnavailable("cannot use the registry: it is away")
