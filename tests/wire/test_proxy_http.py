"""HTTP/1.x through the running proxy, over loopback sockets: what passes, and how."""

from __future__ import annotations

import json
import re

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from tests.wire.origin import OK, OriginSide
from tests.wire.proxying import HOST, route_to, running, wait_for
from watchducks.model.challenges import Answers, Challenge
from watchducks.proxy.limits import Limits

GET = b"GET /a/%7Eb?x=%20&y HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


def dechunked(data: bytes) -> bytes:
    text = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            return text
        text, data = text + data[: int(size, 16)], data[int(size, 16) + 2 :]


@pytest_twisted.ensureDeferred
async def test_a_request_reaches_the_origin_with_our_fields_and_leaves_one_row() -> None:
    async with running() as run:
        visitor = await run.visit(
            b"GET /a/%7Eb?x=%20&y HTTP/1.1\r\nHost: WWW.Example.com:8080\r\nX-Order: 1\r\n"
            b"User-Agent: duck/1\r\nReferer: http://r/\r\nX-Forwarded-For: 6.6.6.6\r\n"
            b"Connection: X-Secret\r\nX-Secret: s\r\nx-Order: 2\r\n\r\n"
        )
        data = await visitor.until_has(b"hello")
        (head,) = run.origin.heads
        assert head.startswith(b"GET /a/%7Eb?x=%20&y HTTP/1.1\r\nHost: WWW.Example.com:8080\r\n")
        assert b"X-Order: 1\r\n" in head
        assert b"x-Order: 2\r\n" in head
        assert b"6.6.6.6" not in head
        assert b"Secret" not in head
        assert b"\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n" in head
        assert b'\r\nForwarded: for=127.0.0.1;proto=http;host="WWW.Example.com:8080"\r\n' in head
        assert b"\r\nVia: 1.1 watchducks\r\n" in head
        request_id = re.search(rb"X-Request-Id: (\S+)", head)
        assert request_id is not None
        assert b"\r\nX-Request-Id: " + request_id[1] + b"\r\n" in data
        assert b"\r\nVia: 1.1 watchducks\r\n" in data
        (row,) = run.rows
        assert (row.site_id, row.kind, row.scheme, row.protocol) == (
            7,
            "request",
            "http",
            "HTTP/1.1",
        )
        assert (row.method, row.host, row.path) == ("GET", HOST, "/a/%7Eb")
        assert (row.query, row.traits) == ("x=%20&y", 0)
        assert (row.status, row.reason, row.client) == (200, "", "127.0.0.1")
        assert (row.user_agent, row.referrer) == ("duck/1", "http://r/")
        assert (row.request_bytes, row.response_bytes) == (0, 5)
        assert 0 < row.origin_us <= row.duration_us


@pytest_twisted.ensureDeferred
async def test_connections_are_kept_on_both_sides_and_pipelined_requests_answered_in_order() -> (
    None
):
    def echo(side: OriginSide, head: bytes) -> None:
        path = head.split(b" ")[1]
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async with running(echo) as run:
        visitor = await run.visit(
            b"".join(b"GET /p%d HTTP/1.1\r\nHost: www.example.com\r\n\r\n" % n for n in range(20))
        )
        data = await visitor.until_has(b"/p19")
        assert re.findall(rb"/p\d+", data) == [b"/p%d" % n for n in range(20)]
        assert len(run.origin.connections) == 1
        assert len(run.rows) == 20


