"""Zones: what is derived from the registered sites, and found again by the name asked for."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from twisted.logger import Logger
from twisted.names import dns

from watchducks.model.challenges import DNS_LABEL
from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.model.origins import Address
from watchducks.model.signing import UNSIGNED, Signing
from watchducks.model.sites import Site
from watchducks.model.zones import DEFAULT_CONTENTS
from watchducks.nameserver.nodes import (
    DS,
    EMPTY,
    Derived,
    Node,
    Nodes,
    build_nodes,
    default_nodes,
)
from watchducks.nameserver.published import publish
from watchducks.nameserver.records import (
    RRset,
    is_below,
    mailbox_name,
    suffix_offsets,
    wire_name,
)

# SOA timers. A secondary is told of each change (NOTIFY); what it misses, after a restart of ours
# perhaps, it finds within a quarter of an hour, so that no failover lasts longer there. It gives up
# after RIPE-203's 1,000 hours.
SOA_REFRESH_SECONDS: Final = 900
SOA_RETRY_SECONDS: Final = 300
SOA_EXPIRE_SECONDS: Final = 3_600_000
# For NS, SOA and our own servers' addresses. An hour: they change with a move of a server, which
# is announced days ahead, and an owner who leaves us is not held for longer.
INFRASTRUCTURE_TTL_SECONDS: Final = 3_600
# Never kept by a resolver (RFC 1035 section 3.2.1): the next challenge for the same name is another
# one, maybe within a second, as when a site joins a bundle.
CHALLENGE_TTL_SECONDS: Final = 0
# What an answer made of an ALIAS says. The same each time, for each change of an answer makes the
# name server forget those it has at hand; short, because it comes on top of the time for which the
# addresses are held to before they are looked up again.
ALIAS_TTL_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone we answer for.

    :ivar apex: its wire name.
    :ivar revision: the registry's revision in which it last changed; 0 for our own hosts.
    :ivar origin: where visitors go while no proxy is healthy; None: nobody knows (yet).
    :ivar nodes: its records. Most zones hold the same ones and share one mapping.
    :ivar signing: how it is signed; up to its ``due``, when the zone is built anew.
    :ivar direct: visitors go to the origin, however well the proxies are.
    :ivar others: the further addresses of an origin that is a host name.
    """

    apex: bytes
    revision: int
    origin: Address | None
    nodes: Nodes
    signing: Signing = UNSIGNED
    direct: bool = False
    others: tuple[Address, ...] = ()


