"""Origins are asked in rounds, evenly, and only the last word on each is kept."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from itertools import pairwise

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from tests.servers.ports import free_port
from tests.unit.health.test_prober import succeed
from tests.unit.nameserver.fakes import changed, site
from watchducks.health.origins import MAX_PROBES, PROBES_PER_SECOND, HeadProbe, Origins
from watchducks.health.probe import ProbeFailed
from watchducks.health.rounds import ADDRESS_SECONDS, ROUND_SECONDS
from watchducks.model.origins import Origin as SiteOrigin
from watchducks.model.origins import parse_origin
from watchducks.model.scans import Note
from watchducks.model.sites import Site
from watchducks.model.verdicts import OriginReport

START = 1_800_000_000.0


class World:
    """:ivar down: the ids of sites whose origins fail; ``hang``: none ever answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.asked: list[tuple[float, int]] = []
        self.addresses: list[str] = []
        self.down: set[int] = set()
        self.hang = False
        self.hanging = 0
        self.refused: set[str] = set()
        self.origins = Origins(reactor=self.clock, accepts=self._accepts, probe=self._probe)

    def _accepts(self, origin: SiteOrigin) -> bool:
        return str(origin) not in self.refused

    async def _probe(self, site: Site) -> None:
        self.asked.append((self.clock.seconds() - START, site.id))
        self.addresses.append(str(site.origin.address))
        if self.hang:
            self.hanging += 1
            try:
                await Deferred()
            finally:
                self.hanging -= 1
        if site.id in self.down:
            raise ProbeFailed("connection refused")

    def run(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))

    def times_of(self, address: str) -> list[float]:
        asked = zip(self.asked, self.addresses, strict=True)
        return [moment for (moment, _), to in asked if to == address]

    def start(self, *sites: Site) -> None:
        self.origins.apply(changed(sites))
        succeed(Deferred.fromCoroutine(self.origins.start()))

    def stop(self) -> None:
        succeed(Deferred.fromCoroutine(self.origins.stop()))
        assert self.clock.getDelayedCalls() == []
        assert self.hanging == 0


def sites(count: int) -> list[Site]:
    """Return sites that have an address each."""
    return [
        replace(site(f"s{number}.example", f"198.51.{number // 250}.{number % 250}"), id=number)
        for number in range(1, count + 1)
    ]


def test_each_origin_is_asked_once_a_round() -> None:
    world = World()
    world.start(*sites(3))
    world.run(ROUND_SECONDS - 1)
    assert sorted(number for _, number in world.asked) == [1, 2, 3]
    world.run(ROUND_SECONDS)
    assert len(world.asked) == 6
    world.stop()


def test_many_origins_are_asked_evenly() -> None:
    world = World()
    world.start(*sites(PROBES_PER_SECOND * 4))
    world.run(2)
    assert PROBES_PER_SECOND < len(world.asked) <= PROBES_PER_SECOND * 2 + 10
    world.stop()


def test_probes_under_way_are_bounded() -> None:
    world = World()
    world.hang = True
    world.start(*sites(MAX_PROBES * 2))
    world.run(30)
    assert world.hanging == MAX_PROBES
    world.stop()


def test_a_report_says_since_when() -> None:
    world = World()
    world.start(*sites(1))
    world.run(1)
    first = world.origins.report(1)
    assert first == OriginReport(None, since=START, asked=START)
    world.down.add(1)
    world.run(ROUND_SECONDS)
    second = world.origins.report(1)
    assert second is not None
    assert (second.answers, second.failure) == (False, Note("origin", "connection refused"))
    world.run(ROUND_SECONDS)
    third = world.origins.report(1)
    assert third is not None
    assert third.since == second.since < third.asked
    world.stop()


def test_a_new_origin_is_asked_at_once_and_the_old_ones_report_is_forgotten() -> None:
    world = World()
    world.down.add(1)
    world.start(*sites(1))
    world.run(1)
    world.down.clear()
    moved = replace(sites(1)[0], origin=parse_origin("198.51.100.8"))
    world.origins.apply(changed([moved]))
    assert world.origins.report(1) is None
    world.run(1)
    report = world.origins.report(1)
    assert report is not None
    assert report.answers
    world.stop()


