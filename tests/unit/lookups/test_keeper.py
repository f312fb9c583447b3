"""Which sites are scanned, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from watchducks.background import Overloaded
from watchducks.lookups.keeper import (
    AT_ONCE,
    INTERVAL_SECONDS,
    MAX_WAITING,
    RECENT_SECONDS,
    ScanKeeper,
)
from watchducks.model.scans import KeptScan, NameServer, Scan
from watchducks.stores.interfaces import StoreUnavailable

NOW = 1_000_000_000.0


class FakeStore:
    """:ivar sites: id -> zone of sites without a scan. :ivar away: whether the store is away."""

    def __init__(self, *zones: str) -> None:
        self.sites = dict(enumerate(zones, 1))
        self.kept: list[tuple[int, Scan]] = []
        self.away = False
        self.asked: list[tuple[int, int]] = []
        self._listeners: list[Callable[[int], None]] = []

    async def sites_without_scan(self, after: int, since: int, limit: int) -> list[tuple[int, str]]:
        self.asked.append((after, since))
        if self.away:
            raise StoreUnavailable("away")
        made = {site_id for site_id, _ in self.kept}
        return [(id_, zone) for id_, zone in self.sites.items() if id_ > after and id_ not in made][
            :limit
        ]

    async def keep_scan(self, site_id: int, scan: Scan) -> bool:
        if self.away:
            raise StoreUnavailable("away")
        self.kept.append((site_id, scan))
        return True

    async def scan(self, site_id: int) -> KeptScan | None:
        return next((KeptScan(0, scan) for id_, scan in self.kept if id_ == site_id), None)

    def on_write(self, listener: Callable[[int], None]) -> None:
        self._listeners.append(listener)

    def register(self, zone: str) -> None:
        self.sites[len(self.sites) + 1] = zone
        for listener in self._listeners:
            listener(1)


class FakeScanner:
    """:ivar scanning: zone -> what the scan waits for."""

    def __init__(self) -> None:
        self.scanning: dict[str, Deferred[None]] = {}

    async def scan(self, zone: str) -> Scan:
        self.scanning[zone] = Deferred()
        try:
            await self.scanning[zone]
        finally:
            del self.scanning[zone]
        return Scan(served=zone)

    def finish(self, zone: str) -> None:
        self.scanning[zone].callback(None)


class Keeping:
    def __init__(self, *zones: str) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = FakeStore(*zones)
        self.scanner = FakeScanner()
        self.keeper = ScanKeeper(self.store, self.scanner, clock=self.clock)

    def start(self) -> None:
        run(self.keeper.start())

    @property
    def scanned(self) -> list[tuple[int, str]]:
        return [(site_id, scan.served) for site_id, scan in self.store.kept]


def run(coroutine: object) -> None:
    done: list[object] = []
    _ = Deferred.fromCoroutine(coroutine).addCallback(done.append)  # type: ignore[arg-type]
    assert done == [None]


def test_new_sites_are_scanned_a_few_at_a_time() -> None:
    keeping = Keeping(*(f"zone{n}.example" for n in range(AT_ONCE + 1)))
    keeping.start()
    assert keeping.store.asked == [(0, int(NOW) - RECENT_SECONDS)]
    assert list(keeping.scanner.scanning) == [f"zone{n}.example" for n in range(AT_ONCE)]
    keeping.scanner.finish("zone1.example")
    assert keeping.scanned == [(2, "zone1.example")]
    assert f"zone{AT_ONCE}.example" in keeping.scanner.scanning
    run(keeping.keeper.stop())
    assert not keeping.scanner.scanning


def test_a_registration_is_scanned_at_once() -> None:
    keeping = Keeping()
    keeping.start()
    keeping.store.register("ducks.example")
    keeping.clock.advance(0)
    assert list(keeping.scanner.scanning) == ["ducks.example"]
    # And so is one that comes while that is under way, as soon as it has ended.
    keeping.store.register("geese.example")
    keeping.scanner.finish("ducks.example")
    assert list(keeping.scanner.scanning) == ["geese.example"]
    keeping.scanner.finish("geese.example")
    assert keeping.scanned == [(1, "ducks.example"), (2, "geese.example")]


def test_a_registration_elsewhere_is_noticed_in_time() -> None:
    keeping = Keeping()
    keeping.start()
    keeping.store.sites[1] = "ducks.example"
    keeping.clock.advance(INTERVAL_SECONDS)
    assert list(keeping.scanner.scanning) == ["ducks.example"]


def test_a_scan_on_request() -> None:
    keeping = Keeping("ducks.example")
    keeping.start()
    keeping.scanner.finish("ducks.example")
    keeping.keeper.request(1, "ducks.example")
    keeping.keeper.request(1, "ducks.example")
    keeping.clock.advance(0)
    keeping.scanner.finish("ducks.example")
    assert keeping.scanned == [(1, "ducks.example")] * 2
    assert not keeping.scanner.scanning


def test_another_scan_keeps_what_only_the_one_before_could_find() -> None:
    keeping = Keeping("ducks.example")
    old = Scan(servers=(NameServer("ns1.old.example"),), served="ducks.example")
    keeping.store.kept.append((1, old))
    keeping.start()
    keeping.keeper.request(1, "ducks.example")
    keeping.clock.advance(0)
    keeping.scanner.finish("ducks.example")  # finds no servers but ours
    assert keeping.store.kept[-1] == (1, old)


def test_only_so_many_requests_wait() -> None:
    keeping = Keeping()
    for site_id in range(MAX_WAITING):
        keeping.keeper.request(site_id, "ducks.example")
    keeping.keeper.request(1, "ducks.example")
    with pytest.raises(Overloaded):
        keeping.keeper.request(MAX_WAITING, "ducks.example")


def test_a_scan_that_could_not_be_kept_is_made_again() -> None:
    keeping = Keeping("ducks.example", "geese.example")
    keeping.start()
    keeping.store.away = True
    keeping.scanner.finish("geese.example")
    keeping.scanner.finish("ducks.example")
    keeping.clock.advance(INTERVAL_SECONDS)
    assert not keeping.scanner.scanning
    keeping.store.away = False
    keeping.clock.advance(INTERVAL_SECONDS)
    for zone in ("ducks.example", "geese.example"):
        keeping.scanner.finish(zone)
    assert keeping.scanned == [(1, "ducks.example"), (2, "geese.example")]
    keeping.clock.advance(10 * INTERVAL_SECONDS)
    assert not keeping.scanner.scanning
