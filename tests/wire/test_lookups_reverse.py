"""From an address to its names and back, as crawlers are checked: on real sockets."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import dns.rcode
import dns.rdatatype
import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.wire.dns_answering import AnsweringServer, answer
from watchducks.lookups.client import Client, Server
from watchducks.lookups.resolver import Resolver
from watchducks.lookups.reverse import ReverseLookUps

CLOCK: Any = reactor
# What the servers of a crawler's operator say, by name and type; anything else is NXDOMAIN.
RECORDS = {
    ("1.66.249.66.in-addr.arpa.", "PTR"): ["@ 60 PTR Crawl-1.Bots.Example."],
    # Many names, one of them by an alias, as networks smaller than /24 are delegated (RFC 2317).
    ("2.66.249.66.in-addr.arpa.", "PTR"): [
        "@ 60 CNAME 2.0/25.66.249.66.in-addr.arpa.",
        "2.0/25.66.249.66.in-addr.arpa. 60 PTR one.bots.example.",
        "2.0/25.66.249.66.in-addr.arpa. 60 PTR two.bots.example.",
        "unasked.example. 60 PTR evil.example.",
    ],
    ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "PTR"): [
        "@ 60 PTR six.bots.example."
    ],
    ("crawl-1.bots.example.", "A"): ["@ 60 A 66.249.66.1"],
    ("crawl-1.bots.example.", "AAAA"): ["@ 60 AAAA 2001:db8::1"],
}


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[AnsweringServer]:
    running = AnsweringServer()
    running.start()

    def tell(query: Any) -> list[bytes]:
        asked = query.question[0]
        found = RECORDS.get((asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)))
        if found is None:
            return [answer(query, rcode=dns.rcode.NXDOMAIN)]
        return [answer(query, *found)]

    running.by_udp = tell
    yield running
    await running.stop()


@pytest.fixture
def look_ups(server: AnsweringServer) -> ReverseLookUps:
    client = Client(
        reactor=CLOCK,
        allow_private=True,
        udp_seconds=0.3,
        tcp_seconds=0.6,
        max_transfer_records=1,
    )
    here = Server(ipaddress.ip_address(server.address), server.port)
    return ReverseLookUps(Resolver([here], client))


@pytest_twisted.ensureDeferred
async def test_an_address_leads_to_names(look_ups: ReverseLookUps) -> None:
    for address, names in {
        "66.249.66.1": ["crawl-1.bots.example"],
        "66.249.66.2": ["one.bots.example", "two.bots.example"],
        "2001:db8::1": ["six.bots.example"],
        "66.249.66.3": [],
    }.items():
        assert await look_ups.names_of(ipaddress.ip_address(address)) == names


@pytest_twisted.ensureDeferred
async def test_a_name_leads_back(look_ups: ReverseLookUps) -> None:
    assert await look_ups.addresses_of("crawl-1.bots.example") == (
        ipaddress.ip_address("66.249.66.1"),
        ipaddress.ip_address("2001:db8::1"),
    )
    assert await look_ups.addresses_of("nobody.bots.example") == ()


@pytest_twisted.ensureDeferred
async def test_what_nobody_can_tell_is_no_answer(
    look_ups: ReverseLookUps, server: AnsweringServer
) -> None:
    server.by_udp = lambda query: [answer(query, rcode=dns.rcode.SERVFAIL)]
    with pytest.raises(LookupError, match="SERVFAIL"):
        await look_ups.names_of(ipaddress.ip_address("66.249.66.1"))
    with pytest.raises(LookupError, match="SERVFAIL"):
        await look_ups.addresses_of("crawl-1.bots.example")
    # Whoever owns an address may let it lead to what is no name at all.
    for name in ("a..b", "x" * 64 + ".example"):
        with pytest.raises(LookupError):
            await look_ups.addresses_of(name)
