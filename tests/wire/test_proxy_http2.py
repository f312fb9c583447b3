"""HTTP/2 visitors, through a real listener: what they get is what HTTP/1.1 visitors get."""

from __future__ import annotations

import pytest
import pytest_twisted
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from twisted.internet.defer import Deferred

from tests.wire.http2_visitor import Http2Visitor, visit
from tests.wire.origin import OriginSide
from tests.wire.proxying import HOST, running, wait_for
from watchducks.model.rows import ASKS_PAGE, NO_TRACKING
from watchducks.proxy.limits import Limits


@pytest_twisted.ensureDeferred
async def test_a_request_arrives_and_its_answer_returns() -> None:
    def answer(side: OriginSide, _head: bytes) -> None:
        side.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\nhello"
        )

    async with running(answer) as run:
        visitor = await visit(run)
        fields = [(b"user-agent", b"duck"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
        fields += [(b"sec-gpc", b"1"), (b"sec-fetch-dest", b"document")]
        reply = await visitor.get("/p%20/?q=1&&", fields=fields)
        assert (reply.status, reply.body, reply.ended) == (200, b"hello", True)
        names = [name for name, _ in reply.all_fields]
        assert names.count(b"set-cookie") == 2
        assert not {b"connection", b"keep-alive", b"x-hop"} & set(names)
        assert reply.fields[b"content-length"] == b"5"
        assert b"x-request-id" in reply.fields
        (head,) = run.origin.heads
        lines = head.split(b"\r\n")
        assert lines[:2] == [b"GET /p%20/?q=1&& HTTP/1.1", b"Host: www.example.com"]
        assert b"cookie: a=1; b=2" in lines
        assert b"X-Forwarded-Proto: https" in lines
        (row,) = run.rows
        assert (row.protocol, row.scheme, row.method, row.host) == ("HTTP/2", "https", "GET", HOST)
        assert (row.path, row.status, row.user_agent) == ("/p%20/", 200, "duck")
        assert (row.client, row.response_bytes) == ("127.0.0.1", 5)
        assert (row.query, row.traits) == ("q=1&&", NO_TRACKING | ASKS_PAGE)
        # Neither an empty DATA frame nor a second HEADERS: END_STREAM came with the last byte.
        assert [frame.kind for frame in visitor.frames if frame.stream_id == 1] == [1, 0]


@pytest_twisted.ensureDeferred
async def test_streams_do_not_wait_for_each_other() -> None:
    sides: dict[bytes, OriginSide] = {}

    def hold(side: OriginSide, head: bytes) -> None:
        sides[head.split(b" ")[1]] = side

    async with running(hold) as run:
        visitor = await visit(run)
        streams = [visitor.request(f"/{number}") for number in range(20)]
        await wait_for(lambda: len(sides) == 20, "20 requests")
        for number in reversed(range(20)):
            sides[b"/%d" % number].send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d" % number
            )
            reply = await visitor.reply(streams[number])
            assert reply.body == b"%02d" % number
        assert len(run.rows) == 20


@pytest.mark.parametrize("method", ["POST", "PUT", "PROPFIND"])
@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
@pytest_twisted.ensureDeferred
async def test_a_body_arrives(method: str, known: bool) -> None:
    body = bytes(range(256)) * 160

    def take(side: OriginSide, _head: bytes) -> None:
        def more() -> None:
            if side.extra.endswith(b"\r\n0\r\n\r\n") or len(side.extra) == len(body):
                side.on_extra = lambda: None
                side.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

        side.on_extra = more

    async with running(take) as run:
        visitor = await visit(run)
        fields = [(b"content-length", b"%d" % len(body))] if known else []
        reply = await visitor.reply(visitor.request(method=method, fields=fields, body=body))
        assert (reply.status, reply.ended, reply.reset) == (201, True, None)
        (side,) = run.origin.connections
        if known:
            assert side.extra == body
            assert b"Content-Length: 40960\r\n" in run.origin.heads[0]
        else:
            assert b"Transfer-Encoding: chunked\r\n" in run.origin.heads[0]
        assert (await run.until_rows(1))[0].request_bytes == len(body)


@pytest.mark.parametrize(
    ("method", "answer", "status"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n", 304),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ],
)
@pytest_twisted.ensureDeferred
async def test_answers_without_a_body_end_with_their_head(
    method: str, answer: bytes, status: int
) -> None:
    async with running(lambda side, _head: side.send(answer)) as run:
        visitor = await visit(run)
        for stream_id in (1, 3):  # the connection goes on
            reply = await visitor.get(method=method)
            assert (reply.status, reply.body, reply.ended) == (status, b"", True)
            kinds = [frame.kind for frame in visitor.frames if frame.stream_id == stream_id]
            assert kinds == [1]
        assert len(run.origin.connections) == 1


@pytest_twisted.ensureDeferred
async def test_chunks_interim_answers_and_trailers_pass() -> None:
    def answer(side: OriginSide, _head: bytes) -> None:
        side.send(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n"
        )

    async with running(answer) as run:
        visitor = await visit(run)
        reply = await visitor.get(fields=[(b"te", b"trailers")])
        assert reply.interim == [[(b":status", b"103"), (b"link", b"</a.css>; rel=preload")]]
        assert (reply.status, reply.body, reply.ended) == (200, b"abcde", True)
        assert reply.trailers == [(b"x-sum", b"7")]
        assert b"content-length" not in reply.fields
        assert b"transfer-encoding" not in reply.fields
        assert (await visitor.get()).trailers == []  # who did not ask gets none


@pytest_twisted.ensureDeferred
async def test_trailers_of_a_request_pass_and_may_not_lie() -> None:
    async with running(lambda _side, _head: None) as run:
        visitor = await visit(run, check=False)
        stream_id = visitor.request(method="POST", body=b"abc", end=False)
        visitor.h2.send_headers(stream_id, [(b"x-sum", b"7"), (b"host", b"evil")], end_stream=True)
        visitor.flush()
        await wait_for(
            lambda: run.origin.connections and b"\r\n0\r\n" in run.origin.connections[0].extra,
            "the body",
        )
        assert run.origin.connections[0].extra == b"3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"
        run.origin.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await visitor.reply(stream_id)).status == 200

        stream_id = visitor.request(method="POST", body=b"abc", end=False)
        visitor.h2.send_headers(stream_id, [(b"x", b"a\r\nb")], end_stream=True)
        visitor.flush()
        assert (await visitor.reply(stream_id)).status == 400
        assert [row.reason for row in run.rows] == ["", "bad-request"]


@pytest_twisted.ensureDeferred
async def test_the_origin_may_answer_before_the_body_is_complete() -> None:
    def refuse(side: OriginSide, _head: bytes) -> None:
        side.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")

    async with running(refuse) as run:
        visitor = await visit(run)
        stream_id = visitor.request(method="POST", body=b"x" * 1000, end=False)
        reply = await visitor.reply(stream_id)
        assert (reply.status, reply.body) == (413, b"no!")
        await visitor.until(lambda _v: reply.reset is not None)
        assert reply.reset == ErrorCodes.NO_ERROR
        run.origin.handler = lambda side, _head: side.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        )
        assert (await visitor.get()).status == 200


