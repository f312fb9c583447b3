"""What a follower of the registry knows, and what it has to ask for next. Pure.

The rules:

* The registry is where we are: nothing to do.
* It is ahead: ask for the changes since our revision, page by page.
* It is behind us (restored from a backup), or has another lineage (a new database): take everything
  again from revision 0, and when all has come, forget the zones that did not come with it. Until
  then they are served as before. If that is broken off, it goes on where it was.
"""

from __future__ import annotations

from watchducks.model.changes import Changes, Head
from watchducks.model.sites import Site


class KnownSites:
    """The sites known here, by zone, and how far they are known.

    :ivar lineage: of the registry they came from; empty: none yet.
    :ivar revision: of that registry, up to which its changes were taken.
    """

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.lineage = ""
        self.revision = 0
        # The zones that came since a reload began; None while no reload is under way.
        self._seen: set[str] | None = None

    @property
    def complete(self) -> bool:
        """False while a reload is under way, when some zones may be there no longer."""
        return self._seen is None

    def restore(self, lineage: str, revision: int, sites: list[Site]) -> None:
        """Begin with what was known at an earlier time."""
        self.lineage, self.revision = lineage, revision
        self.sites = {site.zone: site for site in sites}

    def next_from(self, head: Head) -> int | None:
        """Return the revision to ask for changes from, or None if there is nothing to ask."""
        if head.lineage != self.lineage or head.revision < self.revision:
            self.lineage, self.revision, self._seen = head.lineage, 0, set()
        elif head.revision == self.revision and self.complete:
            return None
        return self.revision

    def take(self, changes: Changes) -> Changes:
        """Take over a page of changes; returns what followers have to apply."""
        removed = list(changes.removed)
        for zone in changes.removed:
            self.sites.pop(zone, None)
        for site in changes.sites:
            self.sites[site.zone] = site
        self.revision = changes.revision
        if self._seen is not None:
            self._seen.update(site.zone for site in changes.sites)
            if not changes.more:
                vanished = self.sites.keys() - self._seen
                for zone in vanished:
                    del self.sites[zone]
                removed.extend(sorted(vanished))
                self._seen = None
        return Changes(changes.revision, changes.sites, tuple(removed), changes.more)
