"""HTTP/2 and back-pressure, both ways, on transports and a clock in memory; and tunnels."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest_twisted
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, WindowUpdated
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.wire.http2_visitor import frame, visit
from tests.wire.origin import OriginSide
from tests.wire.proxying import HOST, running, wait_for
from tests.wire.world import Transport, World
from watchducks.proxy.http2 import Http2Connection
from watchducks.proxy.http2_limits import Http2Limits
from watchducks.proxy.limits import Limits
from watchducks.proxy.peers import Peer

REQUEST = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", HOST.encode()),
    (b":path", b"/"),
]
POST = [(b":method", b"POST"), *REQUEST[1:]]


class Http2World(World):
    """A :class:`World` whose visitor speaks HTTP/2.

    :ivar client: the visitor's h2. :ivar events: what it has understood.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        http2_limits: Http2Limits | None = None,
        peer: Peer | None = None,
    ) -> None:
        super().__init__(limits)
        self.transport = Transport()
        self.connection = Http2Connection(self.context, None, peer, limits=http2_limits)
        self.connection.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.events: list[Any] = []
        self.client.initiate_connection()
        self.exchange()

    def exchange(self) -> None:
        """Carry bytes both ways until neither side has any."""
        while True:
            there = self.client.data_to_send()
            if there:
                self.connection.dataReceived(there)
            back = self.transport.value()
            self.transport.clear()
            if back:
                self.events += self.client.receive_data(back)
            if not there and not back:
                return

    def data(self, stream_id: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == stream_id
        )


def test_a_visitor_whose_window_is_full_stops_his_origin_alone() -> None:
    world = Http2World()
    world.client.send_headers(1, REQUEST, end_stream=True)
    world.exchange()
    origin, transport = world.connect_origin()
    body = bytes(200_000)
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body[:60_000])
    world.exchange()
    assert transport.reading
    origin.dataReceived(body[:60_000])
    world.exchange()
    assert not transport.reading
    assert len(world.data(1)) == 65_535
    world.client.acknowledge_received_data(65_535, 1)
    world.exchange()
    assert transport.reading
    assert len(world.data(1)) == 120_000
    origin.dataReceived(body[:80_000])
    world.client.acknowledge_received_data(54_465, 1)
    world.exchange()
    world.client.acknowledge_received_data(65_535, 1)
    world.exchange()
    assert len(world.data(1)) == 200_000
    assert any(isinstance(event, StreamEnded) for event in world.events)
    assert [row.response_bytes for row in world.rows] == [200_000]


def test_the_connections_window_is_shared_in_turn() -> None:
    world = Http2World()
    origins = []
    for stream_id in (1, 3, 5):
        world.client.send_headers(stream_id, REQUEST, end_stream=True)
        world.exchange()
        origins.append(world.connect_origin())
    for origin, _ in origins:
        origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000))
    world.exchange()
    assert [len(world.data(s)) for s in (1, 3, 5)] == [60_000, 5_535, 0]
    world.client.increment_flow_control_window(30_000)
    world.exchange()
    assert [len(world.data(s)) for s in (1, 3, 5)] == [60_000, 35_535, 0]
    # Who got some goes last.
    world.client.increment_flow_control_window(30_000)
    world.exchange()
    assert [len(world.data(s)) for s in (1, 3, 5)] == [60_000, 35_535, 30_000]


def test_a_full_socket_stops_all_origins_and_an_emptied_one_lets_them_go_on() -> None:
    world = Http2World()
    origins = []
    for stream_id in (1, 3):
        world.client.send_headers(stream_id, REQUEST, end_stream=True)
        world.exchange()
        origins.append(world.connect_origin())
    world.transport.pause_above = 0
    origins[0][0].dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + bytes(10))
    assert [transport.reading for _, transport in origins] == [False, False]
    world.transport.pause_above = None
    world.events += world.client.receive_data(world.transport.drain())
    world.exchange()
    assert [transport.reading for _, transport in origins] == [True, True]
    for origin, _ in origins:
        origin.dataReceived(
            bytes(10)
            if origin is origins[0][0]
            else b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"
        )
    world.exchange()
    assert (world.data(1), world.data(3)) == (bytes(20), b"!")


def test_a_visitor_who_never_reads_is_left() -> None:
    world = Http2World(Limits(visitor_stalled_seconds=20))
    world.client.send_headers(1, REQUEST, end_stream=True)
    world.exchange()
    origin, _ = world.connect_origin()
    world.transport.pause_above = 0
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + bytes(10))
    world.turn(15)
    assert not world.transport.disconnected
    world.turn(10)
    assert world.transport.disconnected


