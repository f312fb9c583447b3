"""What a name server reports to the log store: counts of DNS and verdicts."""

from __future__ import annotations

import time

from twisted.logger import Logger

from watchducks.analytics.dns import DnsCounts
from watchducks.analytics.schema import Schema
from watchducks.analytics.verdicts import VerdictHistory
from watchducks.appliance.house import House
from watchducks.appliance.logs import start_the_log_store
from watchducks.background import StartupError
from watchducks.health.prober import Health
from watchducks.nameserver.counts import CountReporter, Counts
from watchducks.stores.interfaces import LogStore


async def start_the_reports(
    house: House, counts: Counts, health: Health, logs: tuple[Schema, LogStore] | None
) -> None:
    """Begin to store counts of DNS and verdicts; what is answered already needs none of it.

    :param logs: None: the name server is alone, and the log store is still to be opened.
    """
    logs = logs or await open_logs_late(house)
    if logs is None:
        return
    schema, store = logs
    sink = DnsCounts(store, schema)
    reporter = CountReporter(counts, sink, clock=house.reactor, now=time.time)
    await house.run("the counts of DNS", reporter)
    await start_the_history(house, health, schema, store)


async def open_logs_late(house: House) -> tuple[Schema, LogStore] | None:
    """Open the log store of a name server that is alone and answers already; None: it cannot be."""
    try:
        return await start_the_log_store(house, required=False)
    except StartupError as error:
        Logger().error("DNS is not counted, nor verdicts kept: {error}", error=str(error))
        return None


async def start_the_history(house: House, health: Health, schema: Schema, store: LogStore) -> None:
    """Begin to store verdicts."""
    history = VerdictHistory(house.settings.node.name, store, schema, clock=house.reactor)
    health.on_change(lambda verdict: history.record(verdict, len(health.healthy_addresses())))
    await house.run("the history of verdicts", history)
    # What changed before, or while another process of ours ran, ends what that one began.
    for verdict in health.verdicts():
        history.record(verdict, len(health.healthy_addresses()))
