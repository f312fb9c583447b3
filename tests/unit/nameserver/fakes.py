"""What the name server's tests start from: sites, verdicts and questions made by hand."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.name
import dns.zone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.model.origins import Address, parse_origin
from watchducks.model.signing import UNSIGNED, Signing
from watchducks.model.sites import Site, SiteState
from watchducks.model.zones import APEX, DEFAULT_CONTENTS, Record, ZoneContents
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.zones import ZoneTable

NAMES = ("ns1.watchducks.example", "ns2.watchducks.example")
ADDRESSES = tuple(map(ipaddress.ip_address, ("203.0.113.53", "203.0.113.54", "2001:db8::53")))
PROXY4, PROXY6 = map(ipaddress.ip_address, ("203.0.113.10", "2001:db8::10"))
SENDER = "watch.ducks@watchducks.example"
TTL = 30


class FixedVerdicts:
    """Verdicts as a test sets them; each setting counts the revision up.

    :ivar broken: the addresses cannot be read, as if there were a bug.
    """

    broken = False
    ttl_limit: int | None = None

    def __init__(self, *healthy: Address, revision: int = 1_000) -> None:
        self.revision = self.serial = revision
        self._healthy = healthy

    def healthy_addresses(self) -> Sequence[Address]:
        if self.broken:
            raise RuntimeError("a bug")
        return self._healthy

    def set(self, *healthy: Address) -> None:
        self._healthy = healthy
        self.revision += 1
        self.serial += 1


def changed(sites: Sequence[Site] = (), removed: Sequence[str] = ()) -> Changes:
    return Changes(revision=1, sites=sites, removed=removed, more=False)


def zone_records(zone: str, text: str) -> tuple[Record, ...]:
    """Read the records of a zone file, relative to ``zone``, as a registry keeps them."""
    apex = dns.name.from_text(zone)
    parsed = dns.zone.from_text(text, origin=apex, relativize=False, check_origin=False)
    return tuple(
        Record(
            b"".join(
                bytes((len(label),)) + label for label in owner.relativize(apex).labels
            ).lower(),
            rdataset.rdtype,
            rdataset.ttl,
            rdata.to_digestable(apex),
        )
        for owner, rdataset in parsed.iterate_rdatasets()
        for rdata in rdataset
    )


def contents(zone: str, text: str, proxied: Sequence[str] = (APEX, "www")) -> ZoneContents:
    """Return what a zone holds whose owner imported the zone file ``text``."""
    return ZoneContents(tuple(proxied), zone_records(zone, text))


def site(
    zone: str,
    origin: str = "198.51.100.7",
    revision: int = 7,
    held: ZoneContents = DEFAULT_CONTENTS,
    signing: Signing = UNSIGNED,
    state: SiteState = SiteState.REGISTERED,
) -> Site:
    return Site(
        id=1,
        name="ducks",
        domain=zone,
        zone=zone,
        origin=parse_origin(origin),
        email="owner@example.com",
        cohort="default",
        state=state,
        revision=revision,
        created=0,
        contents=held,
        signing=signing,
    )


def zone_table(
    *sites: Site,
    names: Sequence[str] = NAMES,
    addresses: Sequence[Address] = ADDRESSES,
    now: Callable[[], float] = time.time,
    rules: CutoverRules | None = None,
) -> ZoneTable:
    table = ZoneTable(names, addresses, ttl=TTL, sender=SENDER, now=now, rules=rules)
    table.apply(changed(sites))
    return table


class Asker:
    """A responder, and dnspython in front of it: every response is parsed by a codec not ours."""

    def __init__(self, zones: ZoneTable, verdicts: FixedVerdicts) -> None:
        self.zones = zones
        self.verdicts = verdicts
        self.responder = Responder(zones, verdicts, clock=Clock())

    def ask(
        self, name: str, type_: str = "A", *, cls: str = "IN", edns: bool = False, udp: bool = True
    ) -> dns.message.Message:
        query = dns.message.make_query(name, type_, cls, use_edns=edns)
        return self.send(query, udp=udp)

    def send(self, query: dns.message.Message, *, udp: bool = True) -> dns.message.Message:
        wire = self.responder.respond(query.to_wire(), datagram=udp)
        assert wire is not None
        response = dns.message.from_wire(wire)
        assert response.id == query.id
        assert response.flags & dns.flags.QR
        return response


def rdatas(section: Sequence[object]) -> list[str]:
    """Return "owner TTL IN TYPE data" for each record of a section."""
    return sorted(line for rrset in section for line in str(rrset).splitlines())


def connect(protocol: Protocol, transport: StringTransport) -> None:
    """Begin a connection (with the types that a protocol's own subclass lacks)."""
    protocol.makeConnection(transport)