def test_what_waits_for_a_visitor_who_reads_nothing_is_bounded() -> None:
    world = Http2World(http2_limits=Http2Limits(unread_bytes=1000))
    world.transport.pause_above = 0
    world.client.ping(b"12345678")
    for _ in range(70):
        world.client.ping(b"12345678")
        world.connection.dataReceived(world.client.data_to_send())
    assert world.transport.disconnected
    assert len(world.transport.value()) < 1100


def test_a_full_origin_closes_the_window_and_an_emptied_one_opens_it() -> None:
    world = Http2World()
    world.client.send_headers(1, [*POST, (b"content-length", b"600000")])
    world.exchange()
    origin, transport = world.connect_origin()
    transport.pause_above = 0
    sent = 0
    while world.client.local_flow_control_window(1):
        piece = min(16_384, world.client.local_flow_control_window(1))
        world.client.send_data(1, bytes(piece))
        sent += piece
        world.exchange()
        assert sent <= 600_000
    # The first piece filled the origin; what came after it was kept, and is the stream's window.
    assert sent == 16_384 + 256 * 1024 - 16_384
    assert len(transport.value()) < 20_000
    transport.pause_above = None
    received = len(transport.drain())
    world.exchange()
    received += len(transport.drain())
    assert received > sent
    while sent < 600_000:
        piece = min(16_384, world.client.local_flow_control_window(1), 600_000 - sent)
        assert piece
        sent += piece
        world.client.send_data(1, bytes(piece), end_stream=sent == 600_000)
        world.exchange()
        transport.drain()
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    world.exchange()
    assert [(row.status, row.request_bytes) for row in world.rows] == [(200, 600_000)]


def test_what_a_given_up_upload_held_of_the_connections_window_is_given_back() -> None:
    world = Http2World()
    stream_id = 1
    for _ in range(20):  # 5 MB in all, five times the connection's window
        world.client.send_headers(stream_id, POST)
        world.exchange()
        assert world.client.local_flow_control_window(stream_id) == 256 * 1024
        while world.client.local_flow_control_window(stream_id):
            piece = min(16_384, world.client.local_flow_control_window(stream_id))
            world.client.send_data(stream_id, bytes(piece))
        world.exchange()
        world.client.reset_stream(stream_id, ErrorCodes.CANCEL)
        world.exchange()
        stream_id += 2
    assert [row.reason for row in world.rows] == ["visitor-left"] * 20


def test_a_body_that_drips_is_given_up_and_one_that_flows_slowly_is_not() -> None:
    limits = Limits(request_body_idle_seconds=60, request_body_bytes_per_second=500)
    for seconds, size, given_up in ((3, 300, True), (10, 6000, False)):
        world = Http2World(limits)
        world.client.send_headers(1, POST)
        world.exchange()
        world.connect_origin()
        world.exchange()
        for _ in range(30):
            world.turn(seconds)
            if not world.rows:
                world.client.send_data(1, bytes(size))
            world.exchange()
        rows = [(row.status, row.reason) for row in world.rows]
        assert rows == ([(408, "body-timeout")] if given_up else [])
        if given_up:
            assert 20 * 300 < world.rows[0].request_bytes < 30 * 300


def test_bodies_that_do_not_come_leave_room_for_those_who_only_ask() -> None:
    world = Http2World(Limits(origin_exchanges=6, origin_uploads=3))
    for stream_id in (1, 3, 5, 7):
        world.client.send_headers(stream_id, POST)
        world.exchange()
        if stream_id < 7:
            world.connect_origin()
    assert [(row.status, row.reason) for row in world.rows] == [(503, "overloaded")]
    world.client.send_headers(9, REQUEST, end_stream=True)
    world.exchange()
    world.connect_origin()
    assert len(world.rows) == 1
    # Whose body has come, or never will, makes room for another.
    world.client.end_stream(1)
    world.client.reset_stream(3)
    world.exchange()
    for stream_id in (11, 13, 15):
        world.client.send_headers(stream_id, POST)
        world.exchange()
    assert [row.reason for row in world.rows] == ["overloaded", "visitor-left", "overloaded"]


