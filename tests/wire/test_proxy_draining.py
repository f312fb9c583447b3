"""A proxy that stops while another one accepts on the same sockets: nobody's request fails."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.wire.origin import OK, OriginSide
from tests.wire.proxying import Running, running, wait_for
from watchducks.proxy.limits import Limits
from watchducks.sockets import Inherited, Sockets

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
# Long enough for the steps of a test, short enough to wait for.
LIMITS = Limits(drain_idle_seconds=0.6, linger_seconds=0.2, drain_seconds=5.0)


@asynccontextmanager
async def outlived(**options: object) -> AsyncIterator[tuple[Running, socket.socket]]:
    """A proxy whose sockets are another's; gives that of http as well."""
    with (
        socket.create_server(("127.0.0.1", 0)) as http,
        socket.create_server(("127.0.0.1", 0)) as https,
    ):
        inherited = [Inherited(http.fileno(), "http"), Inherited(https.fileno(), "https")]
        async with running(
            limits=LIMITS,
            proxy_settings={"http": ["systemd:http"], "https": ["systemd:https"]},
            sockets=Sockets(inherited=inherited),
            **options,  # type: ignore[arg-type]
        ) as run:
            yield run, http


@pytest_twisted.ensureDeferred
async def test_an_idle_visitor_may_ask_once_more_and_is_told_that_it_was_the_last() -> None:
    async with outlived() as (run, _):
        kept = await run.visit(GET)
        await kept.until(lambda v: b"hello" in v.data)
        assert b"Connection: close" not in kept.data
        new = await run.visit()
        idle = await run.visit()
        await wait_for(lambda: run.proxy.connections == 3, "three connections")
        stopped = Deferred.fromCoroutine(run.proxy.stop())
        kept.send(GET)
        new.send(GET)
        for visitor in (kept, new):
            data = await visitor.until_closed()
            assert data.endswith(b"hello")
            assert data.count(b"Connection: close\r\n") == 1
        assert (await idle.until_closed()) == b""
        await stopped
        assert len(run.rows) == 3


@pytest_twisted.ensureDeferred
async def test_who_has_just_connected_by_tls_is_not_cut_off() -> None:
    async with outlived() as (run, _):
        idle = await run.visit()
        with socket.create_connection(("127.0.0.1", run.https_port)) as silent:
            await wait_for(lambda: run.proxy.connections == 2, "two connections")
            stopped = Deferred.fromCoroutine(run.proxy.stop())
            await idle.until_closed()  # all were told to drain by then
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):
                silent.recv(1)
        await stopped


@pytest_twisted.ensureDeferred
async def test_a_connection_that_nobody_accepted_waits_for_the_successor() -> None:
    async with outlived() as (run, http):
        await run.proxy.stop()
        late = await run.visit(GET)
        accepted, _ = http.accept()
        accepted.sendall(OK)
        accepted.close()
        assert await late.until_closed() == OK


@pytest_twisted.ensureDeferred
async def test_an_answer_that_began_without_a_word_of_closing_leaves_time_for_the_next() -> None:
    sides: list[OriginSide] = []
    async with outlived(handler=lambda side, _: sides.append(side)) as (run, _):
        visitor = await run.visit(GET)
        await wait_for(lambda: sides, "the request at the origin")
        sides[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await visitor.until(lambda v: v.data.endswith(b"he"))
        stopped = Deferred.fromCoroutine(run.proxy.stop())
        sides[0].send(b"llo")
        await visitor.until(lambda v: v.data.endswith(b"hello"))
        visitor.send(GET)
        await wait_for(lambda: len(run.origin.heads) == 2, "the next request")
        sides[-1].send(OK)
        data = await visitor.until_closed()
        assert data.count(b"hello") == 2
        assert data.count(b"Connection: close\r\n") == 1
        await stopped
