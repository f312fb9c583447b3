"""The cache's contract, over memory and Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from tests.servers.redis import Redis
from tests.servers.waiting import eventually
from watchducks.background import StartupError
from watchducks.stores.cache import open_cache
from watchducks.stores.interfaces import Cache, StoreUnavailable

CLOCK: Any = reactor


@asynccontextmanager
async def running(url: str) -> AsyncIterator[Cache]:
    cache = open_cache(url, reactor=reactor)
    await cache.start()
    try:
        yield cache
    finally:
        await cache.stop()


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty cache."""
    if request.param == "memory":
        return "memory:"
    server: Redis = request.getfixturevalue("redis")
    server.flush_all()
    return server.url


async def until_heard(cache: Cache, channel: str, message: bytes, heard: list[bytes]) -> None:
    """Publish until it arrives: a subscription takes a moment, and an outage loses messages."""

    async def arrived() -> bool:
        try:
            await cache.publish(channel, message)
        except StoreUnavailable:
            return False
        await deferLater(CLOCK, 0.01)
        return message in heard

    await eventually(CLOCK, arrived, f"{message!r} on {channel}", 15)


@pytest_twisted.ensureDeferred
async def test_what_is_set_is_there_until_it_is_deleted(url: str) -> None:
    async with running(url) as cache:
        assert await cache.get("a") is None
        values = {"a": b"1", "b c\r\n": bytes(range(256)), "오리": b"", "n": b"12.50", "x": b"-1"}
        for key, value in values.items():
            await cache.set(key, value, 60)
        for key, value in values.items():
            assert await cache.get(key) == value
        await cache.set("a", b"2" * 100_000, 60)
        assert await cache.get("a") == b"2" * 100_000
        await cache.delete(["a", "missing", "오리"])
        await cache.delete([])
        assert await cache.get("a") is None
        assert await cache.get("오리") is None
        assert await cache.get("n") == b"12.50"


@pytest_twisted.ensureDeferred
async def test_an_entry_does_not_outlive_its_life(url: str) -> None:
    async with running(url) as cache:
        await cache.set("short", b"x", 0.15)
        await cache.set("again", b"x", 0.15)
        await cache.set("again", b"y", 60)
        assert await cache.get("short") == b"x"
        await deferLater(CLOCK, 0.2)
        assert await cache.get("short") is None
        assert await cache.get("again") == b"y"


@pytest_twisted.ensureDeferred
async def test_a_message_reaches_the_subscribers_of_its_channel(url: str) -> None:
    async with running(url) as cache:
        first: list[bytes] = []
        second: list[bytes] = []
        other: list[bytes] = []
        end = cache.subscribe("ducks", first.append)
        cache.subscribe("ducks", second.append)
        cache.subscribe("geese", other.append)
        await until_heard(cache, "ducks", b"\x00quack\xff", first)
        assert b"\x00quack\xff" in second
        assert other == []
        end()
        end()
        before = len(first)
        await until_heard(cache, "ducks", b"more", second)
        assert len(first) == before


@pytest_twisted.ensureDeferred
async def test_a_listener_that_fails_hurts_nobody_else(url: str) -> None:
    async with running(url) as cache:
        heard: list[bytes] = []

        def fail(message: bytes) -> None:
            raise RuntimeError(message)

        cache.subscribe("ducks", fail)
        cache.subscribe("ducks", heard.append)
        await until_heard(cache, "ducks", b"1", heard)
        await until_heard(cache, "ducks", b"2", heard)
        assert await cache.get("a") is None


@pytest_twisted.ensureDeferred
async def test_after_stop_no_listener_is_called(url: str) -> None:
    heard: list[bytes] = []
    async with running(url) as other:
        async with running(url) as cache:
            end = cache.subscribe("ducks", heard.append)
            await until_heard(cache, "ducks", b"1", heard)
        before = len(heard)
        await other.publish("ducks", b"2")
        await deferLater(CLOCK, 0.05)
        assert len(heard) == before
        end()


