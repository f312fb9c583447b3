"""A scan on real sockets of a name server that does what it likes."""

from __future__ import annotations

import ipaddress
from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest_twisted
from twisted.internet import reactor

from tests.wire.dns_answering import AnsweringServer, answer
from watchducks.lookups.asking import MAX_NAMES
from watchducks.lookups.client import Client, Server
from watchducks.lookups.resolver import Resolver
from watchducks.lookups.scan import Scanner
from watchducks.lookups.servers import Directory

ZONE = "pond.example."


class World:
    """One server that is the resolver, the parent and the domain's own name server.

    :ivar hold: names of the zone for which no answer ever comes.
    """

    def __init__(self, *, seconds: float = 8.0) -> None:
        self.server = AnsweringServer()
        self.server.by_udp = self._respond
        self.server.by_tcp = lambda query: [answer(query, rcode=dns.rcode.REFUSED)]
        self.hold: set[str] = set()
        self.server.start()
        here = Server(ipaddress.ip_address(self.server.address), self.server.port)
        client = Client(reactor=reactor, allow_private=True)
        resolver = Resolver([here], client)
        directory = Directory(resolver, client, clock=reactor, port=here.port)
        self.scanner = Scanner(directory, client, own_names=(), clock=reactor, seconds=seconds)

    def _respond(self, query: dns.message.Message) -> list[bytes]:
        name, type_ = query.question[0].name.to_text(), query.question[0].rdtype
        if type_ == dns.rdatatype.NS and name in (ZONE, "example."):
            return [answer(query, "@ 60 NS ns.old.example.")]
        if name == "ns.old.example.":
            return [answer(query, *(["@ 60 A 127.0.0.1"] if type_ == dns.rdatatype.A else []))]
        return self.zone(query, name, type_)

    def zone(self, query: dns.message.Message, name: str, type_: int) -> list[bytes]:
        """Answer for the zone: the apex has an address, and nothing else is there."""
        if name in self.hold:
            return []
        if name == ZONE and type_ == dns.rdatatype.A:
            return [answer(query, "@ 60 A 192.0.2.80")]
        return [answer(query, rcode=dns.rcode.NXDOMAIN if name != ZONE else dns.rcode.NOERROR)]


@pytest_twisted.ensureDeferred
async def test_when_time_is_over_what_was_found_stays() -> None:
    world = World(seconds=1.5)
    world.hold = {f"{host}.{ZONE}" for host in ("_dmarc", "www", "mail", "smtp", "imap")}
    scan = await world.scanner.scan("pond.example")
    assert [record.rdata for record in scan.records] == [ipaddress.ip_address("192.0.2.80").packed]
    assert [note.code for note in scan.notes] == ["out-of-time"]
    assert str(scan.notes[0]).endswith("within 1.5 seconds: 5 names are left out.")
    await world.server.stop()


class Everything(World):
    """Each question gets an answer of its own, and leads to yet another name."""

    def zone(self, query: dns.message.Message, name: str, type_: int) -> list[bytes]:
        n = len(self.server.asked)
        records = {
            dns.rdatatype.A: f"@ 60 A 192.0.2.{n % 256}",
            dns.rdatatype.MX: f"@ 60 MX 10 m{n}.{ZONE}",
            dns.rdatatype.TXT: f"@ 60 TXT t{n}",
        }
        more = [f"x{n}.{ZONE} 60 A 192.0.2.66", "bank.example. 60 A 192.0.2.66"]
        return [answer(query, *filter(None, [records.get(dns.rdatatype.RdataType(type_))]), *more)]


@pytest_twisted.ensureDeferred
async def test_a_server_that_answers_everything_does_not_lead_on_for_ever() -> None:
    world = Everything()
    scan = await world.scanner.scan("pond.example")
    assert len({query.question[0].name for query, _ in world.server.asked}) <= MAX_NAMES + 5
    assert 0 < len(scan.records) < 4 * MAX_NAMES
    assert not any(b"\4bank" in record.owner or b"\2x1" in record.owner for record in scan.records)
    await world.server.stop()


@pytest_twisted.ensureDeferred
async def test_the_delegation_as_the_parent_gives_it() -> None:
    world = World()
    directory: Any = world.scanner._directory
    found = await directory.delegation(dns.name.from_text(ZONE))
    assert (str(found.parent), found.names, found.ds) == ("example.", ("ns.old.example",), ())
    await world.server.stop()
