"""Which log store a URL means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from watchducks.background import StartupError, ThreadPool
from watchducks.stores.interfaces import LogStore

# IReactorProcess and IReactorTime; no one type names both.
Reactor = Any

# Threads of the pool, and hence connections to one server: a page asks four questions at once.
THREADS = 4

# clickhouse-driver's own switch: without it, its import builds a table of every date from 1900 to
# 2299, which takes 25 MB and 130 ms. We have no column of the type Date.
_NO_TABLE_OF_DATES: Final = "CLICKHOUSE_DRIVER_LASY_DATE_LUT"


def open_log_store(
    url: str, *, pool: ThreadPool, reactor: Reactor, async_insert: bool = False
) -> LogStore:
    """Return the store for ``logs.url``, not yet started.

    :param url: ``chdb:///directory`` or ``clickhouse://user:password@host:9000/database``.
    :param pool: :data:`THREADS` threads; it runs from before the store's start until after its
        stop.
    :param async_insert: see :class:`watchducks.stores.clickhouse.ClickHouseStore`; chDB has one
        writer, so that there is nothing to collect.
    :raises StartupError: the URL is neither; the message never holds it, for the password's sake.
    """
    parts = urlsplit(url)
    # Each is imported by who uses it.
    if parts.scheme == "chdb" and not parts.netloc and parts.path.startswith("/"):
        from watchducks.stores.chdb import ChdbStore  # noqa: PLC0415

        return ChdbStore(Path(unquote(parts.path)), pool, reactor=reactor, clock=reactor)
    if parts.scheme == "clickhouse":
        os.environ.setdefault(_NO_TABLE_OF_DATES, "1")
        from watchducks.stores.clickhouse import ClickHouseStore  # noqa: PLC0415

        return ClickHouseStore(url, pool, clock=reactor, async_insert=async_insert)
    raise StartupError(
        "logs.url: expected chdb:///directory or clickhouse://user:password@host:9000/database"
    )
