"""The composition root: settings in, parts out, started and stopped in order.

The only module that knows every part. A role's modules are imported when the role is wanted, so
that a host that only carries traffic loads no web framework.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twisted.logger import Logger

from watchducks import garbage
from watchducks.background import Part, StartupError, ThreadPool
from watchducks.model.origins import Origin, check_origin
from watchducks.model.problems import Problem
from watchducks.model.rows import RowSink
from watchducks.model.sites import Site
from watchducks.registry.feed import SiteFeed
from watchducks.registry.keys import ZoneKeys
from watchducks.registry.parents import ParentWatch
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import KeyFile, Sealer
from watchducks.routes import RouteTable
from watchducks.settings import Settings
from watchducks.stores.cache import open_cache
from watchducks.stores.interfaces import Cache, LogStore
from watchducks.stores.sql import THREADS as SQL_THREADS
from watchducks.stores.sql import SqlStore

if TYPE_CHECKING:
    from watchducks.analytics.schema import Schema
    from watchducks.health.origins import Origins
    from watchducks.health.prober import Health
    from watchducks.lookups.assembly import Lookups
    from watchducks.lookups.cutovers import Warns
    from watchducks.lookups.keeper import ScanKeeper
    from watchducks.lookups.parents import Parents
    from watchducks.nameserver.counts import Counts
    from watchducks.nameserver.transfers import Transfers
    from watchducks.nameserver.zones import ZoneTable

# Twisted's reactors provide a dozen interfaces, and no one type names them all.
Reactor = Any

# Certificates are read, known sites kept and segments decoded one after another: one thread each is
# enough, and none of them waits for another's slow disk.
ONE_THREAD = 1


class PoolPart:
    """A thread pool as a part, so that it starts before, and stops after, who uses it."""

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool

    async def start(self) -> None:
        self._pool.start()

    async def stop(self) -> None:
        self._pool.stop()


class Appliance:
    """Every part that ``settings.node.roles`` asks for."""

    def __init__(self, settings: Settings, reactor: Reactor) -> None:
        self._log = Logger()
        self._settings = settings
        self._reactor = reactor
        self._sealer = Sealer(settings.key_file)
        self._public: Lookups | None = None
        self._running: list[tuple[str, Part]] = []
        self._checks: dict[str, Callable[[], bool]] = {"started": lambda: False}

    async def start(self) -> None:
        """Start the parts, each when those it relies on run.

        :raises StartupError: one of them cannot; :meth:`stop` ends the others.
        """
        settings, roles = self._settings, self._settings.node.roles
        self._log.info(
            "starting {name} as {roles}", name=settings.node.name, roles=", ".join(roles)
        )
        try:
            settings.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise StartupError(
                f"node.data_dir = {settings.node.data_dir}: {error.strerror}"
            ) from error

        cache = open_cache(settings.cache.url, reactor=self._reactor)
        await self._run("the cache", cache)
        registry, feed = await self._start_the_registry(cache)
        logs: tuple[Schema, LogStore] | None = None
        if "proxy" in roles or "console" in roles:
            logs = schema, log_store = await self._start_the_log_store()
            if "proxy" in roles:
                rows = await self._start_the_journal(log_store, schema)
                await self._start_the_proxy(rows, registry, feed, cache)
            if "console" in roles:
                scans, parents = await self._start_the_lookups(registry, feed)
                origins = await self._start_the_origin_probes(feed)
                await self._start_the_console(registry, log_store, scans, parents, origins)
        if "nameserver" in roles:
            from watchducks.nameserver.counts import Counts

            # A name server alone counts only for a log store that somebody else can ask.
            counts = Counts() if logs or not settings.logs.url.startswith("chdb:") else None
            health = await self._start_the_name_server(registry, feed, counts)
            if counts is not None:
                await self._start_the_reports(counts, health, logs)
        garbage.settle()
        self._checks["started"] = lambda: True
        self._log.info("ready")

    async def stop(self) -> None:
        """Stop what runs, the last started first; a part that fails does not keep the others."""
        self._checks["started"] = lambda: False
        while self._running:
            name, part = self._running.pop()
            try:
                await part.stop()
            except Exception:
                self._log.failure("{name} did not stop well", name=name)

    def checks(self) -> Mapping[str, bool]:
        """Return part -> whether it can work now, for /readyz."""
        return {name: check() for name, check in self._checks.items()}

    async def _run(self, name: str, part: Part) -> None:
        await part.start()
        self._running.append((name, part))

    async def _pool(self, name: str, threads: int) -> ThreadPool:
        pool = ThreadPool(name, threads, reactor=self._reactor)
        await self._run(f"the threads of {name}", PoolPart(pool))
        return pool

    async def _start_the_registry(self, cache: Cache) -> tuple[Registry, SiteFeed]:
        settings = self._settings
        store = SqlStore(settings.registry.url, await self._pool("registry", SQL_THREADS))
        registry = Registry(
            store,
            clock=self._reactor,
            keys=_zone_keys(settings, self._sealer),
            rules=settings.cutover_rules,
        )
        await self._run("the registry", registry)
        feed = SiteFeed(
            registry,
            cache,
            settings.node.data_dir / "state",
            pool=await self._pool("state", ONE_THREAD),
            clock=self._reactor,
        )
        registry.on_write(feed.announce)
        await self._run("the feed of the registry", feed)
        self._checks["registry"] = lambda: feed.reachable
        return registry, feed

    async def _start_the_log_store(self, *, required: bool = True) -> tuple[Schema, LogStore]:
        from watchducks.analytics.schema import Schema
        from watchducks.stores.logs import THREADS, open_log_store

        pool = await self._pool("logs", THREADS)
        store = open_log_store(self._settings.logs.url, pool=pool, reactor=self._reactor)
        directory = self._settings.node.data_dir / "journal"
        schema = Schema(store, directory, clock=self._reactor, now=time.time, required=required)
        await self._run("the log store", schema)
        self._checks["logs"] = lambda: schema.ready
        return schema, store

    async def _start_the_journal(self, store: LogStore, schema: Schema) -> RowSink:
        from watchducks.journal.losses import Losses
        from watchducks.journal.shipper import Shipper
        from watchducks.journal.spool import Spool

        settings = self._settings
        data_dir = settings.node.data_dir
        losses = Losses(data_dir / "journal" / "lost-rows.json")
        shipper = Shipper(
            data_dir / "spool",
            data_dir / "journal",
            store,
            schema,
            losses,
            pool=await self._pool("journal", ONE_THREAD),
            clock=self._reactor,
            now=time.time,
            spool_bytes=settings.logs.spool_bytes,
        )
        await self._run("the shipper", shipper)
        spool = Spool(
            data_dir / "spool",
            settings.node.name,
            losses,
            flush_seconds=settings.logs.flush_seconds,
            flush_rows=settings.logs.flush_rows,
            clock=self._reactor,
            # Our own reactor's; another sends an answer before its row may be on disk.
            soon=getattr(self._reactor, "before_sending", None),
            on_sealed=shipper.nudge,
        )
        await self._run("the spool", spool)
        return spool

    async def _start_the_proxy(
        self, rows: RowSink, registry: Registry, feed: SiteFeed, cache: Cache
    ) -> None:
        from watchducks.certificates.store import CertificateStore
        from watchducks.proxy.accept import ALPN
        from watchducks.proxy.service import Proxy
        from watchducks.proxy.sightings import Sightings

        settings = self._settings
        rules = settings.cutover_rules
        routes = RouteTable(
            registry, cache, clock=self._reactor, lineage=lambda: feed.lineage, rules=rules
        )
        await feed.follow(routes.apply)
        await self._run("the routes", routes)
        certificates = CertificateStore(
            settings.node.data_dir / "certificates",
            pool=await self._pool("certificates", ONE_THREAD),
            clock=self._reactor,
            alpn=ALPN,
        )
        await self._run("the certificates", certificates)
        sightings = Sightings(rows, registry, certificates, rules=rules, clock=self._reactor)
        await feed.follow(sightings.apply)
        await self._run("what the proxy sees of sites on their way", sightings)
        proxy = Proxy(
            settings,
            routes=routes,
            certificates=certificates,
            sink=sightings,
            reactor=self._reactor,
        )
        await self._run("the proxy", proxy)

    async def _start_the_reports(
        self, counts: Counts, health: Health, logs: tuple[Schema, LogStore] | None
    ) -> None:
        """Begin to store counts of DNS and verdicts; what is answered already needs none of it.

        :param logs: None: the name server is alone, and the log store is still to be opened.
        """
        from watchducks.analytics.dns import DnsCounts
        from watchducks.analytics.verdicts import VerdictHistory
        from watchducks.nameserver.counts import CountReporter

        if logs is None:
            try:
                logs = await self._start_the_log_store(required=False)
            except StartupError as error:
                self._log.error("DNS is not counted, nor verdicts kept: {error}", error=str(error))
                return
        schema, store = logs
        sink = DnsCounts(store, schema)
        reporter = CountReporter(counts, sink, clock=self._reactor, now=time.time)
        await self._run("the counts of DNS", reporter)
        history = VerdictHistory(self._settings.node.name, store, schema, clock=self._reactor)
        health.on_change(lambda verdict: history.record(verdict, len(health.healthy_addresses())))
        await self._run("the history of verdicts", history)
        # What changed before, or while another process of ours ran, ends what that one began.
        for verdict in health.verdicts():
            history.record(verdict, len(health.healthy_addresses()))

    async def _start_the_name_server(
        self, registry: Registry, feed: SiteFeed, counts: Counts | None
    ) -> Health:
        from watchducks.health.prober import Health
        from watchducks.health.reference import TcpReferences
        from watchducks.lookups.missing import MissingNames
        from watchducks.lookups.resolver import find_resolvers
        from watchducks.nameserver.alias import Aliases
        from watchducks.nameserver.cookies import Cookies, kept_secret
        from watchducks.nameserver.guard import RateLimit
        from watchducks.nameserver.identity import Identity
        from watchducks.nameserver.listener import TCP_IDLE_SECONDS, NameServer
        from watchducks.nameserver.misses import Misses
        from watchducks.nameserver.options import Options
        from watchducks.nameserver.responder import Responder
        from watchducks.nameserver.signatures import Signatures
        from watchducks.nameserver.signing import Signer
        from watchducks.nameserver.zones import ZoneTable

        settings = self._settings
        zones = ZoneTable(
            settings.nameserver.names,
            settings.nameserver.addresses,
            ttl=settings.nameserver.ttl,
            sender=settings.mail.sender,
            rules=settings.cutover_rules,
        )
        await feed.follow(zones.apply)
        aliases = Aliases(zones, self._lookups().resolver, clock=self._reactor)
        await feed.follow(aliases.apply)
        await self._run("the aliases", aliases)
        resolvers = find_resolvers(settings.node.resolvers)
        health = Health(
            settings.nameserver.health,
            settings.proxy,
            reactor=self._reactor,
            state_dir=settings.node.data_dir / "nameserver",
            pool=await self._pool("verdicts", ONE_THREAD),
            reference=TcpReferences(
                [(resolver.address, resolver.port) for resolver in resolvers],
                reactor=self._reactor,
            ),
        )
        await self._run("the health probes", health)
        # Read once, before anything is answered: no thread is worth 32 octets.
        secret = kept_secret(settings.node.data_dir / "nameserver" / "cookie-secret", self._log)
        nsid, per_second = settings.nameserver.nsid, settings.nameserver.rrl_per_second
        key_file = KeyFile(
            self._sealer, pool=await self._pool("keys", ONE_THREAD), clock=self._reactor
        )
        await self._run("the key file", key_file)
        signatures = Signatures(self._sealer, clock=self._reactor)
        public = self._lookups()
        misses = Misses(clock=self._reactor)
        missing = MissingNames(
            misses, registry, public.directory, public.client, clock=self._reactor
        )
        await self._run("the search for missing names", missing)
        responder = Responder(
            zones,
            health,
            clock=self._reactor,
            options=Options(
                Cookies(secret, now=time.time), nsid=nsid, idle_seconds=TCP_IDLE_SECONDS
            ),
            limit=RateLimit(per_second, clock=self._reactor) if per_second else None,
            counts=counts,
            identity=Identity(nsid) if nsid else None,
            signer=Signer(zones, health, signatures),
            misses=misses,
        )
        server = NameServer(
            settings.nameserver.listen,
            responder,
            reactor=self._reactor,
            transfers=await self._start_the_transfers(feed, zones, health),
        )
        await self._run("the name server", server)
        return health

    async def _start_the_transfers(
        self, feed: SiteFeed, zones: ZoneTable, health: Health
    ) -> Transfers | None:
        """Tell the listed secondaries of changes; returns what gives them the zones."""
        from watchducks.nameserver.notify import Notifier
        from watchducks.nameserver.transfers import Transfers
        from watchducks.nameserver.tsig import make_key

        settings = self._settings.nameserver
        if not settings.secondaries:
            return None
        key = make_key(settings.transfer_key) if settings.transfer_key else None
        notifier = Notifier(
            settings.secondaries, key=key, zones=zones.apexes, reactor=self._reactor, now=time.time
        )
        await feed.follow(notifier.apply)
        health.on_change(lambda _verdict: notifier.all_changed())
        await self._run("the notifier of secondaries", notifier)
        addresses = [address for address, _ in settings.secondaries]
        return Transfers(zones, health, addresses, key=key, now=time.time)

    async def _start_the_lookups(
        self, registry: Registry, feed: SiteFeed
    ) -> tuple[ScanKeeper, Parents]:
        from watchducks.lookups.cutovers import CutoverFollower
        from watchducks.lookups.delegation import Delegations
        from watchducks.lookups.keeper import ScanKeeper
        from watchducks.lookups.parents import Parents

        keeper = ScanKeeper(registry, self._lookups().scanner, clock=self._reactor)
        await self._run("the scans of new sites", keeper)
        parents = Parents(self._lookups().directory, clock=self._reactor)
        watch = ParentWatch(registry, parents, clock=self._reactor)
        await feed.follow(watch.apply)
        await self._run("the watch over parents' DS", watch)
        own, public = self._settings.nameserver.names, self._lookups()
        looks = Delegations(public.directory, public.client, own, clock=self._reactor)
        follower = CutoverFollower(
            registry,
            looks,
            own,
            warn=await self._farewells(),
            rules=self._settings.cutover_rules,
            clock=self._reactor,
        )
        await self._run("the watch over delegations", follower)
        return keeper, parents

    async def _farewells(self) -> Warns:
        """Return what tells owners that their sites will be forgotten."""
        from watchducks.lookups.farewell import farewell_mail
        from watchducks.stores.outbox import Outbox

        settings = self._settings
        outbox = Outbox(settings.node.data_dir / "outbox", await self._pool("mail", ONE_THREAD))

        async def warn(site: Site, forgotten: float) -> None:
            message = farewell_mail(
                site,
                forgotten,
                settings.nameserver.names,
                sender=settings.mail.sender,
                url=f"{settings.console.url}/sites/{quote(site.name, safe='')}",
                now=self._reactor.seconds(),
            )
            await outbox.send(message)

        return warn

    async def _start_the_origin_probes(self, feed: SiteFeed) -> Origins:
        from watchducks.health.origins import Origins

        settings = self._settings

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

        origins = Origins(reactor=self._reactor, accepts=accepts)
        rules = self._settings.cutover_rules
        # What nobody has shown to be his is not asked either: it may be a stranger's.
        await feed.follow(lambda changes: origins.apply(rules.carried(changes)))
        await self._run("the probes of origins", origins)
        return origins

    def _lookups(self) -> Lookups:
        """Return what asks the public DNS, the same for every part."""
        from watchducks.lookups.assembly import open_lookups

        if self._public is None:
            self._public = open_lookups(self._settings, reactor=self._reactor)
        return self._public

    async def _start_the_console(
        self,
        registry: Registry,
        store: LogStore,
        scans: ScanKeeper,
        parents: Parents,
        origins: Origins,
    ) -> None:
        from watchducks.analytics.queries import Analytics
        from watchducks.console.app import Console

        threads = await self._pool("zones", ONE_THREAD)
        console = Console(
            self._settings,
            registry,
            Analytics(store),
            self,
            scans=scans,
            origins=origins,
            threads=threads,
            reactor=self._reactor,
            parents=parents,
        )
        await self._run("the console", console)


def _zone_keys(settings: Settings, sealer: Sealer) -> ZoneKeys:
    return ZoneKeys(sealer.seal, ttl=settings.nameserver.ttl, now=time.time)


@asynccontextmanager
async def open_registry(settings: Settings, reactor: Reactor) -> AsyncIterator[Registry]:
    """Give the registry alone, for a command that goes round the console.

    :raises StartupError: it cannot be opened.
    """
    pool = ThreadPool("registry", ONE_THREAD, reactor=reactor)
    pool.start()
    try:
        keys = _zone_keys(settings, Sealer(settings.key_file))
        registry = Registry(
            SqlStore(settings.registry.url, pool),
            clock=reactor,
            keys=keys,
            rules=settings.cutover_rules,
        )
        await registry.start()
        try:
            yield registry
        finally:
            await registry.stop()
    finally:
        pool.stop()
