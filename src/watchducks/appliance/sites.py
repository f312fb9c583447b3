"""The registry as a part, and what follows it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from watchducks.appliance.house import ONE_THREAD, House, Reactor
from watchducks.background import ThreadPool
from watchducks.registry.feed import SiteFeed
from watchducks.registry.keys import ZoneKeys
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import Sealer
from watchducks.settings import Settings
from watchducks.stores.interfaces import Cache
from watchducks.stores.sql import THREADS as SQL_THREADS
from watchducks.stores.sql import SqlStore


def zone_keys(settings: Settings, sealer: Sealer) -> ZoneKeys:
    return ZoneKeys(sealer.seal, ttl=settings.nameserver.ttl, now=time.time)


async def start_the_registry(house: House, cache: Cache) -> tuple[Registry, SiteFeed]:
    """Start the registry and what follows its revision."""
    settings = house.settings
    store = SqlStore(settings.registry.url, await house.pool("registry", SQL_THREADS))
    registry = Registry(
        store,
        clock=house.reactor,
        keys=zone_keys(settings, house.sealer),
        rules=settings.cutover_rules,
        sealer=house.sealer,
        drill_seconds=house.pace.drill_seconds,
    )
    await house.run("the registry", registry)
    feed = SiteFeed(
        registry,
        cache,
        settings.node.data_dir / "state",
        pool=await house.pool("state"),
        clock=house.reactor,
    )
    registry.on_write(feed.announce)
    await house.run("the feed of the registry", feed)
    house.check("registry", lambda: feed.reachable)
    return registry, feed


@asynccontextmanager
async def open_registry(
    settings: Settings, reactor: Reactor, sealer: Sealer | None = None
) -> AsyncIterator[Registry]:
    """Give the registry alone, for a command that goes round the console.

    :param sealer: what else seals for the command.
    :raises StartupError: it cannot be opened.
    """
    pool = ThreadPool("registry", ONE_THREAD, reactor=reactor)
    pool.start()
    try:
        sealer = sealer or Sealer(settings.key_file)
        registry = Registry(
            SqlStore(settings.registry.url, pool),
            clock=reactor,
            keys=zone_keys(settings, sealer),
            rules=settings.cutover_rules,
            sealer=sealer,
        )
        await registry.start()
        try:
            yield registry
        finally:
            await registry.stop()
    finally:
        pool.stop()