# --- Redis ----------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_processes_share_a_redis(redis: Redis) -> None:
    redis.flush_all()
    async with running(redis.url) as one, running(redis.url) as two:
        await one.set("a", b"1", 60)
        assert await two.get("a") == b"1"
        heard: list[bytes] = []
        two.subscribe("ducks", heard.append)
        await until_heard(one, "ducks", b"quack", heard)
    assert redis.execute("EXISTS watchducks:a") == ":1"
    assert int(redis.execute("PTTL watchducks:a").removeprefix(":")) > 50_000


@pytest.mark.parametrize("outage", ["stopped", "frozen"])
@pytest_twisted.ensureDeferred
async def test_an_outage_is_told_in_time_and_survived(redis: Redis, outage: str) -> None:
    async with running(redis.url) as cache:
        heard: list[bytes] = []
        cache.subscribe("ducks", heard.append)
        await until_heard(cache, "ducks", b"before", heard)
        if outage == "stopped":
            redis.stop()
        else:
            redis.pause()
        # The first call may have to wait in vain; it spares the others that.
        for limit in (3, 1, 1):
            began = CLOCK.seconds()
            with pytest.raises(StoreUnavailable, match="Redis"):
                await cache.get("a")
            assert CLOCK.seconds() - began < limit
        if outage == "stopped":
            redis.start()
        else:
            redis.resume()

        async def back() -> bool:
            try:
                await cache.set("a", b"1", 60)
            except StoreUnavailable:
                return False
            return await cache.get("a") == b"1"

        await eventually(CLOCK, back, "Redis", 15)
        await until_heard(cache, "ducks", b"after", heard)


@pytest_twisted.ensureDeferred
async def test_a_redis_that_comes_later_is_found(redis: Redis) -> None:
    redis.stop()
    async with running(redis.url) as cache:
        heard: list[bytes] = []
        cache.subscribe("ducks", heard.append)
        with pytest.raises(StoreUnavailable):
            await cache.get("a")
        redis.start()
        await until_heard(cache, "ducks", b"at last", heard)


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_told_without_it_and_tried_again(redis: Redis) -> None:
    url = redis.url.replace("redis://", "redis://:honk%2Fhonk@")
    async with running(url) as cache:
        with pytest.raises(StoreUnavailable) as caught:
            await cache.get("a")
        assert "auth" in str(caught.value).lower()
        assert "honk" not in str(caught.value)
        redis.execute("CONFIG SET requirepass honk/honk")
        try:

            async def back() -> bool:
                try:
                    return await cache.get("a") is None
                except StoreUnavailable:
                    return False

            await eventually(CLOCK, back, "the login", 15)
        finally:
            with_password(redis, "CONFIG SET requirepass ''")


def with_password(redis: Redis, command: str) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", redis.port), 2) as connection:
        connection.sendall(f"AUTH honk/honk\r\n{command}\r\n".encode())
        assert connection.recv(100).startswith(b"+OK")


@pytest_twisted.ensureDeferred
async def test_a_caller_who_leaves_does_not_mix_up_the_answers(redis: Redis) -> None:
    redis.flush_all()
    async with running(redis.url) as cache:
        await cache.set("a", b"1", 60)
        await cache.set("b", b"2", 60)
        leaving = Deferred.fromCoroutine(cache.get("a"))
        staying = Deferred.fromCoroutine(cache.get("b"))
        leaving.cancel()
        with pytest.raises(CancelledError):
            await leaving
        assert await staying == b"2"
        assert await cache.get("a") == b"1"


# --- the URL --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memcached://host",
        "redis:",
        "redis://",
        "redis:///0",
        "redis://host/x",
        "redis://host/0/1",
        "redis://host:port",
        "redis://host:99999",
        "redis://:secret@host:99999/0",
        "redis://host/0?x=1",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StartupError, match=r"^cache\.url: accepted") as caught:
        open_cache(url, reactor=reactor)
    assert "secret" not in str(caught.value)
