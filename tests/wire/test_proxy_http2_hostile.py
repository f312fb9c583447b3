"""HTTP/2 visitors who mean harm, or do not know what they do: they end alone, and cheaply."""

from __future__ import annotations

import random
from typing import Any

import pytest
import pytest_twisted
from h2.errors import ErrorCodes
from hpack import Encoder

from tests.wire.http2_visitor import DATA, HEADERS, RST_STREAM, Http2Visitor, frame, visit
from tests.wire.origin import OriginSide
from tests.wire.proxying import HOST, Running, running, wait_for
from tests.wire.test_proxy_http2_flow import POST, REQUEST, Http2World
from watchducks.proxy.http2_limits import Http2Limits
from watchducks.proxy.limits import Limits

CALM, PROTOCOL = ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR
COMPRESSION = ErrorCodes.COMPRESSION_ERROR
QUICK = Limits(linger_seconds=0.2)


async def opened(run: Running) -> Http2Visitor:
    """A visitor whose connection works."""
    visitor = await visit(run, check=False)
    assert (await visitor.get()).status == 200
    return visitor


def section(fields: list[tuple[bytes, bytes]], flags: int = 5, stream_id: int = 3) -> bytes:
    """A request as bytes, without changing any table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return frame(HEADERS, flags, stream_id, encoder.encode(fields, huffman=False))


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


FLOODS: dict[str, bytes] = {
    "pings": frame(6, 0, 0, bytes(8)) * 1000,
    "answers to pings": frame(6, 1, 0, bytes(8)) * 1000,
    "settings": frame(4, 0, 0) * 1000,
    "acknowledged settings": frame(4, 1, 0) * 1000,
    "window updates": frame(8, 0, 0, number(1)) * 5000,
    "priorities": frame(2, 0, 3, bytes(5)) * 1000,
    "priority updates": frame(0x10, 0, 0, bytes(5)) * 1000,
    "unknown frames": frame(0x77, 0, 0, bytes(5)) * 1000,
    "empty data": section(POST, 4) + frame(DATA, 0, 3) * 1000,
    "padding": section(POST, 4) + frame(DATA, 8, 3, b"\x09" + bytes(9)) * 1000,
    "continuations": section(REQUEST, 0) + frame(9, 0, 3) * 1000,
    "a long field section": section(REQUEST, 0) + frame(9, 0, 3, bytes(16_000)) * 5,
    "rapid resets": b"".join(
        section(REQUEST, 5, stream_id) + frame(RST_STREAM, 0, stream_id, number(8))
        for stream_id in range(3, 2003, 2)
    ),
    "resets that we are made to send": b"".join(
        section(REQUEST, 5, stream_id) + frame(8, 0, stream_id, number(2**31 - 1))
        for stream_id in range(3, 2003, 2)
    ),
    "malformed requests": b"".join(
        section([(b":method", b"HEAD"), *REQUEST[1:], (b"X", b"y")], 5, stream_id)
        for stream_id in range(3, 2003, 2)
    ),
    "lies about lengths": b"".join(
        section([*POST, (b"content-length", b"1")], 4, stream_id) + frame(DATA, 1, stream_id, b"ab")
        for stream_id in range(3, 2003, 2)
    ),
    "a bomb": section([*REQUEST, (b"x", b"a" * 4000)], 5)
    + frame(HEADERS, 5, 5, b"\x3f\xe1\x1f\x40\x01x\x7f\xa1\x1e" + b"a" * 4000 + b"\xbe" * 10_000),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
@pytest_twisted.ensureDeferred
async def test_whoever_overdoes_it_is_told_to_be_calm(flood: bytes) -> None:
    async with running(limits=QUICK) as run:
        visitor = await opened(run)
        visitor.send(flood)
        await visitor.until_told(CALM)
        # Of thousands of requests, no more than the allowance got anywhere.
        assert len(run.origin.heads) < 400
        assert (await (await visit(run)).get()).status == 200


ERRORS: dict[str, tuple[bytes, ErrorCodes]] = {
    "no stream": (frame(DATA, 0, 0, b"x"), PROTOCOL),
    "an idle stream": (frame(DATA, 0, 9, b"x"), PROTOCOL),
    "an even stream": (section(REQUEST, 5, 4), PROTOCOL),
    "a stream again": (section(REQUEST, 5, 1), ErrorCodes.STREAM_CLOSED),
    "a push": (frame(5, 4, 3, number(4) + b"\x82"), PROTOCOL),
    "a field section that is none": (frame(HEADERS, 5, 3, b"\xff\xff\xff\xff\xff"), COMPRESSION),
    "an index of nothing": (frame(HEADERS, 5, 3, b"\xff\x80\x7f"), COMPRESSION),
    "a frame in a field section": (section(REQUEST, 0) + frame(6, 0, 0, bytes(8)), PROTOCOL),
    "a continuation of nothing": (frame(9, 4, 3, b"\x82"), PROTOCOL),
    "a frame too long": (b"\x00\x40\x01" + bytes(6), ErrorCodes.FRAME_SIZE_ERROR),
    "a ping too short": (frame(6, 0, 0, bytes(7)), ErrorCodes.FRAME_SIZE_ERROR),
    "a window too wide": (frame(8, 0, 0, number(2**31 - 1)), ErrorCodes.FLOW_CONTROL_ERROR),
    "a window of nothing": (frame(8, 0, 0, number(0)), PROTOCOL),
    "settings of a stream": (frame(4, 0, 3), PROTOCOL),
    "settings cut off": (frame(4, 0, 0, bytes(5)), ErrorCodes.FRAME_SIZE_ERROR),
    "an impossible setting": (
        frame(4, 0, 0, b"\x00\x04" + number(2**31)),
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "padding longer than its frame": (
        section(POST, 4) + frame(DATA, 8, 3, b"\x09abc"),
        PROTOCOL,
    ),
    "a goaway cut off": (frame(7, 0, 0, bytes(4)), ErrorCodes.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), ERRORS.values(), ids=ERRORS.keys())
@pytest_twisted.ensureDeferred
async def test_what_breaks_the_protocol_ends_the_connection(sent: bytes, code: ErrorCodes) -> None:
    def answer_first(side: OriginSide, _head: bytes) -> None:
        if len(run.origin.heads) == 1:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with running(answer_first, limits=QUICK) as run:
        visitor = await opened(run)
        visitor.send(sent)
        await visitor.until_told(code)
        await wait_for(lambda: not run.proxy._context.connections, "the end of the connection")


@pytest.mark.parametrize(
    "fields",
    [
        [*REQUEST, (b"x", b"a\r\ntransfer-encoding: chunked\r\n\r\nGET /smuggled HTTP/1.1")],
        [*REQUEST, (b"transfer-encoding", b"chunked")],
        [*REQUEST[:3], (b":path", b"/ HTTP/1.1\r\nhost: www.example.com\r\n\r\nGET /smuggled")],
        [(b":method", b"GET /smuggled HTTP/1.1\r\nx:"), *REQUEST[1:]],
        [*REQUEST, (b"host", b"other.example")],
        [*REQUEST, (b"connection", b"x-forwarded-for")],
        [*REQUEST, (b"content-length", b"5")],
        [(b":status", b"200"), *REQUEST],
    ],
)
@pytest_twisted.ensureDeferred
async def test_nothing_is_smuggled_and_the_connection_goes_on(
    fields: list[tuple[bytes, bytes]],
) -> None:
    async with running(limits=QUICK) as run:
        visitor = await opened(run)
        reply = await visitor.reply(visitor.send_section(fields))
        assert reply.status == 400
        assert (await visitor.get()).status == 200
        assert len(run.origin.heads) == 2
        assert not any(b"smuggled" in head for head in run.origin.heads)
        # Of a request for two hosts, nobody knows whose row it would be.
        rows = ["", ""] if (b"host", b"other.example") in fields else ["", "bad-request", ""]
        assert [row.reason for row in run.rows] == rows


@pytest.mark.parametrize(
    ("body", "end"), [(b"abcdef", False), (b"abcdef", True), (b"abc", True), (b"", True)]
)
@pytest_twisted.ensureDeferred
async def test_a_body_of_another_length_than_was_said(body: bytes, end: bool) -> None:
    def only_get(side: OriginSide, head: bytes) -> None:
        if head.startswith(b"GET"):
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with running(only_get, limits=QUICK) as run:
        visitor = await opened(run)
        stream_id = visitor.send_section([*POST, (b"content-length", b"5")], end=False)
        visitor.send(frame(DATA, int(end), stream_id, body))
        reply = await visitor.reply(stream_id)
        assert reply.status == 400
        assert (await visitor.get()).status == 200
        assert [row.reason for row in run.rows] == ["", "bad-request", ""]


@pytest_twisted.ensureDeferred
async def test_trailers_do_not_complete_a_body_that_is_too_short() -> None:
    async with running(limits=QUICK) as run:
        visitor = await opened(run)
        stream_id = visitor.send_section([*POST, (b"content-length", b"5")], end=False)
        run.origin.handler = lambda _side, _head: None
        visitor.send(frame(DATA, 0, stream_id, b"abc") + section([(b"x", b"y")], 5, stream_id))
        assert (await visitor.reply(stream_id)).status == 400
        assert [row.reason for row in run.rows] == ["", "bad-request"]


@pytest_twisted.ensureDeferred
async def test_a_body_after_the_end_breaks_its_stream_alone() -> None:
    def only_first(side: OriginSide, head: bytes) -> None:
        if b" /held " not in head:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with running(only_first, limits=QUICK) as run:
        visitor = await opened(run)
        stream_id = visitor.request("/held")
        visitor.send(frame(DATA, 1, stream_id, b"x"))
        reply = await visitor.reply(stream_id)
        assert reply.reset == ErrorCodes.STREAM_CLOSED
        assert (await visitor.get()).status == 200
        assert [row.reason for row in run.rows] == ["", "visitor-left", ""]


@pytest_twisted.ensureDeferred
async def test_whoever_speaks_something_else_is_cut_off() -> None:
    async with running(limits=QUICK) as run:
        run.certificates.hold(run.authority, HOST)
        raw = await run.visit_tls(HOST, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", (b"h2",))
        await raw.until(lambda seen: b"\x00\x00\x08\x07" in seen.data)
        raw.transport.loseConnection()
        await raw.until_closed()


@pytest_twisted.ensureDeferred
async def test_whoever_says_nothing_is_cut_off() -> None:
    async with running(limits=Limits(head_seconds=0.3, linger_seconds=0.2)) as run:
        run.certificates.hold(run.authority, HOST)
        raw = await run.visit_tls(HOST, b"PRI * HTTP", (b"h2",))
        await raw.until_closed()
        assert not run.rows


def test_no_bytes_make_it_fail() -> None:
    """Mutated conversations: whatever is sent, nothing is raised, and what is open is closed."""
    dice = random.Random(9113)
    limits = Http2Limits()
    pieces: list[Any] = [
        section(REQUEST, 5, 1),
        section(POST, 4, 1),
        section(POST, 0, 3),
        section([*REQUEST, (b"x", b"a" * 300)], 5, 3),
        section([(b"x", b"y")], 5, 1),
        frame(DATA, 0, 1, b"abc"),
        frame(DATA, 1, 1, b"abc"),
        frame(DATA, 8, 1, b"\x02abc"),
        frame(RST_STREAM, 0, 1, number(8)),
        frame(4, 0, 0, b"\x00\x04" + number(7)),
        frame(4, 1, 0),
        frame(6, 0, 0, bytes(8)),
        frame(7, 0, 0, bytes(8)),
        frame(8, 0, 1, number(100)),
        frame(8, 0, 0, number(100)),
        frame(2, 0, 1, bytes(5)),
        frame(9, 4, 3, b"\x82"),
        frame(9, 0, 3, b"\x82"),
    ]
    ended = 0
    for _ in range(600):
        world = Http2World(http2_limits=limits)
        for _ in range(dice.randrange(1, 12)):
            sent = bytearray(dice.choice(pieces))
            if dice.random() < 0.4:
                for _ in range(dice.randrange(1, 4)):
                    sent[dice.randrange(len(sent))] = dice.choice([0, 1, 3, 4, 5, 8, 255])
            world.connection.dataReceived(bytes(sent))
            if world.reactor.tcpClients and dice.random() < 0.5:
                origin, _transport = world.connect_origin()
                origin.dataReceived(
                    dice.choice(
                        [
                            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                            b"HTTP/1.1 204 No Content\r\n\r\n",
                            b"nonsense\r\n\r\n",
                        ]
                    )
                )
                world.reactor.tcpClients.clear()
            if dice.random() < 0.1:
                world.turn(20)
        ended += world.transport.disconnecting or world.transport.disconnected
        world.connection.connectionLost()
        assert not world.context.connections - {world.visitor}
    assert 50 < ended < 600
