"""Scans in the registry, over SQLite and MariaDB."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.contracts.stores_under_test import open_registry
from tests.servers.mariadb import MariaDB
from watchducks.model.origins import parse_origin
from watchducks.model.scans import NameServer, Note, Scan
from watchducks.model.sites import Registration
from watchducks.model.zones import MAX_ZONE_RECORDS, Record
from watchducks.registry.scans import MAX_OFFERS

REACTOR: Any = reactor

SCAN = Scan(
    records=tuple(Record(b"\1%c" % n, 16, 60, bytes(255)) for n in range(256)),
    whole=True,
    servers=(
        NameServer("ns1.old.example", tuple(map(ipaddress.ip_address, ("192.0.2.1", "::1")))),
        NameServer("ns2.old.example"),
    ),
    served="ducks.example",
    ds=("1 13 2 abcd",),
    notes=(Note("server", "It failed: {reason}.", {"reason": "오리"}), Note("other", "Quack.")),
)


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


def wanted(name: str) -> Registration:
    return Registration(
        name, f"{name}.example", parse_origin("203.0.113.7"), "owner@mail.example", "default"
    )


@pytest_twisted.ensureDeferred
async def test_a_scan_is_kept_until_the_next_or_until_the_site_leaves(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        revision = await registry.revision()
        assert await registry.scan(site.id) is None
        assert await registry.keep_scan(site.id, SCAN)
        kept = await registry.scan(site.id)
        assert kept is not None
        assert (kept.scan, kept.offers) == (SCAN, ())
        assert 0 <= REACTOR.seconds() - kept.made < 60
        assert await registry.keep_scan(site.id, SCAN)  # nothing is different
        assert await registry.keep_scan(site.id, Scan())
        kept = await registry.scan(site.id)
        assert kept is not None
        assert kept.scan == Scan()
        assert await registry.revision() == revision
        await registry.remove("ducks")
        assert await registry.scan(site.id) is None
        assert not await registry.keep_scan(site.id, SCAN)


@pytest_twisted.ensureDeferred
async def test_a_scan_may_be_as_large_as_a_zone(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        large = Scan(tuple(Record(b"\1a", 16, n, bytes(120)) for n in range(MAX_ZONE_RECORDS)))
        await registry.keep_scan(site.id, large)
        kept = await registry.scan(site.id)
        assert kept is not None
        assert kept.scan == large


@pytest_twisted.ensureDeferred
async def test_sites_without_a_scan_are_found(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        made = [(await registry.register(wanted(name)))[0] for name in ("a1", "b2", "c3")]
        pairs = [(site.id, site.zone) for site in made]
        assert await registry.sites_without_scan(0, 0) == pairs
        assert await registry.sites_without_scan(0, 0, limit=1) == pairs[:1]
        assert await registry.sites_without_scan(made[0].id, 0) == pairs[1:]
        assert await registry.sites_without_scan(0, made[0].created + 100) == []
        await registry.keep_scan(made[1].id, SCAN)
        assert await registry.sites_without_scan(0, 0) == [pairs[0], pairs[2]]


@pytest_twisted.ensureDeferred
async def test_offers_are_added_up_and_bounded(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        first, second = Record(b"\1a", 16, 60, b"\1x"), Record(b"\1b", 16, 60, b"\1x")
        await registry.offer(site.id, (first,))  # there is no scan to keep it with
        assert await registry.scan(site.id) is None
        await registry.keep_scan(site.id, SCAN)
        await registry.offer(site.id, (first, second))
        await registry.offer(site.id, (second,))
        await registry.keep_scan(site.id, Scan())
        kept = await registry.scan(site.id)
        assert kept is not None
        assert (kept.scan, kept.offers) == (Scan(), (first, second))
        many = tuple(Record(b"\1c", 16, n, b"\1x") for n in range(MAX_OFFERS))
        await registry.offer(site.id, many)
        kept = await registry.scan(site.id)
        assert kept is not None
        assert kept.offers == many