@pytest_twisted.ensureDeferred
async def test_an_answer_that_breaks_off_is_a_broken_stream_and_no_more() -> None:
    def answer(side: OriginSide, head: bytes) -> None:
        if head.startswith(b"GET /bad"):
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            side.close()
        else:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with running(answer) as run:
        visitor = await visit(run)
        reply = await visitor.get("/bad")
        assert (reply.status, reply.ended, reply.reset) == (200, False, ErrorCodes.INTERNAL_ERROR)
        assert (await visitor.get("/good")).body == b"ok"
        assert [row.reason for row in run.rows] == ["origin-reset", ""]


@pytest_twisted.ensureDeferred
async def test_errors_of_ours_are_pages() -> None:
    async with running() as run:
        visitor = await visit(run)
        korean = [(b"accept-language", b"ko")]
        reply = await visitor.get(host="unknown.example", fields=korean)
        assert reply.status == 404
        assert "않은" in reply.body.decode()
        run.routes.routes["other.example"] = run.routes.routes[HOST]
        assert (await visitor.get(host="other.example")).status == 421
        await run.origin.stop()
        assert (await visitor.get()).status == 502
        assert (await visitor.get(method="TRACE")).status == 405
        assert [row.status for row in run.rows] == [421, 502, 405]
        assert (await visitor.get("/.well-known/watchducks/health")).status == 200


@pytest_twisted.ensureDeferred
async def test_a_visitor_who_gives_a_stream_up_frees_the_origin() -> None:
    async with running(lambda _side, _head: None) as run:
        visitor = await visit(run)
        stream_id = visitor.request()
        await wait_for(lambda: run.origin.heads, "the request")
        visitor.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        visitor.flush()
        await wait_for(lambda: run.origin.connections[0].lost, "the origin's connection to close")
        (row,) = await run.until_rows(1)
        assert (row.status, row.reason) == (499, "visitor-left")


@pytest_twisted.ensureDeferred
async def test_a_visitor_who_leaves_ends_all_his_exchanges() -> None:
    async with running(lambda _side, _head: None) as run:
        visitor = await visit(run)
        for _ in range(5):
            visitor.request()
        await wait_for(lambda: len(run.origin.heads) == 5, "the requests")
        visitor.transport.abortConnection()
        assert [row.reason for row in await run.until_rows(5)] == ["visitor-left"] * 5


