"""The console and what works for owners beside it, as parts."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from twisted.logger import Logger

from watchducks.analytics.cached import CachedAnalytics
from watchducks.analytics.export import pages
from watchducks.analytics.kept import KeptAnswers
from watchducks.analytics.pulse import Pulse
from watchducks.analytics.queries import Analytics
from watchducks.appliance.happenings import Notes
from watchducks.appliance.house import House
from watchducks.appliance.mail import start_the_mail
from watchducks.appliance.prospects import prospects_of
from watchducks.certificates.failover import CertificateCheck, FailoverChecks
from watchducks.console.app import Console
from watchducks.console.exports import Pages
from watchducks.health.origins import Origins
from watchducks.lookups.cutovers import CutoverFollower
from watchducks.lookups.delegation import Delegations
from watchducks.lookups.farewell import farewells
from watchducks.lookups.keeper import ScanKeeper
from watchducks.lookups.parents import Parents
from watchducks.mail.unsubscribing import Unsubscribing
from watchducks.model.changes import Changes
from watchducks.model.letters import Post
from watchducks.model.origins import Origin, check_origin
from watchducks.model.problems import Problem
from watchducks.model.verdicts import OriginReport
from watchducks.notices.crier import Crier
from watchducks.registry.accountbook import AccountBook
from watchducks.registry.blocklist import Blocklist
from watchducks.registry.drills import DrillEnds
from watchducks.registry.feed import SiteFeed
from watchducks.registry.hosts import HostBook
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.parents import ParentWatch
from watchducks.registry.registry import Registry
from watchducks.registry.vault import Vault
from watchducks.stores.interfaces import Cache, LogStore, StoreUnavailable


async def start_for_owners(
    house: House, registry: Registry, feed: SiteFeed, store: LogStore, cache: Cache, notes: Notes
) -> None:
    """Start the console, what looks at owners' domains and what looks at their origins."""
    mailbag, unsubscribing = await start_the_mail(house, registry)
    scans, parents = await _start_the_lookups(house, registry, feed, mailbag, notes)
    drills = DrillEnds(registry, clock=house.reactor)
    await feed.follow(drills.apply)
    await house.run("the end of drills in the registry", drills)
    origins = await _start_the_origin_probes(house, feed)
    pulse = Pulse(store, clock=house.reactor)
    answers = KeptAnswers(cache, house.settings.logs.url, pulse, clock=house.reactor)
    await house.run("the kept answers", answers)
    asking = Analytics(store, clock=house.reactor)
    analytics = CachedAnalytics(asking, answers)
    export = partial(pages, asking.reader)
    crier = Crier(registry, analytics, mailbag, clock=house.reactor, rhythm=house.pace.notices)
    await house.run("what owners are told", crier)
    book = AccountBook(
        registry,
        seal=house.sealer.seal,
        clock=house.reactor,
        posted=mailbag.nudge,
        admins=house.settings.security.admins,
    )
    console = await _start_the_console(
        house,
        registry,
        book,
        analytics,
        export,
        cache,
        scans,
        parents,
        origins,
        mailbag,
        unsubscribing,
    )
    # Our own changes at once, those of other hosts when the feed hears of them.
    registry.on_write(lambda _: console.forget())
    await feed.follow(lambda _: console.forget())
    await _greet(book)


async def _greet(book: AccountBook) -> None:
    """Tell who has just installed this how to look after it from the console."""
    try:
        if not await book.admins():
            Logger().info(
                "nobody may look after this service in the console yet: `watchducks admin add"
                " ADDRESS` lets an address, and prints a link to sign in with"
            )
    except StoreUnavailable:  # the feed of the registry says so already
        return


async def _start_the_lookups(
    house: House, registry: Registry, feed: SiteFeed, post: Post, notes: Notes
) -> tuple[ScanKeeper, Parents]:
    keeper = ScanKeeper(registry, house.lookups().scanner, clock=house.reactor)
    await house.run("the scans of new sites", keeper)
    parents = Parents(house.lookups().directory, clock=house.reactor)
    watch = ParentWatch(
        registry, parents, clock=house.reactor, look_seconds=house.pace.parents_seconds
    )
    await feed.follow(watch.apply)
    await house.run("the watch over parents' DS", watch)
    own, public = house.settings.nameserver.names, house.lookups()
    looks = Delegations(public.directory, public.client, own, clock=house.reactor)
    follower = CutoverFollower(
        registry,
        looks,
        own,
        warn=farewells(post),
        told=notes.name_servers,
        rules=house.settings.cutover_rules,
        clock=house.reactor,
    )
    await house.run("the watch over delegations", follower)
    return keeper, parents


class _Reports:
    """What the probe of a site's origin and the check of its certificate found, as one."""

    def __init__(self, origins: Origins, failovers: FailoverChecks) -> None:
        self._origins = origins
        self._failovers = failovers

    def report(self, site_id: int) -> OriginReport | None:
        found = self._origins.report(site_id)
        if found is None:
            return None
        return replace(found, failover=self._failovers.report(site_id))


async def _start_the_origin_probes(house: House, feed: SiteFeed) -> _Reports:
    settings = house.settings

    def accepts(origin: Origin) -> bool:
        try:
            check_origin(
                origin,
                own_addresses=settings.own_addresses,
                allow_private=settings.security.allow_private_origins,
            )
        except Problem:
            return False
        return True

    origins = Origins(reactor=house.reactor, accepts=accepts)
    rules = house.settings.cutover_rules
    # What nobody has shown to be his is not asked either: it may be a stranger's.
    check = CertificateCheck(reactor=house.reactor)
    failovers = FailoverChecks(check, accepts=accepts, clock=house.reactor)

    def apply(changes: Changes) -> None:
        carried = rules.carried(changes)
        origins.apply(carried)
        failovers.apply(carried)

    await feed.follow(house.names.resolving(apply))
    await house.run("the probes of origins", origins)
    await house.run("the checks of failovers", failovers)
    return _Reports(origins, failovers)


async def _start_the_console(
    house: House,
    registry: Registry,
    book: AccountBook,
    analytics: CachedAnalytics,
    export: Pages,
    cache: Cache,
    scans: ScanKeeper,
    parents: Parents,
    origins: _Reports,
    mailbag: Mailbag,
    unsubscribing: Unsubscribing,
) -> Console:
    threads = await house.pool("zones")
    console = Console(
        house.settings,
        registry,
        analytics,
        house,
        accounts=book,
        scans=scans,
        origins=origins,
        threads=threads,
        reactor=house.reactor,
        parents=parents,
        letters=mailbag,
        hosts=HostBook(registry),
        unsubscribing=unsubscribing,
        blocks=Blocklist(registry, clock=house.reactor),
        looking=prospects_of(house),
        account_keys=(
            Vault(registry, house.sealer, now=time.time)
            if house.settings.certificates.directory
            else None
        ),
        samples=house.samples,
        cache=cache,
        export=export,
    )
    await house.run("the console", console)
    return console
