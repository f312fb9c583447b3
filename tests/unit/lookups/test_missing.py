"""What visitors ask for in vain is asked of the old name servers, and offered."""

from __future__ import annotations

import ipaddress

from dns import rdatatype
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.lookups.answering import FakeClient, found
from tests.unit.nameserver.fakes import site
from watchducks.lookups.client import Client, Server
from watchducks.lookups.missing import INTERVAL_SECONDS, NAMES_A_TURN, MissingNames
from watchducks.lookups.resolver import Resolver
from watchducks.lookups.servers import Directory
from watchducks.model.scans import KeptScan, NameServer, Scan
from watchducks.model.sites import Site
from watchducks.model.zones import Record, ZoneContents
from watchducks.stores.interfaces import StoreUnavailable

OLD = ipaddress.ip_address("192.0.2.1")
SCAN = Scan(servers=(NameServer("ns1.old.example", (OLD,)),), served="pond.example")


class FakeMisses:
    def __init__(self, *names: tuple[str, str]) -> None:
        self.names = list(names)

    def take(self, limit: int) -> list[tuple[str, str]]:
        taken, self.names = self.names[:limit], self.names[limit:]
        return taken


class FakeStore:
    def __init__(self, held: ZoneContents, scan: Scan | None) -> None:
        self.sites = {"pond.example": site("pond.example", held=held)}
        self.kept = None if scan is None else KeptScan(0, scan)
        self.offers: list[Record] = []
        self.away = False

    async def site_for_host(self, host: str) -> Site | None:
        if self.away:
            raise StoreUnavailable("away")
        return self.sites.get(host.removeprefix("www."))

    async def scan(self, site_id: int) -> KeptScan | None:
        assert site_id == 1
        return self.kept

    async def offer(self, site_id: int, found: tuple[Record, ...]) -> None:
        assert site_id == 1
        self.offers += found


class World:
    def __init__(
        self, *names: str, held: ZoneContents | None = None, scan: Scan | None = SCAN
    ) -> None:
        self.clock = Clock()
        self.client = FakeClient(
            found("smtp.pond.example", "A", "192.0.2.25"),
            found("x7._domainkey.pond.example", "TXT", '"v=DKIM1"'),
            found("_imaps._tcp.pond.example", "SRV", "0 1 993 smtp.pond.example."),
            found("smtp.pond.example", "TXT", '"hello"'),
        )
        self.misses = FakeMisses(*(("pond.example", name) for name in names))
        self.store = FakeStore(held or ZoneContents(), scan)
        nobody = Client(reactor=self.clock, allow_private=False)
        directory = Directory(Resolver([], nobody), nobody, clock=self.clock)
        self.missing = MissingNames(
            self.misses, self.store, directory, self.client, clock=self.clock
        )

    def start(self) -> World:
        _ = Deferred.fromCoroutine(self.missing.start())
        return self

    @property
    def offered(self) -> list[tuple[bytes, int]]:
        return [(record.owner, record.type) for record in self.store.offers]


def test_what_the_old_servers_have_is_offered() -> None:
    world = World("x7._domainkey", "gone", "_imaps._tcp").start()
    assert world.offered == [
        (b"\2x7\x0a_domainkey", rdatatype.TXT),
        (b"\4smtp", rdatatype.A),
        (b"\4smtp", rdatatype.TXT),
        (b"\6_imaps\4_tcp", rdatatype.SRV),
    ]
    assert {server for server, _, _ in world.client.asked} == {Server(OLD)}


def test_names_that_the_zone_has_are_not_offered() -> None:
    held = ZoneContents(("smtp",), (Record(b"\2x7\x0a_domainkey", 99, 60, b"x"),))
    assert World("x7._domainkey", "smtp", held=held).start().offered == []


def test_nothing_is_asked_where_nobody_can_answer() -> None:
    for world in (
        World("smtp", scan=None),
        World("smtp", scan=Scan()),
        World("smtp", scan=Scan(servers=(NameServer("ns1.old.example"),), served="pond.example")),
    ):
        assert world.start().offered == []
        assert world.client.asked == []
    world = World()
    world.misses.names = [("other.example", "smtp"), ("www.pond.example", "smtp")]
    assert world.start().client.asked == []


def test_only_so_many_names_a_turn() -> None:
    world = World(*(f"n{number}" for number in range(2 * NAMES_A_TURN))).start()
    assert len(world.misses.names) == NAMES_A_TURN
    world.clock.advance(INTERVAL_SECONDS)
    assert world.misses.names == []


def test_silent_servers_and_a_store_that_is_away_do_no_harm() -> None:
    world = World("smtp", "x7._domainkey")
    world.client.silent = {Server(OLD)}
    assert world.start().offered == []
    world.store.away = True
    world.misses.names = [("pond.example", "smtp")]
    world.clock.advance(INTERVAL_SECONDS)
    world.store.away = False
    world.client.silent = set()
    world.misses.names = [("pond.example", "smtp")]
    world.clock.advance(INTERVAL_SECONDS)
    assert (b"\4smtp", rdatatype.A) in world.offered
    _ = Deferred.fromCoroutine(world.missing.stop())
    assert world.clock.getDelayedCalls() == []
