"""The keeper's side of workers: what stays in this process, and what the edges are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from watchducks.analytics.dns import DnsCounts
from watchducks.analytics.schema import Schema
from watchducks.appliance.dns import (
    cookie_secret,
    make_the_health,
    start_the_notifier,
    start_the_probes,
    start_the_search,
)
from watchducks.appliance.house import House
from watchducks.appliance.journal import start_the_shipper
from watchducks.appliance.pace import EDGES_PACE
from watchducks.appliance.reports import open_logs_late, start_the_history
from watchducks.background import Repeating, StartupError
from watchducks.edges.binding import Bindings, by_text
from watchducks.edges.fleet import Fleet
from watchducks.edges.line import Handlers
from watchducks.edges.messages import Opinion, of_opinion
from watchducks.edges.orphans import Orphan, find_orphans
from watchducks.health.prober import Health
from watchducks.instances import control_file
from watchducks.journal.losses import Loss, Losses
from watchducks.lookups.names import HostNames
from watchducks.lookups.remembered import document_of
from watchducks.model.sites import Site
from watchducks.model.verdicts import Verdicts
from watchducks.nameserver.counts import Counted, CountSink
from watchducks.registry.feed import SiteFeed
from watchducks.registry.registry import Registry
from watchducks.registry.snapshot import item_of
from watchducks.settings import Settings
from watchducks.stores.interfaces import LogStore, StoreUnavailable

# Names that wait to be asked of the old name servers; more come only from who makes them up.
MAX_MISSED: Final = 1_000
# How soon edges hear of a verdict: small beside the interval of probes.
VERDICT_SECONDS: Final = 0.1
# And of new addresses, all in one message: small beside the time for which they are held to.
NAMES_SECONDS: Final = 1.0


class MissedNames:
    """What visitors of all edges asked for in vain, each name as often as edges report it."""

    def __init__(self) -> None:
        self._names: deque[tuple[str, str]] = deque(maxlen=MAX_MISSED)

    def add(self, names: Iterable[tuple[str, str]]) -> None:
        for name in names:
            if name not in self._names:
                self._names.append(name)

    def take(self, limit: int) -> list[tuple[str, str]]:
        """See :meth:`watchducks.nameserver.misses.Misses.take`."""
        return [self._names.popleft() for _ in range(min(limit, len(self._names)))]


class EdgeServices:
    """What edges ask and tell (:class:`watchducks.edges.fleet.Services`).

    :ivar losses: where rows that edges gave up are counted; None: there is no proxy.
    :ivar sealed: called when an edge has sealed a segment.
    :ivar counts: where counts of DNS go; None: nowhere yet, and the edges keep them.
    """

    def __init__(self, registry: Registry, missed: MissedNames) -> None:
        self._registry = registry
        self._missed = missed
        self.losses: Losses | None = None
        self.sealed: Callable[[], None] = lambda: None
        self.counts: CountSink | None = None

    def handlers(self) -> Handlers:
        return {
            "site_for_host": self._site_for_host,
            "saw_certificate": self._saw_certificate,
            "saw_request": self._saw_request,
            "counts": self._store_counts,
            "sealed": self.sealed,
        }

    def lost(self, losses: Mapping[int, Loss]) -> None:
        if self.losses is not None:
            self.losses.add(losses)

    def missed(self, names: Iterable[tuple[str, str]]) -> None:
        self._missed.add(names)

    async def _site_for_host(self, host: str) -> dict[str, Any] | None:
        return _item(await self._registry.site_for_host(host))

    async def _saw_certificate(self, site_id: int) -> dict[str, Any] | None:
        return _item(await self._registry.saw_certificate(site_id))

    async def _saw_request(self, site_id: int) -> dict[str, Any] | None:
        return _item(await self._registry.saw_request(site_id))

    async def _store_counts(self, time: int, rows: Sequence[Sequence[Any]], token: str) -> None:
        if self.counts is None:
            raise StoreUnavailable("there is no log store yet")
        await self.counts.store(time, [Counted(*row) for row in rows], token)


def _item(site: Site | None) -> dict[str, Any] | None:
    return None if site is None else dict(item_of(site))


class VerdictsForEdges:
    """Posts each change of the verdicts to the edges. A Part."""

    _log = Logger()

    def __init__(self, verdicts: Verdicts, fleet: Fleet, *, clock: Any) -> None:
        self._verdicts = verdicts
        self._fleet = fleet
        self._revision = -1
        self._posts = Repeating(
            self._post, VERDICT_SECONDS, clock=clock, log=self._log, name="posting verdicts"
        )

    async def start(self) -> None:
        self._posts.start()

    async def stop(self) -> None:
        await self._posts.stop()

    async def _post(self) -> None:
        now = self._verdicts
        if now.revision != self._revision:
            self._revision = now.revision
            opinion = Opinion(now.serial, now.ttl_limit, tuple(now.healthy_addresses()))
            self._fleet.post("verdicts", of_opinion(opinion))


class NamesForEdges:
    """Posts what is known of host names to the edges, which look up nothing. A Part."""

    _log = Logger()

    def __init__(self, names: HostNames, fleet: Fleet, *, clock: Any) -> None:
        self._names = names
        self._fleet = fleet
        self._changes = -1
        self._posts = Repeating(
            self._post, NAMES_SECONDS, clock=clock, log=self._log, name="posting host names"
        )

    async def start(self) -> None:
        self._posts.start()

    async def stop(self) -> None:
        await self._posts.stop()

    async def _post(self) -> None:
        if self._names.changes != self._changes:
            self._changes = self._names.changes
            self._fleet.post("names", document_of(self._names.remembered()))


class Edges:
    """The edges with their sockets, from the first to the last. A Part."""

    _log = Logger()

    def __init__(
        self,
        house: House,
        document: Mapping[str, Any],
        feed: SiteFeed,
        services: EdgeServices,
    ) -> None:
        self._settings = house.settings
        self._directory = control_file(house.settings.node.data_dir, house.instance).parent
        self._bindings: Bindings | None = None
        self._services = services
        count = self._settings.node.workers
        self.fleet = Fleet(
            count,
            _for_edges(document, self._settings),
            house.instance,
            self._pairs,
            feed,
            services,
            drain_seconds=self._settings.node.drain_seconds,
            reactor=house.reactor,
        )

    def _pairs(self, number: int) -> list[tuple[str, Any]]:
        assert self._bindings is not None
        return self._bindings.of(number)

    async def start(self) -> None:
        """Take the place of edges that a dead keeper left, or bind anew.

        :raises StartupError: a socket cannot be had, or an edge does not start; left ones go on.
        """
        orphans = _look_for_orphans(self._directory)
        pairs = [pair for orphan in orphans for pair in orphan.pairs]
        self._bindings = Bindings(self._settings.node.workers, by_text(pairs))
        try:
            texts = self._open(self._settings)
            await self.fleet.start()
        except BaseException:
            for orphan in orphans:
                orphan.leave()
            self._bindings.close()
            raise
        self._bindings.keep_only(texts)
        for orphan in orphans:
            orphan.dismiss()
        if orphans:
            self._log.info("took the place of {count} edges without a keeper", count=len(orphans))

    def _open(self, settings: Settings) -> list[str]:
        """Bind what is not bound yet; returns all that is wanted."""
        assert self._bindings is not None
        texts: list[str] = []
        for role, key, found in (
            ("proxy", "proxy.http", settings.proxy.http),
            ("proxy", "proxy.https", settings.proxy.https),
            ("nameserver", "nameserver.listen", settings.nameserver.listen),
        ):
            if role in settings.node.roles:
                self._bindings.open(key, found)
                texts += found
        return texts

    async def replace(self, settings: Settings, document: Mapping[str, Any]) -> None:
        """Replace all edges, one by one, by edges of another configuration.

        :raises StartupError: the first of them does not serve; then all are as before.
        """
        assert self._bindings is not None
        texts = self._open(settings)
        await self.fleet.replace_all(_for_edges(document, settings), settings.node.drain_seconds)
        self._bindings.keep_only(texts)
        self._settings = settings

    async def stop(self) -> None:
        await self.fleet.stop()
        if self._bindings is not None:
            self._bindings.close()


def _for_edges(document: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the document with the endpoints of ``settings``, which may have more of them."""
    return {
        **document,
        "proxy": {
            **document.get("proxy", {}),
            "http": settings.proxy.http,
            "https": settings.proxy.https,
        },
        "nameserver": {
            **document.get("nameserver", {}),
            "listen": settings.nameserver.listen,
        },
    }