def test_a_visitor_is_not_blamed_for_an_origin_that_is_slow_to_take_his_body() -> None:
    world = Http2World(Limits(request_body_idle_seconds=10, origin_stalled_seconds=100))
    world.client.send_headers(1, POST)
    world.exchange()
    _, transport = world.connect_origin()
    for _ in range(5):
        transport.pause_above = 0
        world.client.send_data(1, b"x")
        world.exchange()
        world.turn(30)
        transport.drain()
    world.turn(5)  # all that time is his own again
    assert not world.rows
    world.turn(6)
    assert [row.reason for row in world.rows] == ["body-timeout"]


def test_an_end_that_comes_while_the_origin_is_full_is_not_lost() -> None:
    world = Http2World()
    world.client.send_headers(1, POST)
    world.exchange()
    _, transport = world.connect_origin()
    transport.pause_above = 0
    world.client.send_data(1, b"abc")
    world.client.send_data(1, b"def", end_stream=True)
    world.exchange()
    assert transport.value().endswith(b"\r\n\r\n3\r\nabc\r\n")
    transport.pause_above = None
    transport.drain()
    assert transport.value() == b"3\r\ndef\r\n0\r\n\r\n"


def test_windows_that_shrink_below_zero_are_waited_for() -> None:
    from h2.settings import SettingCodes

    world = Http2World()
    world.client.send_headers(1, REQUEST, end_stream=True)
    world.exchange()
    origin, _ = world.connect_origin()
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(10_000))
    world.exchange()
    world.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
    world.exchange()
    origin.dataReceived(bytes(10_000))
    world.exchange()
    assert len(world.data(1)) == 10_000
    world.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10_001})
    world.exchange()
    assert len(world.data(1)) == 10_001
    world.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
    world.exchange()
    assert len(world.data(1)) == 20_000


def test_byte_by_byte_is_the_same() -> None:
    world = Http2World()
    world.client.send_headers(1, POST)
    world.client.send_data(1, b"abc", end_stream=True)
    for byte in world.client.data_to_send():
        world.connection.dataReceived(bytes([byte]))
    origin, transport = world.connect_origin()
    assert transport.value().endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
        origin.dataReceived(bytes([byte]))
    world.exchange()
    assert world.data(1) == b"ok"
    assert any(isinstance(event, ResponseReceived) for event in world.events)


def test_a_field_section_that_does_not_end_is_not_waited_for() -> None:
    world = Http2World(Limits(head_seconds=15))
    world.client.send_headers(1, REQUEST, end_stream=True)
    data = world.client.data_to_send()
    for byte in data[:20]:
        world.connection.dataReceived(bytes([byte]))
        world.turn(0.5)
    assert not world.transport.disconnecting
    world.turn(8)
    assert world.transport.disconnecting
    assert not world.rows


def test_window_updates_are_sent_only_for_what_was_taken() -> None:
    world = Http2World()
    world.client.send_headers(1, POST)
    for _ in range(15):
        world.client.send_data(1, bytes(16_384))
        world.exchange()
    assert not [e for e in world.events if isinstance(e, WindowUpdated) and e.stream_id == 1]
    world.connect_origin()
    world.exchange()
    assert [e for e in world.events if isinstance(e, WindowUpdated) and e.stream_id == 1]


def test_whoever_leaves_gives_his_place_in_line_back_at_once() -> None:
    world = Http2World(Limits(origin_connecting=1, origin_queue=1))
    for stream_id in range(1, 2 * 120, 2):
        world.client.send_headers(stream_id, REQUEST, end_stream=True)
        world.client.reset_stream(stream_id)
        world.exchange()
    assert [row.reason for row in world.rows] == ["visitor-left"] * 120
    world.client.send_headers(301, REQUEST, end_stream=True)
    world.exchange()
    assert len(world.rows) == 120
    world.connect_origin()  # the first one's, who left while it was made
    origin, transport = world.connect_origin()
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    world.exchange()
    assert transport.value().startswith(b"GET / ")
    assert world.data(301) == b"ok"
    assert world.context.pools.idle == 2
    assert len(world.reactor.tcpClients) == 2


def test_a_body_that_fails_while_its_request_is_in_line_is_answered_as_what_it_is() -> None:
    world = Http2World(Limits(origin_connecting=1))
    world.client.send_headers(1, REQUEST, end_stream=True)
    world.client.send_headers(3, [*POST, (b"content-length", b"5")])
    world.exchange()
    world.connection.dataReceived(frame(0, 0, 3, b"abcdef"))
    assert [(row.status, row.reason) for row in world.rows] == [(400, "bad-request")]


