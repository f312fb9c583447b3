"""What is seen of a zone from outside: whose name servers it has, and whose registration it is."""

from __future__ import annotations

import ipaddress

import dns.name
import pytest
from dns import rcode
from dns.name import Name
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.lookups.answering import FakeClient, found
from watchducks.lookups.client import LookupFailed, Server
from watchducks.lookups.delegation import LOOK_SECONDS, Delegations
from watchducks.lookups.servers import Delegation, Zone
from watchducks.model.cutover import Look
from watchducks.model.scans import NameServer

ZONE, PROOF = "ducks.example", "watchducks=1234"
CHALLENGE = f"_watchducks-challenge.{ZONE}."
OWN = "ns1.ours.example"
OLD = NameServer("ns.old.example", (ipaddress.ip_address("192.0.2.1"),))
SECOND = NameServer("ns2.old.example", (ipaddress.ip_address("192.0.2.2"),))
STRANGER = NameServer("ns.stranger.example", (ipaddress.ip_address("192.0.2.3"),))
OURS = NameServer(OWN, (ipaddress.ip_address("192.0.2.4"),))


class FakeDirectory:
    """:ivar names: what the parent says; None: it does not answer."""

    def __init__(self, *names: str) -> None:
        self.names: tuple[str, ...] | None = names
        self.zone = Zone(dns.name.from_text(ZONE), (OLD, SECOND, STRANGER, OURS))
        self.hang = False
        self.ds: tuple[str, ...] = ()

    async def delegation(self, zone: Name) -> Delegation:
        if self.hang:
            await Deferred()
        if self.names is None:
            raise LookupFailed("silence")
        return Delegation(zone.parent(), self.names, self.ds)

    async def zone_of(self, domain: Name) -> Zone:
        assert domain == dns.name.from_text(ZONE)
        return self.zone

    def at(self, servers: tuple[NameServer, ...]) -> list[Server]:
        return [Server(address) for server in servers for address in server.addresses]


def seen(
    directory: FakeDirectory, client: FakeClient | None = None, proof: str | None = PROOF
) -> Look:
    delegations = Delegations(directory, client or FakeClient(), [OWN], clock=Clock())
    looks: list[Look] = []
    _ = Deferred.fromCoroutine(delegations.look(ZONE, proof)).addCallback(looks.append)
    return looks[0]


def test_the_parents_word_counts() -> None:
    assert seen(FakeDirectory(OWN)) == Look((OWN,))
    assert seen(FakeDirectory()) == Look(())
    directory = FakeDirectory(OWN)
    directory.ds = ("1 13 2 AB",)
    assert seen(directory) == Look((OWN,), ds=("1 13 2 AB",))
    directory.names = None
    assert seen(directory) == Look(None)


def test_it_ends_in_time() -> None:
    directory, clock = FakeDirectory(), Clock()
    looks: list[Look] = []
    directory.hang = True
    delegations = Delegations(directory, FakeClient(), [OWN], clock=clock)
    _ = Deferred.fromCoroutine(delegations.look(ZONE, None)).addCallback(looks.append)
    clock.advance(LOOK_SECONDS - 1)
    assert looks == []
    clock.advance(1)
    assert looks == [Look(None)]


def test_a_proof_is_taken_from_the_present_servers_of_the_zone() -> None:
    client = FakeClient(found(CHALLENGE, "TXT", '"other"'), found(CHALLENGE, "TXT", f'"{PROOF}"'))
    client.silent = {Server(OLD.addresses[0])}
    assert seen(FakeDirectory(OLD.name, SECOND.name, OWN), client).proven
    asked = [str(server.address) for server, _, _ in client.asked]
    assert asked == ["192.0.2.1", "192.0.2.2"]


def test_neither_we_nor_one_whom_the_parent_does_not_name_are_asked() -> None:
    client = FakeClient(found(CHALLENGE, "TXT", f'"{PROOF}"'))
    client.silent = {Server(OLD.addresses[0])}
    assert not seen(FakeDirectory(OLD.name, OWN), client).proven
    assert [str(server.address) for server, _, _ in client.asked] == ["192.0.2.1"]


@pytest.mark.parametrize("value", ['"watchducks=12345"', '"watchducks=123"', '"x"', '""'])
def test_another_text_is_no_proof(value: str) -> None:
    client = FakeClient(found(CHALLENGE, "TXT", value))
    assert not seen(FakeDirectory(OLD.name), client).proven


def test_a_text_may_come_in_pieces() -> None:
    client = FakeClient(found(CHALLENGE, "TXT", '"watchducks=" "1234"'))
    assert seen(FakeDirectory(OLD.name), client).proven


def test_what_proves_nothing() -> None:
    good = found(CHALLENGE, "TXT", f'"{PROOF}"')
    assert seen(FakeDirectory(OLD.name), FakeClient(good)).proven
    assert not seen(FakeDirectory(OLD.name), FakeClient(good), None).proven, "not the question"
    assert not seen(FakeDirectory(OWN), FakeClient(good)).proven, "only we would answer"
    assert not seen(FakeDirectory(), FakeClient(good)).proven, "nobody has the zone"
    lame = FakeClient(good)
    lame.lame = rcode.NOERROR
    assert not seen(FakeDirectory(OLD.name), lame).proven
    elsewhere = FakeClient(found(f"_watchducks-challenge.www.{ZONE}.", "TXT", f'"{PROOF}"'))
    assert not seen(FakeDirectory(OLD.name), elsewhere).proven
    above = FakeDirectory(OLD.name)
    above.zone = Zone(dns.name.from_text("example"), (OLD,))
    assert not seen(above, FakeClient(good)).proven