def _look_for_orphans(directory: Path) -> list[Orphan]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return find_orphans(directory)
    except OSError as error:
        raise StartupError(f"node.data_dir: {directory}: {error.strerror}") from error


async def start_the_traffic(
    house: House,
    document: Mapping[str, Any],
    registry: Registry,
    feed: SiteFeed,
    names: HostNames,
    logs: tuple[Schema, LogStore] | None,
) -> Edges:
    """Start the edges, and what the keeper does for them: shipping, probes, looking up."""
    roles = house.settings.node.roles
    missed = MissedNames()
    services = EdgeServices(registry, missed)
    edges = Edges(house, document, feed, services)
    edges.fleet.post(EDGES_PACE, asdict(house.pace))
    if "proxy" in roles and logs is not None:
        shipper, losses = await start_the_shipper(house, logs[1], logs[0], feed, registry)
        services.sealed, services.losses = shipper.nudge, losses
    posts = NamesForEdges(names, edges.fleet, clock=house.reactor)
    await house.run("the host names for edges", posts)
    health: Health | None = None
    if "nameserver" in roles:
        cookie_secret(house)  # made here, once for all edges
        health = make_the_health(house, await house.pool("verdicts"))
        await health.recall()
        verdicts = VerdictsForEdges(health, edges.fleet, clock=house.reactor)
        await house.run("the verdicts for edges", verdicts)
    await house.run("the edges", edges)
    house.check("edges", edges.fleet.complete)
    house.measure(edges.fleet.samples)
    if health is not None:
        await start_the_probes(house, health)
        await start_the_search(house, registry, missed)
        await start_the_notifier(house, feed, health)
        if logs is None and not house.settings.logs.url.startswith("chdb:"):
            logs = await open_logs_late(house)
        if logs is not None:
            schema, store = logs
            services.counts = DnsCounts(store, schema)
            await start_the_history(house, health, schema, store)
    return edges