def test_a_trusted_peer_says_for_whom_each_request_is() -> None:
    for trusted in (True, False):
        world = Http2World(peer=Peer("10.0.0.1", trusted))
        world.context.trusted_networks = (ipaddress.ip_network("10.0.0.0/8"),)
        for stream_id, visitor in ((1, b"192.0.2.7"), (3, b"192.0.2.8, 10.0.0.9")):
            scheme = b"http" if stream_id == 1 else b"https"
            fields = [*REQUEST, (b"x-forwarded-for", visitor), (b"x-forwarded-proto", scheme)]
            world.client.send_headers(stream_id, fields, end_stream=True)
            world.exchange()
            origin, transport = world.connect_origin()
            address = visitor.split(b",")[0] if trusted else b"10.0.0.1"
            assert b"\r\nX-Forwarded-For: %b\r\n" % address in transport.value()
            scheme = scheme if trusted else b"https"
            assert b"\r\nX-Forwarded-Proto: %b\r\n" % scheme in transport.value()
            assert b"\r\nVia: 2.0 watchducks\r\n" in transport.value()
            origin.dataReceived(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            origin.connectionLost(Failure(ConnectionDone()))
        clients = ["192.0.2.7", "192.0.2.8"] if trusted else ["10.0.0.1"] * 2
        assert [row.client for row in world.rows] == clients
        schemes = ["http" if trusted else "https", "https"]
        assert [row.scheme for row in world.rows] == schemes


# --- tunnels (RFC 8441) ---

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":authority", HOST.encode()),
    (b":path", b"/chat"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"chat"),
]


@pytest_twisted.ensureDeferred
async def test_a_websocket_is_a_tunnel_through_one_stream() -> None:
    def agree(side: OriginSide, head: bytes) -> None:
        assert b"\r\nUpgrade: websocket\r\n" in head
        assert b"\r\nSec-WebSocket-Key: " in head
        side.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst"
        )
        side.on_extra = lambda: side.send(side.extra.upper())

    async with running(agree) as run:
        visitor = await visit(run)
        stream_id = visitor.send_section(CONNECT, end=False)
        reply = visitor.replies[stream_id]
        # Sent before the answer: it waits for the origin.
        visitor.h2.send_data(stream_id, b"a")
        visitor.flush()
        await visitor.until(lambda _v: reply.body == b"firstA")
        assert reply.status == 200
        assert reply.fields[b"sec-websocket-protocol"] == b"chat"
        assert b"sec-websocket-accept" not in reply.fields
        assert not {b"connection", b"upgrade"} & set(reply.fields)
        assert not run.rows
        visitor.h2.end_stream(stream_id)
        visitor.flush()
        await wait_for(lambda: run.origin.connections[0].lost, "the origin to see the end")
        await visitor.until(lambda _v: reply.ended)
        (row,) = await run.until_rows(1)
        assert (row.method, row.path, row.status, row.reason) == ("GET", "/chat", 200, "")
        assert (row.request_bytes, row.response_bytes) == (1, 6)


@pytest_twisted.ensureDeferred
async def test_a_websocket_that_the_origin_refuses_is_an_answer() -> None:
    def refuse(side: OriginSide, _head: bytes) -> None:
        side.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    async with running(refuse) as run:
        visitor = await visit(run)
        stream_id = visitor.send_section(CONNECT, end=False)
        reply = visitor.replies[stream_id]
        await visitor.until(lambda _v: reply.reset is not None)
        assert (reply.status, reply.body, reply.reset) == (403, b"no", ErrorCodes.NO_ERROR)


@pytest_twisted.ensureDeferred
async def test_a_tunnel_closed_by_the_visitor_is_no_failure() -> None:
    def agree(side: OriginSide, _head: bytes) -> None:
        side.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )

    async with running(agree) as run:
        visitor = await visit(run)
        replies = visitor.replies
        for code, reason in ((ErrorCodes.CANCEL, ""), (ErrorCodes.INTERNAL_ERROR, "visitor-left")):
            stream_id = visitor.send_section(CONNECT, end=False)
            await wait_for(lambda: [reply for reply in replies.values() if reply.status], "200")
            visitor.h2.reset_stream(stream_id, code)
            visitor.flush()
            await wait_for(lambda: run.origin.connections[-1].lost, "the origin to see it")
            await wait_for(lambda: run.rows, "a row")
            assert run.rows.pop().reason == reason
            replies.clear()