@pytest_twisted.ensureDeferred
async def test_a_look_up_may_outlive_its_visitor() -> None:
    async with running() as run:
        visitor = await visit(run)
        run.routes.slow[HOST] = Deferred()
        stream_id = visitor.request()
        await wait_for(lambda: run.routes.asked, "the look-up")
        visitor.h2.reset_stream(stream_id)
        visitor.flush()
        await visitor.get("/.well-known/watchducks/health")
        run.routes.slow.pop(HOST).callback(run.routes.routes[HOST])
        (row,) = await run.until_rows(1)
        assert row.reason == "visitor-left"


@pytest_twisted.ensureDeferred
async def test_streams_beyond_the_limit_are_refused_and_may_be_repeated() -> None:
    async with running(lambda _side, _head: None) as run:
        visitor = await visit(run)
        streams = [visitor.request() for _ in range(100)]
        # As one who has not read our SETTINGS yet.
        visitor.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 200
        visitor.h2.remote_settings.acknowledge()
        one_more = visitor.request()
        reply = await visitor.reply(one_more)
        assert (reply.status, reply.reset) == (0, ErrorCodes.REFUSED_STREAM)
        await wait_for(lambda: len(run.origin.heads) == 100, "the others")
        run.origin.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await visitor.until(lambda _v: any(visitor.replies[s].ended for s in streams))


@pytest_twisted.ensureDeferred
async def test_draining_lets_streams_finish_and_refuses_no_request() -> None:
    async with running(lambda _side, _head: None) as run:
        visitor = await visit(run)
        begun = visitor.request("/begun")
        await wait_for(lambda: run.origin.heads, "the request")
        stopping = Deferred.fromCoroutine(run.proxy.stop())
        # Sent before the visitor can have seen any GOAWAY: it is served.
        crossing = visitor.request("/crossing")
        await wait_for(lambda: len(run.origin.heads) == 2, "the request that crossed")
        await visitor.until(lambda _v: len(visitor.goaways) == 2)
        assert visitor.goaways == [(2**31 - 1, 0), (crossing, 0)]
        assert not visitor.closed
        for side in run.origin.connections:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        for stream_id in (begun, crossing):
            assert visitor.replies[stream_id].reset is None
        await visitor.until(
            lambda _v: all(visitor.replies[s].body == b"ok" for s in (begun, crossing))
        )
        await visitor.until_closed()
        await stopping
        assert [row.reason for row in run.rows] == ["", ""]


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_is_ended_with_goaway() -> None:
    async with running(limits=Limits(visitor_idle_seconds=0.3, linger_seconds=0.2)) as run:
        visitor = await visit(run)
        assert (await visitor.get()).status == 200
        await visitor.until_closed()
        assert visitor.goaways == [(2**31 - 1, 0), (1, 0)]


@pytest_twisted.ensureDeferred
async def test_who_says_goaway_gets_what_he_has_asked_for() -> None:
    sides: list[OriginSide] = []
    async with running(lambda side, _head: sides.append(side)) as run:
        visitor = await visit(run)
        stream_id = visitor.request()
        await wait_for(lambda: sides, "the request")
        visitor.send(bytes.fromhex("0000080700000000000000000000000000"))
        sides[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert (await visitor.reply(stream_id)).body == b"ok"
        await visitor.until_closed()


@pytest_twisted.ensureDeferred
async def test_a_body_that_does_not_come_is_408() -> None:
    limits = Limits(request_body_idle_seconds=0.3)
    async with running(lambda _side, _head: None, limits=limits) as run:
        visitor = await visit(run)
        stream_id = visitor.request(method="POST", body=b"x", end=False)
        reply = await visitor.reply(stream_id)
        assert reply.status == 408
        assert [row.reason for row in run.rows] == ["body-timeout"]


class _Stalling(Http2Visitor):
    reads = False


@pytest_twisted.ensureDeferred
async def test_a_stream_that_is_not_read_stalls_alone() -> None:
    big = b"x" * 1_000_000

    def answer(side: OriginSide, head: bytes) -> None:
        body = big if head.startswith(b"GET /big") else b"small"
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with running(answer, limits=Limits(visitor_stalled_seconds=0.5)) as run:
        visitor = await visit(run)
        # The connection's window is wide, the streams' are not.
        visitor.h2.increment_flow_control_window(1_000_000)
        visitor.flush()
        visitor.reads = False
        stalled = visitor.request("/big")
        await visitor.until(lambda _v: len(visitor.replies[stalled].body) == 65_535)
        assert (await visitor.get("/small")).body == b"small"
        reply = await visitor.reply(stalled)
        assert (reply.ended, reply.reset) == (False, ErrorCodes.CANCEL)
        assert sorted(row.reason for row in run.rows) == ["", "visitor-stalled"]