def test_an_origin_that_would_not_be_accepted_today_is_not_asked() -> None:
    world = World()
    here, gone = sites(2)
    world.refused.add(str(gone.origin))
    world.start(here, gone)
    world.run(ROUND_SECONDS)
    assert {number for _, number in world.asked} == {here.id}
    # A site whose owner corrects it is asked, and one that goes there is asked no more.
    world.asked.clear()
    world.addresses.clear()
    world.origins.apply(
        changed([replace(gone, origin=here.origin), replace(here, origin=gone.origin)])
    )
    assert world.origins.report(here.id) is None
    world.run(ROUND_SECONDS)
    assert {number for _, number in world.asked} == {gone.id}
    world.stop()


def test_a_thousand_sites_at_one_address_do_not_multiply_its_probes() -> None:
    world = World()
    crowd = [
        replace(one, origin=parse_origin(f"http://203.0.113.7:{one.id}")) for one in sites(1000)
    ]
    alone = replace(site("alone.example", "203.0.113.8"), id=1001)
    world.hang = True  # not even by not answering
    world.start(*crowd, alone)
    world.run(61)
    times = world.times_of("203.0.113.7")
    assert 50 <= len(times) <= 62
    # A site elsewhere does not wait for them.
    assert world.times_of("203.0.113.8")[0] < 1
    # Moving from one address to another and back is no way either.
    world.hang = False
    for _ in range(20):
        there = replace(crowd[0], origin=parse_origin("203.0.113.9"))
        world.origins.apply(changed([there]))
        world.run(0.1)
        world.origins.apply(changed([crowd[0]]))
        world.run(0.1)
    for address in ("203.0.113.7", "203.0.113.9"):
        times = world.times_of(address)
        assert len(times) > 1
        assert all(later - former > ADDRESS_SECONDS - 0.01 for former, later in pairwise(times))
    world.stop()


def test_a_removed_site_is_asked_no_more() -> None:
    world = World()
    world.start(*sites(1))
    world.run(1)
    world.origins.apply(changed(removed=["s1.example"]))
    world.run(ROUND_SECONDS * 2)
    assert len(world.asked) == 1
    assert world.origins.report(1) is None
    world.stop()


def test_a_name_without_addresses_is_told_and_asked_once_it_has_some() -> None:
    world = World()
    named = replace(site("s1.example", "https://origin.host.net"), id=1)
    world.start(named)
    world.run(ROUND_SECONDS)
    report = world.origins.report(1)
    assert world.asked == []
    assert report is not None
    assert not report.answers
    assert str(report.failure) == "origin.host.net has no address that visitors can reach."
    found = [ipaddress.ip_address(f"192.0.2.{last}") for last in (1, 2)]
    world.origins.apply(changed([replace(named, origin=named.origin.at(found))]))
    world.run(2)
    assert world.addresses == ["192.0.2.1"]
    report = world.origins.report(1)
    assert report is not None
    assert report.answers
    world.origins.apply(changed([named]))
    world.origins.apply(changed(removed=["s1.example"]))
    assert world.origins.report(1) is None
    world.run(ROUND_SECONDS * 2)
    assert len(world.asked) == 1
    world.stop()


class Origin(Protocol):
    """Answers with ``status`` and remembers what it was asked."""

    status = b"404 Not Found"
    received = b""

    def dataReceived(self, data: bytes) -> None:
        Origin.received += data
        if data.endswith(b"\r\n\r\n") and self.transport is not None:
            self.transport.write(b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 7\r\n\r\n")


@pytest_twisted.ensureDeferred
async def test_the_real_probe_asks_for_the_sites_domain_and_judges_by_server_errors() -> None:
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        Factory.forProtocol(Origin)
    )
    host = port.getHost()
    assert isinstance(host, IPv4Address)
    probe = HeadProbe(reactor=reactor)
    here = site("ducks.example", origin=f"http://127.0.0.1:{host.port}")
    try:
        await probe(here)
        assert Origin.received.startswith(b"HEAD / HTTP/1.1\r\n")
        assert b"Host: ducks.example" in Origin.received
        Origin.status = b"503 Busy"
        with pytest.raises(ProbeFailed, match="status 503"):
            await probe(here)
        closed = site("ducks.example", origin=f"https://127.0.0.1:{free_port('tcp')}")
        with pytest.raises(ProbeFailed, match="connection refused"):
            await probe(closed)
    finally:
        await port.stopListening()
