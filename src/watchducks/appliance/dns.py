"""The name server and what it relies on, as parts."""

from __future__ import annotations

import time

from twisted.logger import Logger

from watchducks.appliance.house import House
from watchducks.appliance.measures import of_dns, of_verdicts
from watchducks.health.prober import Health
from watchducks.health.reference import TcpReferences
from watchducks.lookups.missing import MissingNames
from watchducks.lookups.resolver import find_resolvers
from watchducks.nameserver.alias import Aliases
from watchducks.nameserver.cookies import Cookies, kept_secret
from watchducks.nameserver.counts import Counts
from watchducks.nameserver.guard import RateLimit
from watchducks.nameserver.identity import Identity
from watchducks.nameserver.listener import TCP_IDLE_SECONDS, NameServer
from watchducks.nameserver.misses import Misses
from watchducks.nameserver.notify import Notifier
from watchducks.nameserver.options import Options
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.signatures import Signatures
from watchducks.nameserver.signing import Signer
from watchducks.nameserver.transfers import Transfers
from watchducks.nameserver.tsig import make_key
from watchducks.nameserver.zones import ZoneTable
from watchducks.registry.feed import SiteFeed
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import KeyFile


async def start_the_name_server(
    house: House, registry: Registry, feed: SiteFeed, counts: Counts | None
) -> Health:
    settings = house.settings
    zones = ZoneTable(
        settings.nameserver.names,
        settings.nameserver.addresses,
        ttl=settings.nameserver.ttl,
        sender=settings.mail.sender,
        rules=settings.cutover_rules,
    )
    await feed.follow(zones.apply)
    aliases = Aliases(zones, house.lookups().resolver, clock=house.reactor)
    await feed.follow(aliases.apply)
    await house.run("the aliases", aliases)
    resolvers = find_resolvers(settings.node.resolvers)
    health = Health(
        settings.nameserver.health,
        settings.proxy,
        reactor=house.reactor,
        state_dir=settings.node.data_dir / "nameserver",
        pool=await house.pool("verdicts"),
        reference=TcpReferences(
            [(resolver.address, resolver.port) for resolver in resolvers],
            reactor=house.reactor,
        ),
    )
    await house.run("the health probes", health)
    # Read once, before anything is answered: no thread is worth 32 octets.
    secret = kept_secret(settings.node.data_dir / "nameserver" / "cookie-secret", Logger())
    nsid, per_second = settings.nameserver.nsid, settings.nameserver.rrl_per_second
    key_file = KeyFile(house.sealer, pool=await house.pool("keys"), clock=house.reactor)
    await house.run("the key file", key_file)
    signatures = Signatures(house.sealer, clock=house.reactor)
    public = house.lookups()
    misses = Misses(clock=house.reactor)
    missing = MissingNames(misses, registry, public.directory, public.client, clock=house.reactor)
    await house.run("the search for missing names", missing)
    responder = Responder(
        zones,
        health,
        clock=house.reactor,
        options=Options(Cookies(secret, now=time.time), nsid=nsid, idle_seconds=TCP_IDLE_SECONDS),
        limit=RateLimit(per_second, clock=house.reactor) if per_second else None,
        counts=counts,
        identity=Identity(nsid) if nsid else None,
        signer=Signer(zones, health, signatures),
        misses=misses,
    )
    server = NameServer(
        settings.nameserver.listen,
        responder,
        reactor=house.reactor,
        transfers=await _start_the_transfers(house, feed, zones, health),
    )
    await house.run("the name server", server)
    house.measure(lambda: of_dns(responder))
    house.measure(lambda: of_verdicts(health))
    return health


async def _start_the_transfers(
    house: House, feed: SiteFeed, zones: ZoneTable, health: Health
) -> Transfers | None:
    """Tell the listed secondaries of changes; returns what gives them the zones."""

    settings = house.settings.nameserver
    if not settings.secondaries:
        return None
    key = make_key(settings.transfer_key) if settings.transfer_key else None
    notifier = Notifier(
        settings.secondaries, key=key, zones=zones.apexes, reactor=house.reactor, now=time.time
    )
    await feed.follow(notifier.apply)
    health.on_change(lambda _verdict: notifier.all_changed())
    await house.run("the notifier of secondaries", notifier)
    addresses = [address for address, _ in settings.secondaries]
    return Transfers(zones, health, addresses, key=key, now=time.time)
