"""The composition root: settings in, parts out, started and stopped in order.

The only package that knows every part; a module for each role puts its parts together. They are
imported when the role is wanted, so that a host that only carries traffic loads no web framework.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from watchducks import garbage
from watchducks.appliance.certificates import (
    start_the_challenges,
    start_the_files,
    start_the_keeper,
    tell_edges,
    tell_of_files,
    watch_the_given,
)
from watchducks.appliance.control import Control
from watchducks.appliance.hosts import HostReporter
from watchducks.appliance.house import House, Reactor
from watchducks.appliance.measures import start_measuring
from watchducks.appliance.metrics import start_the_metrics
from watchducks.appliance.names import start_the_names
from watchducks.appliance.pace import USUAL, Pace
from watchducks.appliance.reload import plan_reload
from watchducks.appliance.sites import start_the_registry
from watchducks.background import StartupError
from watchducks.instances import Doors, control_file
from watchducks.settings import Settings
from watchducks.stores.cache import open_cache

if TYPE_CHECKING:
    from watchducks.analytics.schema import Schema
    from watchducks.appliance.happenings import Notes
    from watchducks.appliance.keeper import Edges
    from watchducks.registry.registry import Registry
    from watchducks.stores.interfaces import LogStore


class Appliance:
    """Every part that ``settings.node.roles`` asks for."""

    def __init__(
        self,
        settings: Settings,
        reactor: Reactor,
        *,
        instance: str = "",
        document: Mapping[str, Any] | None = None,
        pace: Pace = USUAL,
    ) -> None:
        """:param instance: its name among several on the same data and sockets; "": it is alone.
        :param document: what ``settings`` were read from, for the processes of ``node.workers``;
            None: there are none.
        :param pace: another than the usual one, for who watches it at work.
        """
        self._log = Logger()
        # One that is alone is asked through the same doors as by everyone.
        self._doors = Doors(settings.node.roles if instance else ())
        self._settings = settings = self._doors.in_settings(settings)
        self._document = document
        self._edges: Edges | None = None
        self._house = House(settings, reactor, instance, pace=pace)
        self._house.check("started", lambda: False)

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
        control = Control(
            self._house,
            control_file(settings.node.data_dir, self._house.instance),
            instance=self._house.instance,
            doors=self._doors.ports,
            now=time.time(),
        )
        await self._house.run("the control socket", control)
        _load(roles, edges=settings.has_edges)
        registry = await self._start_the_roles()
        garbage.settle()
        self._house.check("started", lambda: True)
        await self._house.run("the reports of this host", HostReporter(self._house, registry))
        self._log.info("ready")

    async def _start_the_roles(self) -> Registry:
        house, settings, roles = self._house, self._settings, self._settings.node.roles
        await start_measuring(house)
        await start_the_metrics(house)
        cache = open_cache(settings.cache.url, reactor=house.reactor)
        await house.run("the cache", cache)
        registry, feed = await start_the_registry(house, cache)
        names = await start_the_names(house, feed)
        acme = await start_the_challenges(house, registry, cache)
        answers = None if acme is None else acme.answers
        logs: tuple[Schema, LogStore] | None = None
        notes: Notes | None = None
        if "proxy" in roles or "console" in roles:
            from watchducks.appliance.logs import start_the_log_store

            logs = schema, log_store = await start_the_log_store(house)
            if "proxy" in roles and not settings.has_edges:
                from watchducks.appliance.journal import start_the_journal
                from watchducks.appliance.traffic import start_the_proxy

                rows = await start_the_journal(house, log_store, schema, feed, registry)
                held = await start_the_proxy(house, rows, registry, feed, cache, answers=answers)
                if acme is not None:
                    await start_the_files(house, cache, acme, held.nudge)
            if "console" in roles:
                from watchducks.appliance.happenings import start_the_notes
                from watchducks.appliance.logs import start_the_upkeep
                from watchducks.appliance.owners import start_for_owners

                await start_the_upkeep(house, schema, log_store)
                notes = await start_the_notes(house, log_store, time.time)
                await start_for_owners(house, registry, feed, log_store, cache, notes)
        if settings.has_edges:
            from watchducks.appliance.keeper import start_the_traffic

            assert self._document is not None, "edges are to learn their configuration"
            self._edges = await start_the_traffic(
                house, self._document, registry, feed, names, logs
            )
            if acme is not None:
                tell_edges(acme, self._edges.fleet)
                if "proxy" in roles:
                    await start_the_files(house, cache, acme, tell_of_files(self._edges.fleet))
        elif "nameserver" in roles:
            from watchducks.appliance.dns import start_the_name_server
            from watchducks.nameserver.counts import Counts

            # A name server alone counts only for a log store that somebody else can ask.
            counts = Counts() if logs or not settings.logs.url.startswith("chdb:") else None
            health = await start_the_name_server(house, registry, feed, counts, answers)
            if counts is not None:
                from watchducks.appliance.reports import start_the_reports

                await start_the_reports(house, counts, health, logs)
        if "proxy" in roles:
            await watch_the_given(house, registry)
        if notes is not None and acme is not None:
            await start_the_keeper(house, registry, feed, cache, acme, notes)
        return registry

    async def reload(self, settings: Settings, document: Mapping[str, Any]) -> None:
        """Go on with another configuration, which has been checked: replace the edges, one by one.

        :raises StartupError: it cannot be had without a restart, or not at all; then everything is
            as it was.
        """
        settings = self._doors.in_settings(settings)
        plan = plan_reload(self._settings, settings)
        if plan.restart:
            raise StartupError(f"these need a restart: {', '.join(plan.restart)}")
        if self._edges is None:
            self._log.info("nothing has changed in the configuration")
            return
        self._log.info(
            "replacing the edges; changed: {changed}", changed=", ".join(plan.changed) or "nothing"
        )
        await self._edges.replace(settings, document)
        self._settings, self._document = settings, document
        self._log.info("the edges are replaced")

    async def stop(self) -> None:
        """Stop what runs, the last started first; a part that fails does not keep the others."""
        self._house.check("started", lambda: False)
        await self._house.stop()
        self._doors.close()

    def describe(self) -> str:
        """Return in a few words what runs, for whoever looks after processes."""
        return f"ready as {', '.join(self._settings.node.roles)}"

    def checks(self) -> Mapping[str, bool]:
        """Return part -> whether it can work now, for /readyz."""
        return self._house.checks()


def _load(roles: Sequence[str], *, edges: bool) -> None:
    """Import what the roles need, before anything listens.

    That takes a second or two, in which the reactor does nothing else: who was accepted on a socket
    that another instance shares would wait so long.
    """
    import watchducks.appliance.logs

    if edges:
        import watchducks.appliance.keeper
    if "proxy" in roles:
        import watchducks.appliance.journal
        import watchducks.appliance.traffic
    if "nameserver" in roles:
        import watchducks.appliance.dns
        import watchducks.appliance.reports
    if "console" in roles:
        import watchducks.appliance.owners  # noqa: F401
