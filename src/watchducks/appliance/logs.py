"""The log store as a part."""

from __future__ import annotations

import time

from watchducks.analytics.schema import Schema
from watchducks.analytics.upkeep import Upkeep
from watchducks.appliance.house import House
from watchducks.stores.interfaces import LogStore
from watchducks.stores.logs import THREADS, open_log_store


async def start_the_log_store(house: House, *, required: bool = True) -> tuple[Schema, LogStore]:
    """Open the log store and bring its schema up to date.

    :param required: False: one that does not answer now may come later, and nobody waits for it.
    :raises StartupError: it cannot be opened.
    """
    pool = await house.pool("logs", THREADS)
    logs = house.settings.logs
    store = open_log_store(
        logs.url,
        pool=pool,
        reactor=house.reactor,
        async_insert=logs.async_insert,
        cluster=logs.cluster,
    )
    directory = house.settings.node.data_dir / "journal"
    schema = Schema(
        store,
        directory,
        clock=house.reactor,
        now=time.time,
        raw_days=house.settings.logs.raw_days,
        required=required,
        # chDB belongs to one process: while we take over, to the other instance.
        waits=bool(house.instance) and house.settings.logs.url.startswith("chdb:"),
    )
    await house.run("the log store", schema)
    house.check("logs", lambda: schema.ready)
    return schema, store


async def start_the_upkeep(house: House, schema: Schema, store: LogStore) -> None:
    """Make roll-ups; on every host with a console, as nobody else asks."""
    raw_days = house.settings.logs.raw_days
    upkeep = Upkeep(store, schema, raw_days, clock=house.reactor, now=time.time)
    await house.run("the upkeep of the log store", upkeep)
    house.measure(upkeep.samples)
