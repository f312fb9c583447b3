"""From a request's row to the log store: spool and shipper as parts."""

from __future__ import annotations

import time
from collections.abc import Callable

from watchducks.analytics.schema import Schema
from watchducks.appliance.house import House
from watchducks.appliance.measures import of_the_shipper, of_the_spool
from watchducks.journal.choices import OwnersChoices
from watchducks.journal.losses import Losses
from watchducks.journal.places import Places
from watchducks.journal.shipper import Shipper
from watchducks.journal.sources import Knowledge
from watchducks.journal.spool import Spool
from watchducks.journal.verification import CrawlerChecks
from watchducks.lookups.reverse import ReverseLookUps
from watchducks.model.rows import RowSink
from watchducks.registry.feed import SiteFeed
from watchducks.registry.registry import Registry
from watchducks.registry.visitor_keys import SharedVisitorKeys
from watchducks.stores.interfaces import LogStore


async def start_the_journal(
    house: House, store: LogStore, schema: Schema, feed: SiteFeed, registry: Registry
) -> RowSink:
    """Start the spool and its shipper; returns where rows of requests go."""
    shipper, losses = await start_the_shipper(house, store, schema, feed, registry)
    return await start_the_spool(house, losses, shipper.nudge)


async def start_the_shipper(
    house: House, store: LogStore, schema: Schema, feed: SiteFeed, registry: Registry
) -> tuple[Shipper, Losses]:
    """Start what takes every spool of this host to the log store."""
    settings = house.settings
    data_dir = settings.node.data_dir
    losses = Losses(data_dir / "journal" / "lost-rows.json")
    choices = OwnersChoices()
    await feed.follow(choices.apply)
    checks = CrawlerChecks(ReverseLookUps(house.lookups().resolver), clock=house.reactor)
    await house.run("the checks of crawlers", checks)
    knowledge = Knowledge(
        places=Places(settings.logs.country_file, settings.logs.data_centre_file),
        choices=choices.of,
        verdicts=checks,
    )
    shared_keys = SharedVisitorKeys(
        registry,
        house.sealer,
        # Elsewhere it has to be a copy of the console host's.
        makes_key_file="console" in settings.node.roles
        or settings.registry.url.startswith("sqlite:"),
        now=time.time,
    )
    shipper = Shipper(
        data_dir / "spool",
        data_dir / "journal",
        store,
        schema,
        losses,
        knowledge,
        shared_keys,
        pool=await house.pool("journal"),
        clock=house.reactor,
        now=time.time,
        spool_bytes=settings.logs.spool_bytes,
        node=settings.node.name,
        # The instance that is being taken over from ships for both until it ends.
        waits=bool(house.instance),
    )
    await house.run("the shipper", shipper)
    house.measure(lambda: of_the_shipper(shipper, losses))
    return shipper, losses


async def start_the_spool(house: House, losses: Losses, on_sealed: Callable[[], None]) -> RowSink:
    """Start the spool of this process; returns where rows of requests go."""
    settings = house.settings
    spool = Spool(
        settings.node.data_dir / "spool",
        settings.node.name,
        losses,
        flush_seconds=settings.logs.flush_seconds,
        flush_rows=settings.logs.flush_rows,
        clock=house.reactor,
        # Our own reactor's; another sends an answer before its row may be on disk.
        soon=getattr(house.reactor, "before_sending", None),
        on_sealed=on_sealed,
    )
    await house.run("the spool", spool)
    house.measure(lambda: of_the_spool(spool))
    return spool
