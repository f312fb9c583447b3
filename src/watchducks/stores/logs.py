"""Which log store a URL means."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from watchducks.background import StartupError, ThreadPool
from watchducks.model.log_servers import LogServers, parse_log_servers
from watchducks.stores.interfaces import Cluster, LogStore

# IReactorProcess and IReactorTime; no one type names both.
Reactor = Any

# Threads of the pool, and hence connections to one server: a page asks four questions at once.
THREADS = 4

# clickhouse-driver's own switch: without it, its import builds a table of every date from 1900 to
# 2299, which takes 25 MB and 130 ms. We have no column of the type Date.
_NO_TABLE_OF_DATES: Final = "CLICKHOUSE_DRIVER_LASY_DATE_LUT"


def open_log_store(
    url: str, *, pool: ThreadPool, reactor: Reactor, async_insert: bool = False, cluster: str = ""
) -> LogStore:
    """Return the store for ``logs.url``, not yet started.

    :param url: ``chdb:///directory`` or ``clickhouse://user:password@host:9000/database``, with
        a cluster of ``host:9000,other:9000``.
    :param pool: :data:`THREADS` threads; it runs from before the store's start until after its
        stop.
    :param async_insert: see :class:`watchducks.stores.clickhouse.ClickHouseStore`; chDB has one
        writer, so that there is nothing to collect.
    :param cluster: the name of the cluster that the servers are; "": one server, and no cluster.
    :raises StartupError: the URL is neither; the message never holds it, for the password's sake.
    """
    parts = urlsplit(url)
    # Each is imported by who uses it.
    if parts.scheme == "chdb" and not parts.netloc and parts.path.startswith("/"):
        from watchducks.stores.chdb import ChdbStore  # noqa: PLC0415

        return ChdbStore(Path(unquote(parts.path)), pool, reactor=reactor, clock=reactor)
    if parts.scheme == "clickhouse":
        os.environ.setdefault(_NO_TABLE_OF_DATES, "1")
        try:
            servers = parse_log_servers(url)
        except ValueError as error:
            raise StartupError(f"logs.url: {error}") from None
        from watchducks.stores.clickhouse import ClickHouseStore  # noqa: PLC0415

        if cluster:
            return _cluster(servers, cluster, pool, reactor)
        if len(servers.hosts) == 1:
            return ClickHouseStore(servers, pool, clock=reactor, async_insert=async_insert)
        raise StartupError("logs.url: several hosts need logs.cluster, the name of their cluster")
    raise StartupError(
        "logs.url: expected chdb:///directory or clickhouse://user:password@host:9000/database"
    )


def _cluster(servers: LogServers, name: str, pool: ThreadPool, reactor: Reactor) -> LogStore:
    from watchducks.stores import clickhouse  # noqa: PLC0415
    from watchducks.stores.clickhouse_cluster import ClickHouseCluster  # noqa: PLC0415

    members = [
        clickhouse.ClickHouseStore(
            replace(servers, hosts=(host,)),
            pool,
            clock=reactor,
            connect_seconds=clickhouse.CLUSTER_CONNECT_SECONDS,
            silence_seconds=clickhouse.CLUSTER_SILENCE_SECONDS,
            in_cluster=True,
        )
        for host in servers.hosts
    ]
    return ClickHouseCluster(members, Cluster(name, servers.database), clock=reactor)