class ZoneTable:
    """The zones of the registered sites and the hosts of our own name servers.

    Lives on the reactor's thread; :meth:`apply` is what a ``SiteFeed`` calls.

    :ivar revision: grows with each change here, so that a cache of answers knows when to forget.
    :ivar ttl: seconds for A and AAAA of proxied names, and for negative answers.
    """

    _log = Logger()

    def __init__(
        self,
        names: Sequence[str],
        addresses: Sequence[Address],
        *,
        ttl: int,
        sender: str,
        now: Callable[[], float] = time.time,
        rules: CutoverRules | None = None,
    ) -> None:
        """
        :param names: the name servers' host names, at least one; the first is every SOA's MNAME.
        :param addresses: their addresses, see :func:`host_addresses`; may be empty.
        :param ttl: seconds for A and AAAA of proxied names, and for negative answers.
        :param sender: the mail address whose mailbox the SOA names.
        :param now: gives POSIX seconds, for the phases of the zones' keys.
        :param rules: what a site's state means for the answers.
        :raises ValueError: no name, or one that is not a name.
        """
        if not names:
            raise ValueError("a name server needs a name")
        self.ttl = ttl
        self.revision = 0
        self._now = now
        self._rules = rules or CutoverRules()
        servers = [wire_name(name) for name in names]
        self._mailboxes = servers[0] + mailbox_name(sender)
        self._ns = RRset(dns.NS, INFRASTRUCTURE_TTL_SECONDS, tuple(dict.fromkeys(servers)))
        self._hosts = {
            server: _addresses_node(found, INFRASTRUCTURE_TTL_SECONDS)
            for server, found in host_addresses(servers, addresses).items()
        }
        self._apex: Node = {
            dns.SOA: Derived.START_OF_AUTHORITY,
            dns.NS: self._ns,
        }
        self._default_nodes = default_nodes(self._apex)
        # A zone is built of its site when it is first asked for: taking over 100,000 sites then
        # holds the reactor for a moment only, and what nobody asks for costs next to nothing.
        self._zones: dict[bytes, Site | Zone] = {}
        # Zones that are nobody's, as far as the registry has seen. They are answered for, because
        # registries of domains look before they delegate, but they stand before no other zone and
        # are a cut of none: else anybody could take names out of somebody's zone.
        self._unclaimed: dict[bytes, Site | Zone] = {}
        # The registered zones somewhere below a name, by that name: so that a parent of ours knows
        # its cuts. Names of one label are left out, for nobody can register them.
        self._below: dict[bytes, set[bytes]] = {}
        self._aliases: dict[bytes, Node] = {}
        self._challenges: dict[bytes, RRset] = {}
        self._moves: dict[bytes, int] = {}
        self._drills: dict[bytes, Site] = {}
        # Each of our own hosts is also a zone of its own: we can vouch for that name and for
        # nothing beside it. A registered zone around it takes the host in instead.
        self._host_zones: dict[bytes, Site | Zone] = {
            server: Zone(server, 0, None, Nodes({b"": {**self._apex, **node}}, {}))
            for server, node in self._hosts.items()
        }

    def __len__(self) -> int:
        return len(self._zones)

    def apply(self, changes: Changes) -> None:
        """Take over what changed. A site whose zone is not a name is logged and left out."""
        for removed in changes.removed:
            self._remove(removed)
        for site in changes.sites:
            try:
                apex = wire_name(site.zone)
            except ValueError as error:  # one bad row must not stop the zones behind it
                self._log.error(
                    "zone {zone} is left out: {error}", zone=site.zone, error=str(error)
                )
                continue
            if not self._rules.claims(site.state):
                self._remove(site.zone)
                self._unclaimed[apex] = site
                continue
            self._unclaimed.pop(apex, None)
            self._drills.pop(apex, None)
            if site.drill_until > self._now():
                self._drills[apex] = site
            if apex not in self._zones:
                for above in _names_above(apex):
                    self._below.setdefault(above, set()).add(apex)
            self._zones[apex] = site
        if changes.sites or changes.removed:
            self.revision += 1

    def _remove(self, zone: str) -> None:
        try:
            apex = wire_name(zone)
        except ValueError:
            return  # it was never taken in
        self._unclaimed.pop(apex, None)
        self._drills.pop(apex, None)
        if self._zones.pop(apex, None) is None:
            return
        for above in _names_above(apex):
            below = self._below[above]
            below.discard(apex)
            if not below:
                del self._below[above]

    def find(self, name: bytes) -> tuple[Zone, bytes] | None:
        """Return the closest zone around ``name`` (lower-case wire name) and the relative name.

        One dictionary look-up a label; None outside our zones.

        :raises ValueError: the zone's contents cannot be read.
        """
        for zones in (self._zones, self._host_zones, self._unclaimed):
            offset = 0
            while True:
                zone = zones.get(name[offset:])
                if zone is not None:
                    if not isinstance(zone, Zone):
                        zone = zones[name[offset:]] = self._built(name[offset:], zone)
                    if zone.signing.due and zone.signing.due <= self._now():
                        zone = zones[name[offset:]] = self._signed(zone, zone.signing)
                    return zone, name[:offset]
                if not name[offset]:
                    break
                offset += 1 + name[offset]
        return None

    def find_parent(self, name: bytes) -> tuple[Zone, bytes] | None:
        """Return as :meth:`find` does, but where ``name`` is an apex, the zone above if we have it.

        For questions about DS, whose records are on the parent's side of a cut (RFC 4035 section
        3.1.4.1).
        """
        found = self.find(name)
        if found is None or found[1] or not name[0]:
            return found
        above = self.find(name[1 + name[0] :])
        if above is None:
            return found
        return above[0], name[: len(name) - len(above[0].apex)]

    def end_drills(self) -> None:
        """Answer again as ever for sites whose drill is over."""
        now = self._now()
        over = [apex for apex, site in self._drills.items() if site.drill_until <= now]
        for apex in over:
            self._zones[apex] = self._drills.pop(apex)  # built anew when it is asked for
        if over:
            self.revision += 1

    def answer_challenges(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Answer certificate authorities, who ask for TXT of ``_acme-challenge`` below a name.

        :param texts: the values by name. They replace what was given before, stand beside an
            owner's own TXT there, and hide a CNAME or a cut of his.
        """
        challenges: dict[bytes, RRset] = {}
        for name, values in texts.items():
            rdatas = tuple(bytes((len(value),)) + value.encode("ascii") for value in values)
            try:
                owner = wire_name(f"{DNS_LABEL}.{name}")
            except ValueError:  # a name of 253 characters leaves no room for the label
                continue
            challenges[owner] = RRset(dns.TXT, CHALLENGE_TTL_SECONDS, rdatas)
        if challenges != self._challenges:
            self._challenges = challenges
            self.revision += 1

    def node(self, zone: Zone, relative: bytes) -> Node | None:
        """Return the node of a name in ``zone``, or None if there is no such name."""
        node = self._lasting_node(zone, relative)
        challenge = self._challenges.get(relative + zone.apex) if self._challenges else None
        if challenge is None:
            return node
        held = EMPTY if node is None else node
        own = held.get(dns.TXT)
        if isinstance(own, RRset):
            challenge = challenge._replace(rdatas=challenge.rdatas + own.rdatas)
        kept = {type_: held[type_] for type_ in held if type_ not in (dns.CNAME, dns.NS, DS)}
        return {**kept, dns.TXT: challenge}

    def _lasting_node(self, zone: Zone, relative: bytes) -> Node | None:
        """Return a node without what is answered only while an authority looks.

        A registered zone within another is a cut of the outer one, whoever wrote that down: so the
        outer one must not say that the names on the way to it do not exist.
        """
        owners = zone.nodes.owners
        node = owners.get(relative)
        if not relative or zone.apex not in self._below:
            return node
        name = relative + zone.apex
        if name not in self._below and name not in self._zones:
            return node
        offset = 1 + relative[0]
        while offset < len(relative):
            if dns.NS in owners.get(relative[offset:], EMPTY):
                return None  # below a cut to somebody else's servers
            offset += 1 + relative[offset]
        if name in self._zones:
            signer = EMPTY if node is None else node
            return {dns.NS: self._ns} | ({DS: signer[DS]} if DS in signer else {})
        return EMPTY if node is None else node

    def apexes(self) -> tuple[bytes, ...]:
        """Return the apex of every registered zone."""
        return tuple(self._zones)

    def owners(self, zone: Zone) -> Iterator[tuple[bytes, Node]]:
        """Yield every name of ``zone`` with its records, and the glue: what a secondary gets."""
        cuts = {below[: len(below) - len(zone.apex)] for below in self._below.get(zone.apex, ())}
        for relative in (*zone.nodes.owners, *(cuts - zone.nodes.owners.keys())):
            inside = relative + b"\0"
            if cuts.isdisjoint(relative[offset:] for offset in suffix_offsets(inside) if offset):
                node = self.node(zone, relative)
                if node is not None:
                    yield relative, node
        yield from zone.nodes.glue.items()

    def _built(self, apex: bytes, site: Site) -> Zone:
        hosts = {
            server[: len(server) - len(apex)]: node
            for server, node in self._hosts.items()
            if is_below(server, apex)
        }
        if hosts or site.contents != DEFAULT_CONTENTS:
            nodes = build_nodes(site.contents, self._apex, hosts)
        else:
            nodes = self._default_nodes
        drilled = site.drill_until > self._now()
        direct = self._rules.leads_to_origin(site.state) or drilled or site.suspended
        origin = site.origin
        zone = Zone(apex, site.revision, origin.address, nodes, direct=direct, others=origin.others)
        return zone if site.signing is UNSIGNED else self._signed(zone, site.signing)

    def _signed(self, zone: Zone, signing: Signing) -> Zone:
        now = signing.at(self._now())
        return replace(zone, nodes=publish(zone.nodes, zone.apex, now), signing=now)

    def learn(self, target: bytes, addresses: Collection[Address]) -> None:
        """Answer those who are an ALIAS of ``target`` with ``addresses``.

        :param target: a lower-case wire name.
        """
        node = _addresses_node(addresses, ALIAS_TTL_SECONDS)
        if self._aliases.get(target) != node:
            self._aliases[target] = node
            self.revision += 1

    def forget(self, target: bytes) -> None:
        """Undo :meth:`learn`."""
        if self._aliases.pop(target, None) is not None:
            self.revision += 1

    def alias(self, target: bytes) -> Node | None:
        """Return the A and AAAA of the other name ``target``; None: not known yet."""
        return self._aliases.get(target)

    def moved(self, zone: str, times: int) -> None:
        """Take over how often the answers of ``zone`` changed because the addresses of a host name
        did (:class:`watchducks.lookups.names.HostNames`); never less than before."""
        try:
            self._moves[wire_name(zone)] = times
        except ValueError:
            return  # it was never taken in
        self.revision += 1

    def start_of_authority(self, zone: Zone, verdict_serial: int) -> RRset:
        """Return the SOA of ``zone``.

        The serial is the sum of numbers that never shrink, so it grows with each change: of the
        site, of a verdict, of addresses (RFC 1982 arithmetic covers the wrap). The minimum is the
        TTL of proxied names: an "AAAA: none" must be forgotten as fast as an address when a
        failover changes it.
        """
        numbers = struct.pack(
            "!5L",
            (zone.revision + verdict_serial + self._moves.get(zone.apex, 0)) & 0xFFFFFFFF,
            SOA_REFRESH_SECONDS,
            SOA_RETRY_SECONDS,
            SOA_EXPIRE_SECONDS,
            self.ttl,
        )
        return RRset(dns.SOA, INFRASTRUCTURE_TTL_SECONDS, (self._mailboxes + numbers,))


def _addresses_node(addresses: Collection[Address], ttl: int) -> dict[int, RRset]:
    return {
        type_: RRset(type_, ttl, packed)
        for type_, version in ((dns.A, 4), (dns.AAAA, 6))
        if (packed := tuple(item.packed for item in addresses if item.version == version))
    }


def _names_above(apex: bytes) -> list[bytes]:
    """Return the names above ``apex`` that have two labels or more."""
    offsets = list(suffix_offsets(apex))
    return [apex[offset:] for offset in offsets[1:-2]]


def host_addresses(
    servers: Sequence[bytes], addresses: Sequence[Address]
) -> dict[bytes, list[Address]]:
    """Deal ``addresses`` out to ``servers``: in each family the first to the first, and so on.

    So two names with two IPv4 and two IPv6 addresses get one of each. A server left without any
    gets the first address: one machine may carry every name.
    """
    dealt: dict[bytes, list[Address]] = {server: [] for server in servers}
    for version in (4, 6):
        family = [address for address in addresses if address.version == version]
        for index, address in enumerate(family):
            hand = dealt[servers[index % len(servers)]]
            if address not in hand:
                hand.append(address)
    for hand in dealt.values():
        if not hand:
            hand.extend(addresses[:1])
    return dealt
