"""The proxy and what it relies on, as parts."""

from __future__ import annotations

from watchducks.appliance.house import House
from watchducks.appliance.measures import of_routes
from watchducks.certificates.store import CertificateStore
from watchducks.model.rows import RowSink
from watchducks.proxy.accept import ALPN
from watchducks.proxy.measures import Measures
from watchducks.proxy.service import Proxy
from watchducks.proxy.sightings import Sightings
from watchducks.registry.feed import SiteFeed
from watchducks.registry.registry import Registry
from watchducks.routes import RouteTable
from watchducks.stores.interfaces import Cache


async def start_the_proxy(
    house: House, rows: RowSink, registry: Registry, feed: SiteFeed, cache: Cache
) -> None:
    settings = house.settings
    rules = settings.cutover_rules
    routes = RouteTable(
        registry, cache, clock=house.reactor, lineage=lambda: feed.lineage, rules=rules
    )
    await feed.follow(routes.apply)
    await house.run("the routes", routes)
    certificates = CertificateStore(
        settings.node.data_dir / "certificates",
        pool=await house.pool("certificates"),
        clock=house.reactor,
        alpn=ALPN,
    )
    await house.run("the certificates", certificates)
    measures = Measures(rows)
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
    )
    await house.run("the proxy", proxy)
    house.measure(lambda: measures.samples(proxy.connections))
    house.measure(lambda: of_routes(routes))
