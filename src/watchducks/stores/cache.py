"""Which cache: the one that ``cache.url`` names."""

from __future__ import annotations

from typing import Any

from watchducks.background import StartupError
from watchducks.stores.interfaces import Cache
from watchducks.stores.memory import MemoryCache


def open_cache(url: str, *, reactor: Any) -> Cache:
    """Return the cache for ``memory:`` or ``redis://[:password@]host[:port][/database]``, not
    started.

    :param reactor: provides IReactorTime, and IReactorTCP for Redis.
    :raises StartupError: the URL is neither.
    """
    if url == "memory:":
        return MemoryCache(reactor)
    if url.startswith("redis:"):
        # Not at the top: txredisapi installs the default reactor unless one is installed already.
        from watchducks.stores.redis import RedisCache, parse_redis_url  # noqa: PLC0415

        return RedisCache(parse_redis_url(url), reactor=reactor)
    raise StartupError('cache.url: accepted are "memory:" and redis://:password@host:6379/0')
