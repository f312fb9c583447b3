"""The log stores that the contract suites run over, and rows to fill them with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.clickhouse import ClickHouse
from watchducks.background import ThreadPool
from watchducks.journal.encoder import Encoder
from watchducks.journal.enrich import days_of, enrich
from watchducks.journal.records import FILE_HEADER, decode
from watchducks.journal.sources import Knowledge
from watchducks.model.rows import Row
from watchducks.stores.blocks import Numbers
from watchducks.stores.interfaces import LogStore
from watchducks.stores.logs import THREADS, open_log_store

KINDS = ["chdb", "clickhouse"]
# Made once: it takes 0.1 s.
KNOWLEDGE = Knowledge()


def log_store_url(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty store."""
    if kind == "chdb":
        pytest.importorskip("chdb")
        directory: Path = request.getfixturevalue("tmp_path")
        return f"chdb://{directory}/logs"
    server: ClickHouse = request.getfixturevalue("clickhouse")
    return server.fresh_database()


@asynccontextmanager
async def log_store(url: str, reactor: Any, cluster: str = "") -> AsyncIterator[LogStore]:
    """A store, not yet started; stopped at the end, its pool included."""
    pool = ThreadPool("logs", THREADS, reactor=reactor)
    pool.start()
    store = open_log_store(url, pool=pool, reactor=reactor, cluster=cluster)
    try:
        yield store
    finally:
        await store.stop()
        pool.stop()


def row(time: float, **changes: Any) -> Row:
    """An ordinary request at ``time`` (POSIX seconds), with ``changes``."""
    usual = Row(
        time_us=int(time * 1_000_000),
        site_id=1,
        kind="request",
        scheme="https",
        protocol="HTTP/1.1",
        method="GET",
        host="www.example.test",
        path="/",
        status=200,
        reason="",
        client="192.0.2.1",
        user_agent="Mozilla/5.0",
        referrer="",
        request_bytes=0,
        response_bytes=1000,
        duration_us=20_000,
        origin_us=15_000,
    )
    return usual._replace(**changes)


async def insert(
    store: LogStore, rows: Sequence[Row], name: str = "node-1-1", shipped: int | None = None
) -> None:
    """Insert rows as the shipper does.

    :param shipped: when they came; None: the server says.
    """
    segment = decode(FILE_HEADER + Encoder().encode(rows).content)
    keys = {day: bytes([day % 256]) * 32 for day in days_of(segment)}
    for batch in enrich([(name, segment)], keys, KNOWLEDGE):
        block = batch.block
        if shipped is not None:
            stamp = Numbers(32, shipped.to_bytes(4, "little") * block.rows)
            block = block._replace(columns=block.columns | {"shipped": stamp})
        await store.insert_block("requests", block, batch.segments[0])