@pytest_twisted.ensureDeferred
async def test_a_body_passes_whatever_its_framing() -> None:
    def whole(side: OriginSide, head: bytes) -> None:
        chunked = b"Transfer-Encoding: chunked" in head

        def check() -> None:
            if side.extra.endswith(b"\r\n\r\n") if chunked else len(side.extra) >= 10:
                text = dechunked(side.extra) if chunked else side.extra
                side.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                side.send(b"%x\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n" % (len(text), text))

        side.on_extra = check

    async with running(whole) as run:
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 10\r\n\r\n01234"
        )
        await wait_for(lambda: run.origin.heads, "the head before the body is complete")
        visitor.send(b"56789POST / HTTP/1.1\r\nHost: www.example.com\r\n")
        await visitor.until_has(b"0\r\n\r\n")
        assert b"Content-Length: 10\r\n" in run.origin.heads[0]
        assert b"\r\na\r\n0123456789\r\n0\r\n\r\n" in visitor.data
        for (
            byte
        ) in b"transfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n":
            visitor.send(bytes([byte]))
        await visitor.until(lambda v: v.data.count(b"0\r\n\r\n") == 2)
        assert b"Transfer-Encoding: chunked\r\n" in run.origin.heads[1]
        assert b"abcde" in visitor.data
        assert run.origin.connections[0].extra.endswith(b"\r\n0\r\nA: b\r\n\r\n")
        assert [row.request_bytes for row in run.rows] == [10, 5]
        assert [row.response_bytes for row in run.rows] == [10, 5]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest_twisted.ensureDeferred
async def test_an_answer_that_ends_with_its_connection(version: bytes) -> None:
    def until_close(side: OriginSide, head: bytes) -> None:
        side.send(b"HTTP/1.0 200 OK\r\n\r\nall of ")
        side.send(b"it")
        side.close()

    async with running(until_close) as run:
        visitor = await run.visit(b"GET / HTTP/%b\r\nHost: www.example.com\r\n\r\n" % version)
        if version == b"1.0":
            data = await visitor.until_closed()
            assert body_of(data) == b"all of it"
            assert b"chunked" not in data
        else:
            data = await visitor.until_has(b"0\r\n\r\n")
            assert dechunked(body_of(data)) == b"all of it"
            assert not visitor.closed
        assert (run.rows[0].status, run.rows[0].reason) == (200, "")
        assert run.rows[0].response_bytes == 9


@pytest_twisted.ensureDeferred
async def test_answers_without_a_body_keep_their_length_field_and_the_connection() -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        if head.startswith(b"HEAD"):
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        elif b"/304" in head:
            side.send(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
        elif b"/204" in head:
            side.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            side.send(OK)

    async with running(handler) as run:
        host = b" HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
        visitor = await run.visit(
            b"HEAD /" + host + b"GET /304" + host + b"GET /204" + host + b"GET /" + host
        )
        data = await visitor.until_has(b"hello")
        assert b"Content-Length: 99\r\n" in data
        assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"304", b"204", b"200"]
        assert b"chunked" not in data
        assert len(run.origin.connections) == 1


@pytest_twisted.ensureDeferred
async def test_interim_answers_pass_and_expect_is_the_origins_to_answer() -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        side.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        side.on_extra = lambda: side.send(OK)

    async with running(handler) as run:
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: www.example.com\r\nExpect: 100-continue\r\n"
            b"Content-Length: 1\r\n\r\n"
        )
        await visitor.until_has(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert visitor.data.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n")
        assert b"Expect: 100-continue\r\n" in run.origin.heads[0]
        visitor.send(b"!")
        await visitor.until_has(b"hello")
        assert len(run.rows) == 1


@pytest_twisted.ensureDeferred
async def test_an_answer_before_the_body_is_complete_arrives_whole_and_closes() -> None:
    refused = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    async with running(lambda side, _: side.send(refused)) as run:
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 9000000\r\n\r\n"
        )
        visitor.send(b"x" * 8_000_000)  # much of it is still unread when the answer is complete
        data = await visitor.until_closed()
        assert data.endswith(b"big")
        assert b"Connection: close\r\n" in data
        assert visitor.reason is not None
        assert visitor.reason.check(ConnectionDone)  # and not reset
        assert (run.rows[0].status, run.rows[0].reason) == (413, "")
        assert len(run.rows) == 1


@pytest_twisted.ensureDeferred
async def test_upgrade_is_not_passed_on_and_the_next_request_is_read() -> None:
    async with running() as run:
        visitor = await run.visit(
            b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n" + GET
        )
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert b"pgrade" not in run.origin.heads[0]


