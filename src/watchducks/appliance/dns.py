"""The name server and what it relies on, as parts."""

from __future__ import annotations

import math
import time

import dns.tsig
from twisted.logger import Logger

from watchducks.appliance.house import House
from watchducks.appliance.measures import of_dns, of_verdicts
from watchducks.appliance.traffic import Feed
from watchducks.background import ThreadPool
from watchducks.health.prober import Health
from watchducks.health.reference import TcpReferences
from watchducks.lookups.missing import MissedNames, MissingNames
from watchducks.lookups.resolver import find_resolvers
from watchducks.model.challenges import Answers
from watchducks.model.verdicts import Verdicts
from watchducks.nameserver.cookies import Cookies, kept_secret
from watchducks.nameserver.counts import Counts
from watchducks.nameserver.drills import Drills
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
from watchducks.sockets import Sockets


async def start_the_name_server(
    house: House, registry: Registry, feed: SiteFeed, counts: Counts | None, answers: Answers | None
) -> Health:
    """Start the name server of this process, and the probes."""
    health = make_the_health(house, await house.pool("verdicts"))
    await start_the_probes(house, health)
    misses = Misses(clock=house.reactor, again_seconds=house.pace.again_seconds)
    await start_the_search(house, registry, misses)
    await start_the_answers(house, feed, health, counts, misses, answers=answers)
    await start_the_notifier(house, feed, health)
    return health


def make_the_health(house: House, pool: ThreadPool) -> Health:
    """Return what judges the proxies; it is not started."""
    settings = house.settings
    resolvers = find_resolvers(settings.node.resolvers)
    return Health(
        settings.nameserver.health,
        settings.proxy,
        reactor=house.reactor,
        state_dir=settings.node.data_dir / "nameserver",
        pool=pool,
        reference=TcpReferences(
            [(resolver.address, resolver.port) for resolver in resolvers],
            reactor=house.reactor,
        ),
    )


async def start_the_probes(house: House, health: Health) -> None:
    await house.run("the health probes", health)
    house.measure(lambda: of_verdicts(health))


async def start_the_search(house: House, registry: Registry, misses: MissedNames) -> None:
    """Ask the old name servers for what visitors ask us for in vain."""
    public = house.lookups()
    missing = MissingNames(
        misses,
        registry,
        public.directory,
        public.client,
        clock=house.reactor,
        interval_seconds=house.pace.missing_seconds,
    )
    await house.run("the search for missing names", missing)


def make_the_zones(house: House) -> ZoneTable:
    settings = house.settings
    return ZoneTable(
        settings.nameserver.names,
        settings.nameserver.addresses,
        ttl=settings.nameserver.ttl,
        sender=settings.mail.sender,
        rules=settings.cutover_rules,
    )


def cookie_secret(house: House) -> bytes:
    """Return the secret of DNS cookies. Read once, before anything is answered: no thread is worth
    32 octets."""
    return kept_secret(house.settings.node.data_dir / "nameserver" / "cookie-secret", Logger())


async def start_the_answers(
    house: House,
    feed: Feed,
    verdicts: Verdicts,
    counts: Counts | None,
    misses: Misses,
    *,
    sockets: Sockets | None = None,
    processes: int = 1,
    answers: Answers | None = None,
) -> None:
    """Start what answers questions in this process.

    :param sockets: those that are bound already; None: those of systemd.
    :param processes: how many answer the same askers, and share the limit of their rates.
    :param answers: what certificate authorities are answered; None: we have no certificates made.
    """
    settings = house.settings
    zones = make_the_zones(house)
    house.names.tell(zones)
    await feed.follow(house.names.resolving(zones.apply))
    if answers is not None:
        answers.on_change(zones.answer_challenges)
    await house.run("the end of drills", Drills(zones, clock=house.reactor))
    secret, nsid = cookie_secret(house), settings.nameserver.nsid
    per_second = math.ceil(settings.nameserver.rrl_per_second / processes)
    key_file = KeyFile(house.sealer, pool=await house.pool("keys"), clock=house.reactor)
    await house.run("the key file", key_file)
    signatures = Signatures(house.sealer, clock=house.reactor)
    responder = Responder(
        zones,
        verdicts,
        clock=house.reactor,
        options=Options(Cookies(secret, now=time.time), nsid=nsid, idle_seconds=TCP_IDLE_SECONDS),
        limit=RateLimit(per_second, clock=house.reactor) if per_second else None,
        counts=counts,
        identity=Identity(nsid) if nsid else None,
        signer=Signer(zones, verdicts, signatures),
        misses=misses,
    )
    server = NameServer(
        settings.nameserver.listen,
        responder,
        reactor=house.reactor,
        transfers=_make_the_transfers(house, zones, verdicts),
        sockets=sockets,
    )
    await house.run("the name server", server)
    house.measure(lambda: of_dns(responder))


def _make_the_transfers(house: House, zones: ZoneTable, verdicts: Verdicts) -> Transfers | None:
    """Return what gives the listed secondaries the zones."""
    settings = house.settings.nameserver
    if not settings.secondaries:
        return None
    addresses = [address for address, _ in settings.secondaries]
    return Transfers(zones, verdicts, addresses, key=_transfer_key(house), now=time.time)


def _transfer_key(house: House) -> dns.tsig.Key | None:
    text = house.settings.nameserver.transfer_key
    return make_key(text) if text else None


async def start_the_notifier(house: House, feed: Feed, health: Health) -> None:
    """Tell the listed secondaries of changes."""
    secondaries = house.settings.nameserver.secondaries
    if not secondaries:
        return
    zones = make_the_zones(house)
    await feed.follow(zones.apply)
    notifier = Notifier(
        secondaries,
        key=_transfer_key(house),
        zones=zones.apexes,
        reactor=house.reactor,
        now=time.time,
    )
    await feed.follow(house.names.resolving(notifier.apply))
    health.on_change(lambda _verdict: notifier.all_changed())
    await house.run("the notifier of secondaries", notifier)
