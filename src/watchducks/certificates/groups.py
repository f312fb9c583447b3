"""Which sites share a certificate: by their numbers, so that a site stays where it is whoever comes
and goes. Pure.

A site whose names could not all be validated is on its own until they are, and then goes back: its
retries order nothing for the others, and the others wait for none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.model.sites import Site, SiteState

# Let's Encrypt's, and everybody's.
MAX_NAMES: Final = 100


class Groups:
    """The sites that certificates are for.

    :param per_certificate: sites of one certificate; with 1, a bundle is called by its zone.
    """

    def __init__(self, per_certificate: int, rules: CutoverRules) -> None:
        self._per_certificate = per_certificate
        self._rules = rules
        self._sites: dict[str, Site] = {}
        self._members: dict[int, dict[str, Site]] = {}
        self._zones: dict[str, str] = {}

    def apply(self, changes: Changes) -> set[int]:
        """Take over which sites there are; returns the groups that may look different now."""
        touched: set[int] = set()
        for zone in changes.removed:
            self._forget(zone, touched)
        for site in changes.sites:
            self._forget(site.zone, touched)
            self._sites[site.zone] = site
            self._zones |= dict.fromkeys(site.hosts, site.zone)
            group = self.group_of(site)
            self._members.setdefault(group, {})[site.zone] = site
            touched.add(group)
        return touched

    def _forget(self, zone: str, touched: set[int]) -> None:
        site = self._sites.pop(zone, None)
        if site is None:
            return
        for host in site.hosts:
            if self._zones.get(host) == zone:
                del self._zones[host]
        group = self.group_of(site)
        self._members[group].pop(zone)
        if not self._members[group]:
            del self._members[group]
        touched.add(group)

    def group_of(self, site: Site) -> int:
        """Return the group of a site."""
        return site.id // self._per_certificate

    def all(self) -> Iterable[int]:
        """Return every group with a site in it."""
        return self._members.keys()

    def of_names(self, names: Iterable[str]) -> set[int]:
        """Return the groups of the sites that have any of these hosts."""
        return {self.group_of(site) for site in self.sites_of(names)}

    def has(self, zone: str) -> bool:
        """Return whether there is a site with this zone."""
        return zone in self._sites

    def of_zone(self, zone: str) -> int | None:
        """Return the group of the site with this zone; None: there is none."""
        site = self._sites.get(zone)
        return None if site is None else self.group_of(site)

    def zones(self, group: int) -> Iterable[str]:
        """Return the zones of a group's sites."""
        return self._members.get(group, {}).keys()

    def zone_of(self, host: str) -> str | None:
        """Return the zone of the site whose host this is; None: it is nobody's."""
        return self._zones.get(host)

    def sites_of(self, names: Iterable[str]) -> list[Site]:
        """Return the sites that have any of these hosts."""
        zones = dict.fromkeys(self._zones[name] for name in names if name in self._zones)
        return [self._sites[zone] for zone in zones]

    def bundles(
        self, group: int, alone: Collection[str], *, kept: bool = False
    ) -> dict[str, tuple[str, ...]]:
        """Return names by bundle.

        :param alone: the zones of sites that share with nobody now.
        :param kept: also of sites that keep what they have but get nothing new: those that have
            moved away, and those that nobody has shown to be his.
        """
        found: dict[str, tuple[str, ...]] = {}
        for site in sorted(self._members.get(group, {}).values(), key=lambda site: site.id):
            names = site.hosts[:MAX_NAMES]
            if not names or not (kept or self._is_wanted(site)):
                continue
            bundle = site.zone
            if self._per_certificate > 1 and site.zone not in alone:
                shared = f"bundle.{self._per_certificate}.{group}"
                if len(found.get(shared, ())) + len(names) <= MAX_NAMES:
                    bundle = shared
            found[bundle] = (*found.get(bundle, ()), *names)
        return found

    def _is_wanted(self, site: Site) -> bool:
        return site.state is not SiteState.MOVED and self._rules.claims(site.state)