@pytest_twisted.ensureDeferred
async def test_http_1_0_with_and_without_keep_alive() -> None:
    async with running() as run:
        visitor = await run.visit(
            b"GET / HTTP/1.0\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\r\n"
            b"GET / HTTP/1.0\r\nHost: www.example.com\r\n\r\n"
        )
        data = await visitor.until_closed()
        assert data.count(b"hello") == 2
        assert b"Connection: keep-alive\r\n" in data
        assert data.count(b"Connection: close\r\n") == 1
        assert b"Via: 1.0 watchducks" in run.origin.heads[0]


@pytest_twisted.ensureDeferred
async def test_a_kept_connection_that_the_origin_closed_is_replaced_for_a_get() -> None:
    def handler(side: OriginSide, head: bytes) -> None:
        if side.heads_seen == 1:
            side.send(OK)
        else:  # a server whose keep-alive time is over just now
            side.reset()

    async with running(handler) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == 2
        assert [row.status for row in run.rows] == [200, 200]
        # A POST is not sent twice.
        visitor.send(b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 1\r\n\r\nx")
        await visitor.until_has(b"HTTP/1.1 502")
        assert run.rows[2].reason == "origin-reset"
        assert len(run.rows) == 3


@pytest_twisted.ensureDeferred
async def test_large_bodies_pass_slow_readers_without_being_collected() -> None:
    """Of 64 MB, the origin can send only what buffers hold while the visitor does not read."""
    total = 64 * 1024 * 1024
    piece = b"d" * 65536

    class Pump:
        """A pull of what the socket takes: a push producer of the origin's transport."""

        def __init__(self, side: OriginSide) -> None:
            self.side, self.sent, self.paused = side, 0, False
            side.transport.registerProducer(self, streaming=True)
            self.resumeProducing()

        def resumeProducing(self) -> None:
            self.paused = False
            while not self.paused and self.sent < total:
                self.sent += len(piece)
                self.side.send(piece)

        def pauseProducing(self) -> None:
            self.paused = True

        def stopProducing(self) -> None:
            self.paused = True

    pumps: list[Pump] = []

    def handler(side: OriginSide, head: bytes) -> None:
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        pumps.append(Pump(side))

    async with running(handler) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"\r\n\r\n")
        visitor.transport.pauseProducing()
        seen = -1

        def settled() -> bool:
            nonlocal seen
            before, seen = seen, pumps[0].sent
            return before == seen and pumps[0].paused

        await wait_for(settled, "the origin to be held back")
        assert pumps[0].sent < total // 2  # kernel buffers of four sockets, and ours
        received = 0

        def count(data: bytes) -> None:
            nonlocal received
            received += len(data)
            if received + len(visitor.data) >= total:
                visitor._look()

        visitor.dataReceived = count  # type: ignore[method-assign]
        visitor.transport.resumeProducing()
        await visitor.until(lambda v: received + len(v.data) >= total)
        rows = await run.until_rows(1)
        assert rows[0].response_bytes == total


@pytest_twisted.ensureDeferred
async def test_a_large_upload_waits_for_a_slow_origin() -> None:
    total = 32 * 1024 * 1024
    sides: list[OriginSide] = []

    def handler(side: OriginSide, head: bytes) -> None:
        sides.append(side)
        side.transport.pauseProducing()

    async with running(handler) as run:
        visitor = await run.visit(
            b"PUT / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: %d\r\n\r\n" % total
        )
        paused = Deferred[None]()

        class Source:
            sent = 0
            paused = False

            def resumeProducing(self) -> None:
                self.paused = False
                while not self.paused and self.sent < total:
                    self.sent += 65536
                    visitor.send(b"u" * 65536)

            def pauseProducing(self) -> None:
                self.paused = True
                if not paused.called:
                    paused.callback(None)

            def stopProducing(self) -> None:
                self.paused = True

        source = Source()
        visitor.transport.registerProducer(source, streaming=True)
        source.resumeProducing()
        await paused
        seen = -1

        def settled() -> bool:
            nonlocal seen
            before, seen = seen, source.sent
            return before == seen and source.paused

        await wait_for(settled, "the visitor to be held back")
        assert source.sent < total
        side = sides[0]
        received = 0

        def swallow(data: bytes) -> None:
            nonlocal received
            received += len(data)
            if received == total:
                side.send(OK)

        received = len(side.extra)
        side.dataReceived = swallow  # type: ignore[method-assign]
        side.transport.resumeProducing()
        await visitor.until_has(b"hello")
        assert run.rows[0].request_bytes == total


