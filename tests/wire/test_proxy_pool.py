"""Kept connections to origins: used again, bounded, and given up in time."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from tests.wire.proxying import HOST, running, wait_for
from watchducks.proxy.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 0\r\n\r\n"


@pytest_twisted.ensureDeferred
async def test_the_connection_used_last_is_used_first() -> None:
    async with running(lambda _side, _head: None) as run:
        visitors = [await run.visit(GET) for _ in range(3)]
        await wait_for(lambda: len(run.origin.heads) == 3, "three connections")
        order = list(run.origin.connections)
        for side in (order[0], order[2], order[1]):
            side.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            count = len(run.rows) + 1
            await run.until_rows(count)
        visitors[0].send(GET)
        await wait_for(lambda: order[1].heads_seen == 2, "the last one to be used")
        visitors[1].send(GET)
        await wait_for(lambda: order[2].heads_seen == 2, "then the one before")
        assert len(run.origin.connections) == 3


@pytest_twisted.ensureDeferred
async def test_a_connection_leaves_no_line_in_the_log() -> None:
    async with running(limits=Limits(pooled_total=0)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        await wait_for(lambda: run.origin.connections[0].lost, "the first one to be closed")
        with capturedLogs() as events:
            visitor.send(GET)
            await visitor.until(lambda v: v.data.count(b"hello") == 2)
            await wait_for(lambda: run.origin.connections[1].lost, "the second one to be closed")
    assert [event["log_format"] for event in events if "factory" in event] == []


@pytest.mark.parametrize(
    "limits",
    [
        Limits(pooled_idle_seconds=0.1),
        Limits(pooled_per_origin=0, pooled_burst_seconds=0.1),
        Limits(pooled_total=0),
    ],
)
@pytest_twisted.ensureDeferred
async def test_connections_are_not_kept_beyond_the_limits(limits: Limits) -> None:
    async with running(limits=limits) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        await wait_for(lambda: run.origin.connections[0].lost, "the connection to be closed")
        pools = run.proxy._context.pools
        assert pools.idle == 0
        await wait_for(lambda: len(pools) == 0, "the pool to be forgotten")
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)


@pytest_twisted.ensureDeferred
async def test_a_kept_connection_that_the_origin_closes_is_forgotten() -> None:
    async with running() as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        pools = run.proxy._context.pools
        assert (pools.idle, len(pools)) == (1, 1)
        run.origin.connections[0].close()
        await wait_for(lambda: pools.idle == 0, "the connection to be forgotten")
        assert len(pools) == 0


@pytest.mark.parametrize(("request_", "connections"), [(GET, 1), (POST, 1), (POST, 2)])
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_repeated_uses_only_a_fresh_connection(
    request_: bytes, connections: int
) -> None:
    # With no freshness at all, a POST that has a body never takes a kept connection.
    data = request_ if connections == 1 else request_.replace(b"Length: 0", b"Length: 1") + b"x"
    limits = Limits(pooled_fresh_seconds=3600 if connections == 1 else -1)
    async with running(limits=limits) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        visitor.send(data)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == connections


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_origin_that_closes_is_not_asked_again_on_the_same_connection(
    answer: bytes,
) -> None:
    async with running(lambda side, _: side.send(answer)) as run:
        visitor = await run.visit(GET + GET)
        data = await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == 2
        assert b"Connection: close" not in data  # that was between the origin and us


@pytest_twisted.ensureDeferred
async def test_a_site_that_moves_is_followed_at_once() -> None:
    from tests.wire.origin import Origin
    from tests.wire.proxying import route_to

    async with running() as run:
        from twisted.internet import reactor

        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        second = Origin()
        second.start(reactor)
        try:
            run.routes.routes[HOST] = route_to(second.port)
            visitor.send(GET)
            await visitor.until(lambda v: v.data.count(b"hello") == 2)
            assert len(second.heads) == 1
        finally:
            await second.stop()


@pytest_twisted.ensureDeferred
async def test_of_several_addresses_the_first_that_accepts_is_used() -> None:
    from tests.wire.proxying import route_to

    async with running() as run:
        route = route_to(run.origin.port)
        closed, there = map(ipaddress.ip_address, ("127.0.0.9", "127.0.0.1"))
        name = replace(route.origin, name="origin.example.net")
        run.routes.routes[HOST] = replace(route, origin=name.at([closed, there]))
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        # They share what is kept: nobody tries the closed one again.
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == 1


@pytest.mark.parametrize("addresses", [[], ["127.0.0.9", "127.0.0.10"]])
@pytest_twisted.ensureDeferred
async def test_an_origin_without_an_address_that_accepts_is_told(addresses: list[str]) -> None:
    from tests.wire.proxying import route_to

    async with running() as run:
        route = route_to(run.origin.port)
        name = replace(route.origin, name="origin.example.net")
        origin = name.at(map(ipaddress.ip_address, addresses))
        run.routes.routes[HOST] = replace(route, origin=origin)
        visitor = await run.visit(GET)
        await visitor.until_has(b"502 ")
        reason = "connect-refused" if addresses else "connect-failed"
        assert [row.reason for row in run.rows] == [reason]
