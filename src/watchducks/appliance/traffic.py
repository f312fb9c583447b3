"""The proxy and what it relies on, as parts."""

from __future__ import annotations

from typing import Protocol

from OpenSSL import SSL

from watchducks.appliance.house import House
from watchducks.appliance.measures import of_routes
from watchducks.certificates.store import SCAN_SECONDS, CertificateStore
from watchducks.model.challenges import Answers
from watchducks.model.changes import Apply
from watchducks.model.rows import RowSink
from watchducks.proxy.accept import ALPN
from watchducks.proxy.live import LiveTap
from watchducks.proxy.measures import Measures
from watchducks.proxy.service import Proxy
from watchducks.proxy.sightings import Sightings, Steps
from watchducks.routes import RouteTable, SiteSource
from watchducks.sockets import Sockets
from watchducks.stores.interfaces import Cache


class Sites(SiteSource, Steps, Protocol):
    """What a proxy asks the registry, and what it tells it."""


class Feed(Protocol):
    """What of the registry's feed a role needs: :class:`watchducks.registry.feed.SiteFeed`."""

    @property
    def lineage(self) -> str: ...
    async def follow(self, apply: Apply) -> None: ...


async def start_the_proxy(
    house: House,
    rows: RowSink,
    registry: Sites,
    feed: Feed,
    cache: Cache,
    *,
    sockets: Sockets | None = None,
    default: SSL.Context | None = None,
    scan_seconds: float = SCAN_SECONDS,
    answers: Answers | None = None,
) -> CertificateStore:
    """Start the proxy of this process; returns what holds its certificates.

    :param sockets: those that are bound already; None: those of systemd.
    :param default: the TLS context that connections begin with; None: one is made.
    :param scan_seconds: how often certificates are looked for.
    :param answers: what certificate authorities are answered; None: we have no certificates made.
    """
    settings = house.settings
    rules = settings.cutover_rules
    routes = RouteTable(
        registry,
        cache,
        clock=house.reactor,
        lineage=lambda: feed.lineage,
        rules=rules,
        resolved=house.names.resolved,
    )
    await feed.follow(house.names.resolving(routes.apply))
    await house.run("the routes", routes)
    certificates = CertificateStore(
        settings.node.data_dir / "certificates",
        pool=await house.pool("certificates"),
        clock=house.reactor,
        alpn=ALPN,
        default=default,
        scan_seconds=scan_seconds,
    )
    await house.run("the certificates", certificates)
    tap = LiveTap(rows, cache, clock=house.reactor)
    await house.run("what is told of live requests", tap)
    measures = Measures(tap)
    await feed.follow(measures.apply)
    sightings = Sightings(measures, registry, certificates, rules=rules, clock=house.reactor)
    await feed.follow(sightings.apply)
    await house.run("what the proxy sees of sites on their way", sightings)
    proxy = Proxy(
        settings,
        routes=routes,
        certificates=certificates,
        sink=sightings,
        reactor=house.reactor,
        sockets=sockets,
        challenges=answers,
    )
    await house.run("the proxy", proxy)
    house.measure(lambda: measures.samples(proxy.connections))
    house.measure(lambda: of_routes(routes))
    return certificates
