"""What the proxy answers when something is wrong: pages, reasons, rows."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.wire.origin import OK, Origin, OriginSide
from tests.wire.proxying import HOST, route_to, running, wait_for
from watchducks.model.routing import Route
from watchducks.proxy.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def silent(side: OriginSide, head: bytes) -> None:
    """An origin that takes the request and says nothing."""


@pytest_twisted.ensureDeferred
async def test_an_unknown_site_is_404_in_the_visitors_language_without_a_row() -> None:
    async with running() as run:
        visitor = await run.visit(
            b"GET /<script> HTTP/1.1\r\nHost: nobody.example\r\n"
            b"Accept-Language: ko-KR,ko;q=0.9,en;q=0.8\r\n\r\n" + GET
        )
        data = await visitor.until_has(b"hello")
        page = data[: data.index(b"</html>")].decode()
        assert page.startswith("HTTP/1.1 404 Not Found\r\n")
        assert "등록되지 않은 사이트" in page
        assert "\r\nCache-Control: no-store\r\n" in page
        assert "\r\nContent-Type: text/html; charset=utf-8\r\n" in page
        assert "script" not in page
        assert len(run.rows) == 1  # that of the second request


@pytest_twisted.ensureDeferred
async def test_a_look_up_that_fails_is_503_and_ours() -> None:
    async with running() as run:
        run.routes.failing.add("down.example")
        visitor = await run.visit(b"GET / HTTP/1.1\r\nHost: down.example\r\n\r\n")
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"The fault is ours" in data
        assert b"Retry-After: 5\r\n" in data
        assert b"stores" not in data


ORIGIN_FAILURES = [
    pytest.param(b"garbage\r\n\r\n", 502, "bad-answer", id="garbage"),
    pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 502, "bad-answer", id="bare-lf"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        502,
        "bad-answer",
        id="two-lengths",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        502,
        "bad-answer",
        id="length-and-chunked",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        502,
        "bad-answer",
        id="other-coding",
    ),
    pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n", 502, "bad-answer", id="unasked-101"),
    pytest.param(b"HTTP/1.1 103 Hints\r\n\r\n" * 50, 502, "bad-answer", id="endless-interim"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, 502, "bad-answer", id="endless-head"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Len", 502, "origin-reset", id="half-a-head"),
    pytest.param(b"", 502, "origin-reset", id="nothing"),
]


@pytest.mark.parametrize(("answer", "status", "reason"), ORIGIN_FAILURES)
@pytest_twisted.ensureDeferred
async def test_a_bad_answer_is_502_and_the_origins(answer: bytes, status: int, reason: str) -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        side.send(answer)
        side.close()

    async with running(handler) as run:
        visitor = await run.visit(GET)
        data = await visitor.until_has(b"</html>")
        assert b"HTTP/1.1 %d " % status in data
        assert b"The site's own server" in data or b"The site&#x27;s own server" in data
        (row,) = run.rows
        assert (row.status, row.reason) == (status, reason)
        assert not visitor.closed


@pytest_twisted.ensureDeferred
async def test_an_origin_that_refuses_connections() -> None:
    async with running() as run:
        await run.origin.stop()
        visitor = await run.visit(GET)
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert run.rows[0].reason == "connect-refused"


@pytest_twisted.ensureDeferred
async def test_an_origin_that_does_not_answer_is_504() -> None:
    async with running(silent, limits=Limits(first_byte_seconds=0.1)) as run:
        visitor = await run.visit(GET)
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert (run.rows[0].status, run.rows[0].reason) == (504, "first-byte-timeout")
        assert run.rows[0].duration_us >= 100_000
        await wait_for(lambda: run.origin.connections[0].lost, "the connection to be given up")


@pytest.mark.parametrize("how", ["reset", "stall", "bad-chunk"])
@pytest_twisted.ensureDeferred
async def test_an_answer_that_breaks_off_is_seen_as_broken(how: str) -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        side.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        side.on_extra = side.reset if how == "reset" else (lambda: side.send(b"zz\r\n"))

    async with running(handler, limits=Limits(answer_idle_seconds=0.1)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        if how == "reset":
            run.origin.connections[0].reset()
        elif how == "bad-chunk":
            run.origin.connections[0].send(b"zz\r\n")
        data = await visitor.until_closed()
        assert b"\r\n0\r\n" not in data
        (row,) = run.rows
        expected = {"reset": "origin-reset", "stall": "answer-timeout", "bad-chunk": "bad-answer"}
        assert (row.status, row.reason, row.response_bytes) == (200, expected[how], 5)


@pytest_twisted.ensureDeferred
async def test_a_visitor_who_leaves_is_499_and_frees_the_origin() -> None:
    async with running(silent) as run:
        visitor = await run.visit(GET)
        await wait_for(lambda: run.origin.heads, "the request at the origin")
        visitor.transport.loseConnection()
        rows = await run.until_rows(1)
        assert (rows[0].status, rows[0].reason) == (499, "visitor-left")
        await wait_for(lambda: run.origin.connections[0].lost, "the connection to be given up")


@pytest_twisted.ensureDeferred
async def test_a_visitor_who_leaves_in_the_middle_of_the_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    async with running(lambda side, _: side.send(half)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        visitor.transport.abortConnection()
        rows = await run.until_rows(1)
        assert (rows[0].status, rows[0].reason, rows[0].response_bytes) == (200, "visitor-left", 5)


@pytest_twisted.ensureDeferred
async def test_a_visitor_who_leaves_during_the_look_up_cancels_nothing_and_is_counted() -> None:
    async with running() as run:
        answer: Deferred[Route | None] = Deferred()
        run.routes.slow["slow.example"] = answer
        visitor = await run.visit(b"GET / HTTP/1.1\r\nHost: slow.example\r\n\r\n")
        await wait_for(lambda: run.routes.asked, "the look-up")
        visitor.transport.abortConnection()
        await wait_for(lambda: not run.proxy._context.connections, "the visitor to be gone")
        assert not answer.called
        answer.callback(run.routes.routes[HOST])
        rows = await run.until_rows(1)
        assert (rows[0].status, rows[0].reason) == (499, "visitor-left")
        assert not run.origin.heads


@pytest_twisted.ensureDeferred
async def test_more_exchanges_than_an_origin_may_have_wait_in_a_short_line() -> None:
    limits = Limits(origin_exchanges=1, origin_queue=1, origin_queue_seconds=0.3)
    async with running(silent, limits=limits) as run:
        first, second = await run.visit(GET), await run.visit(GET)
        await wait_for(lambda: run.origin.heads, "the first request")
        # The line holds one; whichever connection is read last finds it full.
        third = await run.visit(GET)
        full = await third.until_has(b"</html>")
        assert full.startswith(b"HTTP/1.1 503 ")
        waited = await second.until_has(b"</html>")
        assert waited.startswith(b"HTTP/1.1 503 ")
        assert [row.reason for row in run.rows] == ["overloaded", "overloaded"]
        run.origin.connections[0].send(OK)
        await first.until_has(b"hello")
        # And with the first out of the way there is room again.
        run.origin.handler = lambda side, _: side.send(OK)
        third.send(GET)
        await third.until_has(b"hello")


@pytest_twisted.ensureDeferred
async def test_who_waits_in_line_is_served_when_it_moves() -> None:
    async with running(silent, limits=Limits(origin_exchanges=1)) as run:
        first, second = await run.visit(GET), await run.visit(GET)
        await wait_for(lambda: run.origin.heads, "the first request")
        run.origin.connections[0].send(OK)
        await wait_for(lambda: len(run.origin.heads) == 2, "the second request")
        run.origin.connections[0].send(OK)
        await wait_for(lambda: b"hello" in first.data and b"hello" in second.data, "both answers")
        assert len(run.origin.connections) == 1


@pytest_twisted.ensureDeferred
async def test_who_leaves_while_waiting_in_line_leaves_one_row_and_no_request() -> None:
    async with running(silent, limits=Limits(origin_exchanges=1)) as run:
        first, second = await run.visit(GET), await run.visit()
        await wait_for(lambda: run.origin.heads, "the first request")
        second.send(GET)
        pools = run.proxy._context.pools
        pool = next(iter(pools._pools.values()))
        await wait_for(lambda: pool._waiting, "the second in line")
        second.transport.abortConnection()
        await run.until_rows(1)
        run.origin.connections[0].send(OK)
        await first.until_has(b"hello")
        assert [row.status for row in run.rows] == [499, 200]
        assert len(run.origin.heads) == 1
        assert pools.idle == 1  # the turn that nobody took left the connection for the next


@pytest_twisted.ensureDeferred
async def test_who_leaves_while_the_origin_is_connected_to_leaves_one_row() -> None:
    async with running(limits=Limits(connect_seconds=0.3)) as run:
        run.routes.routes[HOST] = route_to(run.origin.port, scheme="https")  # which never answers
        visitor = await run.visit(GET)
        await wait_for(lambda: run.origin.connections, "the connection to the origin")
        visitor.transport.abortConnection()
        await wait_for(lambda: run.origin.connections[0].lost, "the connect to be given up")
        await wait_for(lambda: len(run.proxy._context.pools) == 0, "the pool to be forgotten")
        assert [(row.status, row.reason) for row in run.rows] == [(499, "visitor-left")]


@pytest_twisted.ensureDeferred
async def test_a_head_that_drips_is_408_and_an_idle_connection_just_ends() -> None:
    limits = Limits(head_seconds=0.2, visitor_idle_seconds=0.2, linger_seconds=0.2)
    async with running(limits=limits) as run:
        dripping = await run.visit(b"GET / HTTP/1.1\r\nHost:")
        data = await dripping.until_closed()
        assert data.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        silent_one = await run.visit()
        assert await silent_one.until_closed() == b""
        idle = await run.visit(GET)
        data = await idle.until_closed()
        assert data.endswith(b"hello")


@pytest_twisted.ensureDeferred
async def test_a_body_that_stops_is_408_with_a_row() -> None:
    limits = Limits(request_body_idle_seconds=0.1, linger_seconds=0.2)
    async with running(silent, limits=limits) as run:
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 9\r\n\r\nabc"
        )
        data = await visitor.until_closed()
        assert data.startswith(b"HTTP/1.1 408 ")
        (row,) = run.rows
        assert (row.status, row.reason, row.request_bytes) == (408, "body-timeout", 3)
        await wait_for(lambda: run.origin.connections[0].lost, "the origin's connection to end")


@pytest_twisted.ensureDeferred
async def test_a_visitor_who_takes_nothing_is_given_up() -> None:
    size = 64 * 1024 * 1024
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size

    def handler(side: OriginSide, head: bytes) -> None:
        side.send(answer + b"x" * size)

    async with running(handler, limits=Limits(visitor_stalled_seconds=0.2)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"\r\n\r\n")
        visitor.transport.pauseProducing()
        rows = await run.until_rows(1)
        assert (rows[0].status, rows[0].reason) == (200, "visitor-stalled")


@pytest_twisted.ensureDeferred
async def test_an_origin_that_does_not_take_the_body_is_504() -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        side.transport.pauseProducing()

    async with running(handler, limits=Limits(origin_stalled_seconds=0.2)) as run:
        size = 64 * 1024 * 1024
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: %d\r\n\r\n" % size
        )
        visitor.send(b"x" * size)
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 504 ")
        assert run.rows[0].reason == "origin-stalled"


@pytest_twisted.ensureDeferred
async def test_bytes_that_nobody_asked_for_are_never_an_answer() -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        side.send(OK + OK.replace(b"hello", b"stale"))

    async with running(handler) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        run.origin.handler = lambda side, _: side.send(OK)
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"HTTP/1.1 200") == 2)
        assert b"stale" not in visitor.data
        assert len(run.origin.connections) == 2


@pytest_twisted.ensureDeferred
async def test_methods_that_are_refused() -> None:
    async with running() as run:
        visitor = await run.visit(b"TRACE / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET," in data
        assert run.rows[0].reason == "method-refused"
        visitor.send(b"CONNECT www.example.com:80 HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        data = await visitor.until_closed()
        assert data.count(b"HTTP/1.1 405 ") == 2
        assert not run.origin.heads


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    import re

    from watchducks.background import StartupError
    from watchducks.proxy.service import Proxy
    from watchducks.settings import parse

    async with running() as run:
        from twisted.internet import reactor

        taken = f"tcp:{run.http_port}:interface=127.0.0.1"
        settings = parse(
            {
                "node": {"name": "x", "roles": ["proxy"], "data_dir": "/nonexistent"},
                "proxy": {"http": ["tcp:0:interface=127.0.0.1", taken], "https": []},
            }
        )
        proxy = Proxy(
            settings,
            routes=run.routes,
            certificates=run.certificates,
            sink=run.rows,
            reactor=reactor,
        )
        line = f"proxy.http: {taken}: cannot listen: Address already in use"
        with pytest.raises(StartupError, match=re.escape(line)):
            await proxy.start()


@pytest_twisted.ensureDeferred
async def test_origins_are_apart_one_that_is_dead_does_not_stop_another() -> None:
    from twisted.internet import reactor

    async with running(silent, limits=Limits(origin_exchanges=1, origin_queue=0)) as run:
        second = Origin()
        second.start(reactor)
        try:
            for host, port in (("two.example", second.port), ("three.example", run.origin.port)):
                run.routes.routes[host] = route_to(port, site_id=8 + port, domain=host)
            await run.visit(GET)
            await wait_for(lambda: run.origin.heads, "the first request")
            other = await run.visit(GET.replace(HOST.encode(), b"two.example"))
            await other.until_has(b"hello")
            same = await run.visit(GET.replace(HOST.encode(), b"three.example"))
            assert (await same.until_has(b"</html>")).startswith(b"HTTP/1.1 503 ")
        finally:
            await second.stop()
