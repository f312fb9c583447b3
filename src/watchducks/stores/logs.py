"""Which log store a URL means."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from watchducks.background import StartupError, ThreadPool
from watchducks.stores.chdb import ChdbStore
from watchducks.stores.clickhouse import ClickHouseStore
from watchducks.stores.interfaces import LogStore

# IReactorProcess and IReactorTime; no one type names both.
Reactor = Any

# Threads of the pool, and hence connections to one server: a page asks four questions at once.
THREADS = 4


def open_log_store(url: str, *, pool: ThreadPool, reactor: Reactor) -> LogStore:
    """Return the store for ``logs.url``, not yet started.

    :param url: ``chdb:///directory`` or ``clickhouse://user:password@host:9000/database``.
    :param pool: :data:`THREADS` threads; it runs from before the store's start until after its
        stop.
    :raises StartupError: the URL is neither; the message never holds it, for the password's sake.
    """
    parts = urlsplit(url)
    if parts.scheme == "chdb" and not parts.netloc and parts.path.startswith("/"):
        return ChdbStore(Path(unquote(parts.path)), pool, reactor=reactor, clock=reactor)
    if parts.scheme == "clickhouse":
        return ClickHouseStore(url, pool, clock=reactor)
    raise StartupError(
        "logs.url: expected chdb:///directory or clickhouse://user:password@host:9000/database"
    )
