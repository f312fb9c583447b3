"""What is asked before a registration, and what is not: nothing private on a stranger's word."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import partial

import dns.name
import pytest

from tests.unit.stores.test_memory import now
from watchducks.appliance.prospects import Prospects
from watchducks.health.probe import ProbeFailed
from watchducks.lookups.client import LookupFailed
from watchducks.model.origins import Address, Origin, parse_origin, usable
from watchducks.model.prospects import Prospect
from watchducks.model.scans import Note, Scan

OWN = ipaddress.ip_address("198.51.100.1")
SCAN = Scan(served="ducks.example")


class World:
    """:ivar asked: the origins that were asked. :ivar names: what names lead to."""

    def __init__(self, *names: str) -> None:
        self.asked: list[str] = []
        self.names = [ipaddress.ip_address(name) for name in names]

    async def scan(self, zone: str) -> Scan:
        assert zone == "ducks.example"
        return SCAN

    async def addresses(self, name: dns.name.Name) -> tuple[tuple[Address, ...], int]:
        if not self.names:
            raise LookupFailed(f"{name} cannot be looked up")
        return tuple(self.names), 60

    async def ask(self, origin: Origin, host: str) -> int:
        assert host == "www.ducks.example"
        self.asked.append(f"{origin.scheme} {origin.address} {origin.port}")
        if origin.port == 81:
            raise ProbeFailed("connection refused")
        return 200

    async def check(self, origin: Origin, host: str, port: int) -> Note | None:
        assert origin.scheme == "https"
        return (
            Note("expired", "the certificate of your server has expired") if port == 8443 else None
        )

    def look(self, origin: str, *, private: bool = False) -> Prospect:
        def allowed(addresses: Iterable[Address]) -> tuple[Address, ...]:
            return usable(addresses, own_addresses=[OWN], allow_private=private)

        prospects = Prospects(self, self, asks=self.ask, checks=self.check, usable=allowed)
        return now(prospects.look("www.ducks.example", "ducks.example", parse_origin(origin)))


def test_each_way_that_visitors_are_carried_is_asked() -> None:
    world = World()
    found = world.look("203.0.113.7")
    assert world.asked == ["http 203.0.113.7 80", "https 203.0.113.7 443"]
    assert [(one.scheme, one.status, one.trouble) for one in found.reached] == [
        ("http", 200, None),
        ("https", 200, None),
    ]
    assert (found.scan, found.nowhere) == (SCAN, None)
    (one,) = World().look("https://203.0.113.7:8443").reached
    assert str(one.trouble) == "the certificate of your server has expired"
    (one,) = World().look("http://203.0.113.7:81").reached
    assert (one.status, str(one.failure)) == (None, "connection refused")


def test_of_a_names_addresses_the_first_that_a_site_may_have_is_asked() -> None:
    world = World("10.0.0.7", str(OWN), "203.0.113.7", "203.0.113.8")
    world.look("https://origin.example.net")
    assert world.asked == ["https 203.0.113.7 443"]


@pytest.mark.parametrize(
    "names",
    [["10.0.0.7"], ["127.0.0.1", "::1"], ["169.254.169.254"], ["::ffff:10.0.0.1"], [str(OWN)]],
)
def test_a_name_that_leads_to_private_addresses_or_to_us_is_not_asked(names: list[str]) -> None:
    world = World(*names)
    found = world.look("origin.example.net")
    assert (world.asked, found.reached) == ([], ())
    assert "has no address that visitors can reach" in str(found.nowhere)
    assert found.scan == SCAN
    closed = partial(World(*names).look, "origin.example.net")
    assert bool(closed(private=True).reached)


def test_a_name_that_nobody_knows_is_told() -> None:
    found = World().look("origin.example.net")
    assert "could not be looked up" in str(found.nowhere)
