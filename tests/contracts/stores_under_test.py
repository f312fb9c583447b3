"""Pytest plugin-free helpers: the stores that the contract suites run over."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.nameserver.keys import glass
from watchducks.background import ThreadPool
from watchducks.registry.keys import ZoneKeys
from watchducks.registry.registry import Registry
from watchducks.registry.sealing import Sealer
from watchducks.stores.sql import THREADS, SqlStore


def zone_keys() -> ZoneKeys:
    """Keys in seals that anybody can open."""
    return ZoneKeys(glass, ttl=30, now=time.time)


@asynccontextmanager
async def thread_pool(reactor: Any, name: str = "test") -> AsyncIterator[ThreadPool]:
    """A started pool, stopped at the end."""
    pool = ThreadPool(name, THREADS, reactor=reactor)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


@asynccontextmanager
async def open_store(url: str, reactor: Any) -> AsyncIterator[SqlStore]:
    """A started store on ``url``, with a pool of its own."""
    async with thread_pool(reactor) as pool:
        store = SqlStore(url, pool)
        await store.start()
        try:
            yield store
        finally:
            await store.stop()


@asynccontextmanager
async def open_registry(
    url: str, reactor: Any, keys: ZoneKeys | None = None, sealer: Sealer | None = None
) -> AsyncIterator[Registry]:
    """A started registry on ``url``, as a process of its own would have it."""
    async with thread_pool(reactor) as pool:
        registry = Registry(
            SqlStore(url, pool), clock=reactor, keys=keys or zone_keys(), sealer=sealer
        )
        await registry.start()
        try:
            yield registry
        finally:
            await registry.stop()
