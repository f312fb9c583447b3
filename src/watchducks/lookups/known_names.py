"""What is known of the host names that sites need, and who is told when it changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final, Protocol

from twisted.logger import Logger

from watchducks.lookups.found import owner_of_host
from watchducks.lookups.remembered import Known, Remembered
from watchducks.model.changes import Apply, Changes
from watchducks.model.origins import Address, Origin
from watchducks.model.sites import Site
from watchducks.model.zones import ALIAS, DEFAULT_CONTENTS

# Zones whose serials are remembered after they have left: one that comes back must not begin below
# what its secondaries have. Some 10 MB; beyond, the oldest is forgotten.
MAX_REMEMBERED_ZONES: Final = 100_000


class Answering(Protocol):
    """Whoever answers with what was found: :class:`watchducks.nameserver.zones.ZoneTable`."""

    def learn(self, target: bytes, addresses: Collection[Address]) -> None:
        """Answer those who are an ALIAS of ``target`` (a wire name) with ``addresses``."""

    def forget(self, target: bytes) -> None:
        """Undo :meth:`learn`."""

    def moved(self, zone: str, times: int) -> None:
        """Count in the zone's serial that its answers changed ``times`` times by this."""


class KnownNames:
    """Stands between the registry's feed and those who need addresses (:meth:`resolving`).

    An edge has one that is :meth:`told` what its keeper found; a process that looks up itself has
    a :class:`~watchducks.lookups.names.HostNames`.
    """

    def __init__(self) -> None:
        self._log = Logger()
        self._revision = 0
        # The sites that need a name, by zone; what each needs, and who needs it.
        self._sites: dict[str, Site] = {}
        self._targets: dict[str, frozenset[bytes]] = {}
        self._users: dict[bytes, set[str]] = {}
        self._known: dict[bytes, Known] = {}
        self._moves: dict[str, int] = {}
        self._answering: list[Answering] = []
        self._followers: list[Apply] = []

    def apply(self, changes: Changes) -> None:
        """Follow the names that the changed sites need; what a ``SiteFeed`` calls first."""
        self._revision = changes.revision
        for zone in changes.removed:
            self._use(zone, None)
        for site in changes.sites:
            self._use(site.zone, site)

    def resolving(self, apply: Apply) -> Apply:
        """Return what is to follow the feed for ``apply``, behind :meth:`apply`."""

        def resolved(changes: Changes) -> None:
            apply(replace(changes, sites=tuple(map(self._resolved, changes.sites))))

        self._followers.append(apply)
        return resolved

    def resolved(self, origin: Origin) -> Origin:
        """Return ``origin`` with the addresses of its name, if it has one, as far as known."""
        if not origin.name:
            return origin
        known = self._known.get(_wire(origin.name))
        return origin if known is None else origin.at(known.usable)

    def tell(self, answering: Answering) -> None:
        """Let ``answering`` know what is known, and all that changes."""
        self._answering.append(answering)
        for target in self._users:
            if target in self._known:
                answering.learn(target, self._known[target].found)
        for zone, times in self._moves.items():
            answering.moved(zone, times)

    def told(self, remembered: Remembered) -> None:
        """Take over what another process knows, in place of what was known here."""
        before, self._known = self._known, dict(remembered.names)
        changed = [
            target
            for target in self._users
            if target in self._known and self._known[target] != before.get(target)
        ]
        for zone, times in remembered.moves.items():
            if self._moves.get(zone) != times:
                self._moved(zone, times)
        self._tell_of(changed)

    def remembered(self) -> Remembered:
        """Return what is known of the names that are needed, and the zones' counts."""
        used = {target: self._known[target] for target in self._users if target in self._known}
        return Remembered(used, dict(self._moves))

    def _moved(self, zone: str, times: int) -> None:
        self._moves.pop(zone, None)  # the one that changed last is the last
        self._moves[zone] = times
        if len(self._moves) > MAX_REMEMBERED_ZONES:
            del self._moves[next(iter(self._moves))]
        for answering in self._answering:
            answering.moved(zone, times)

    def _tell_of(self, targets: Collection[bytes]) -> None:
        """Tell everyone of new addresses of ``targets``, which are needed."""
        for target in targets:
            for answering in self._answering:
                answering.learn(target, self._known[target].found)
        zones = sorted(set().union(*(self._users[target] for target in targets)))
        if not zones:
            return
        sites = tuple(self._resolved(self._sites[zone]) for zone in zones)
        for apply in self._followers:
            try:
                apply(Changes(self._revision, sites, (), more=False))
            except Exception:  # the others must hear of it all the same
                self._log.failure("a follower failed at new addresses of host names")

    def _resolved(self, site: Site) -> Site:
        return replace(site, origin=self.resolved(site.origin)) if site.origin.name else site

    def _use(self, zone: str, site: Site | None) -> None:
        before = self._targets.pop(zone, frozenset())
        targets = frozenset() if site is None else _targets(site)
        self._sites.pop(zone, None)
        if site is not None and targets:
            self._sites[zone] = site
            self._targets[zone] = targets
        for target in targets - before:
            users = self._users.setdefault(target, set())
            users.add(zone)
            if len(users) == 1:
                self._begin(target)
        for target in before - targets:
            self._users[target].discard(zone)
            if not self._users[target]:
                del self._users[target]
                self._end(target)

    def _begin(self, target: bytes) -> None:
        """Somebody needs ``target`` by now."""
        if target in self._known:
            for answering in self._answering:
                answering.learn(target, self._known[target].found)

    def _end(self, target: bytes) -> None:
        """Nobody needs ``target`` any more."""
        for answering in self._answering:
            answering.forget(target)


def _targets(site: Site) -> frozenset[bytes]:
    """Return the wire names whose addresses a site needs."""
    aliases: Iterable[bytes] = ()
    if site.contents is not DEFAULT_CONTENTS:
        aliases = (record.rdata for record in site.contents.records if record.type == ALIAS)
    named = (_wire(site.origin.name),) if site.origin.name else ()
    return frozenset((*aliases, *named))


def _wire(name: str) -> bytes:
    return owner_of_host(name) + b"\0"