@pytest_twisted.ensureDeferred
async def test_the_health_page_answers_any_host_and_leaves_no_row() -> None:
    async with running() as run:
        visitor = await run.visit(
            b"GET /.well-known/watchducks/health HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"
        )
        data = await visitor.until_has(b"}")
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Type: application/json\r\n" in data
        assert json.loads(body_of(data))["status"] == "ok"
        assert not run.rows
        assert not run.origin.heads


@pytest_twisted.ensureDeferred
async def test_acme_challenges_go_to_the_origin() -> None:
    async with running() as run:
        visitor = await run.visit(GET.replace(b"/a/", b"/.well-known/acme-challenge/"))
        await visitor.until_has(b"hello")
        assert b"GET /.well-known/acme-challenge/" in run.origin.heads[0]


@pytest_twisted.ensureDeferred
async def test_acme_challenges_of_ours_are_answered_and_no_others() -> None:
    answers = Answers()
    answers.replace([Challenge("http-01", HOST, "tok-en_1", "tok-en_1.thumb")])
    async with running(challenges=answers) as run:
        path = b"/.well-known/acme-challenge/tok-en_1"
        visitor = await run.visit(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path, HOST.encode()))
        data = await visitor.until_has(b"thumb")
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body_of(data) == b"tok-en_1.thumb"
        assert not run.origin.heads
        visitor = await run.visit(b"GET %b1 HTTP/1.1\r\nHost: %b\r\n\r\n" % (path, HOST.encode()))
        await visitor.until_has(b"hello")
        assert len(run.origin.heads) == 1


@pytest_twisted.ensureDeferred
async def test_an_absolute_target_becomes_the_origins() -> None:
    async with running() as run:
        visitor = await run.visit(
            b"GET http://www.example.com?q HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
        )
        await visitor.until_has(b"hello")
        assert run.origin.heads[0].startswith(b"GET /?q HTTP/1.1\r\nHost: www.example.com\r\n")


@pytest_twisted.ensureDeferred
async def test_a_host_is_looked_up_once_unknown_and_the_request_then_served() -> None:
    async with running() as run:
        route = run.routes.routes[HOST]
        answer: Deferred[object] = Deferred()
        run.routes.slow["slow.example"] = answer  # type: ignore[assignment]
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: slow.example\r\nContent-Length: 3\r\n\r\nabc" + GET
        )
        await wait_for(lambda: run.routes.asked, "the look-up")
        assert not run.origin.heads
        answer.callback(route)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert [row.host for row in run.rows] == ["slow.example", HOST]
        assert run.rows[0].request_bytes == 3


@pytest_twisted.ensureDeferred
async def test_stopping_lets_the_running_exchange_end_and_closes_the_idle() -> None:
    sides: list[OriginSide] = []
    async with running(
        lambda side, _: sides.append(side), limits=Limits(linger_seconds=0.3)
    ) as run:
        busy = await run.visit(GET)
        idle = await run.visit()
        await wait_for(lambda: sides, "the request at the origin")
        stopped = Deferred.fromCoroutine(run.proxy.stop())
        await idle.until_closed()
        assert not busy.closed
        sides[0].send(OK)
        data = await busy.until_closed()
        assert body_of(data) == b"hello"
        assert b"Connection: close\r\n" in data
        await stopped
        assert len(run.rows) == 1


@pytest.mark.parametrize(("scheme", "connections"), [("http", 1), ("https", 2)])
@pytest_twisted.ensureDeferred
async def test_sites_of_one_address_share_connections_that_prove_nothing(
    scheme: str, connections: int
) -> None:
    names = (HOST, "two.example") if scheme == "https" else None
    async with running(origin_names=names) as run:
        run.routes.routes["two.example"] = route_to(
            run.origin.port, scheme=scheme, site_id=8, domain="two.example"
        )
        visitor = await run.visit(GET + GET.replace(b"www.example.com", b"two.example"))
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == connections
        assert [row.site_id for row in run.rows] == [7, 8]
