"""WebSocket through HTTP/1.1 Upgrade: a tunnel once the origin agrees, and never before."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.protocol import connectionDone
from websocket import create_connection
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Request,
    TextMessage,
)

from tests.wire.origin import OriginSide
from tests.wire.proxying import HOST, running
from tests.wire.world import GET, OK, World
from watchducks.proxy.limits import Limits

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: xyz\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


class EchoServer:
    """A WebSocket server behind one origin connection, of wsproto: it echoes messages."""

    def __init__(self, side: OriginSide, head: bytes) -> None:
        self.side = side
        self.protocol = WSConnection(ConnectionType.SERVER)
        side.on_extra = self.more
        self.protocol.receive_data(head)
        self.answer()

    def more(self) -> None:
        data, self.side.extra = self.side.extra, b""
        self.protocol.receive_data(data)
        self.answer()

    def answer(self) -> None:
        for event in self.protocol.events():
            if isinstance(event, Request):
                self.side.send(self.protocol.send(AcceptConnection(subprotocol="chat")))
            elif isinstance(event, TextMessage):
                self.side.send(self.protocol.send(TextMessage(data=event.data)))
            elif isinstance(event, BytesMessage):
                self.side.send(
                    self.protocol.send(
                        BytesMessage(data=event.data, message_finished=event.message_finished)
                    )
                )
            elif isinstance(event, Ping | CloseConnection):
                self.side.send(self.protocol.send(event.response()))
                if isinstance(event, CloseConnection):
                    self.side.close()


def talk(port: int) -> tuple[str | bytes, bytes, str | None]:
    """Have a conversation as a real client has it."""
    client = create_connection(
        f"ws://127.0.0.1:{port}/chat?room=1", host=HOST, subprotocols=["chat"], timeout=10
    )
    try:
        client.send("한글")
        text = client.recv()
        client.ping("are you there")
        client.send_binary(b"\0\xff" * 200_000)
        data = b""
        while len(data) < 400_000:
            piece = client.recv()
            assert isinstance(piece, bytes)
            data += piece
        return text, data, client.getsubprotocol()
    finally:
        client.close()


@pytest_twisted.ensureDeferred
async def test_a_real_client_talks_to_a_real_server() -> None:
    from twisted.internet import reactor
    from twisted.internet.threads import deferToThreadPool

    def serve(side: OriginSide, head: bytes) -> None:
        EchoServer(side, head)

    threads: Any = reactor
    async with running(serve) as run:
        pool = threads.getThreadPool()
        text, data, protocol = await deferToThreadPool(threads, pool, talk, run.http_port)
        assert (text, protocol) == ("한글", "chat")
        assert data == b"\0\xff" * 200_000
        rows = await run.until_rows(1)
        assert [(row.status, row.reason, row.path) for row in rows] == [(101, "", "/chat")]
        assert rows[0].request_bytes > 400_000 < rows[0].response_bytes
        assert len(run.origin.connections) == 1


def open_tunnel(limits: Limits | None = None) -> tuple[World, Any, Any]:
    world = World(limits)
    world.receive(UPGRADE)
    origin, transport = world.origins[0]
    transport.clear()
    origin.dataReceived(AGREED)
    world.transport.clear()
    return world, origin, transport


def test_the_handshake_passes_and_nothing_follows_it_before_the_origin_agreed() -> None:
    world = World()
    world.receive(UPGRADE + b"\x81\x01early")
    origin, transport = world.origins[0]
    head = transport.value()
    assert head.startswith(b"GET /chat HTTP/1.1\r\nHost: www.example.com\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
    assert b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" in head
    transport.clear()
    origin.dataReceived(AGREED + b"\x81\x02hi")
    assert transport.value() == b"\x81\x01early"
    answer, _, after = world.transport.value().partition(b"\r\n\r\n")
    assert answer.startswith(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    )
    assert b"\r\nSec-WebSocket-Accept: xyz\r\nSec-WebSocket-Protocol: chat\r\n" in answer
    assert after == b"\x81\x02hi"
    # HTTP inside a tunnel is bytes.
    transport.clear()
    world.receive(GET)
    assert transport.value() == GET
    assert not world.rows


def test_an_origin_that_does_not_agree_answers_and_the_next_bytes_are_a_request() -> None:
    world = World()
    world.receive(UPGRADE + GET)
    origin, transport = world.origins[0]
    origin.dataReceived(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
    assert transport.value().count(b" HTTP/1.1\r\n") == 2
    origin.dataReceived(OK)
    assert [row.status for row in world.rows] == [426, 200]


@pytest.mark.parametrize(
    "request_head",
    [
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        UPGRADE.replace(b"WebSocket\r\n", b"h2c\r\n"),
        UPGRADE.replace(b"WebSocket\r\n", b"websocket, h2c\r\n"),
        UPGRADE.replace(b"Upgrade: ", b"Upgrade: x\r\nUpgrade: "),
        UPGRADE.replace(b"keep-alive, Upgrade", b"keep-alive"),
        UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
    ],
)
def test_what_is_no_websocket_handshake_is_a_plain_request(request_head: bytes) -> None:
    world = World()
    world.receive(request_head)
    assert b"\r\nUpgrade:" not in world.sent_to_origins()
    world.origins[0][0].dataReceived(AGREED)
    assert b"HTTP/1.1 502 " in world.transport.value()  # nobody asked for that


@pytest.mark.parametrize(
    "answer",
    [
        AGREED.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        AGREED.replace(b"Upgrade: websocket\r\n", b""),
        AGREED.replace(b"Connection: Upgrade\r\n", b""),
    ],
)
def test_an_agreement_to_something_else_is_502(answer: bytes) -> None:
    world = World()
    world.receive(UPGRADE)
    world.origins[0][0].dataReceived(answer)
    assert world.transport.value().startswith(b"HTTP/1.1 502 ")
    assert [row.reason for row in world.rows] == ["bad-answer"]


def test_the_visitor_may_end_his_side_first() -> None:
    world, origin, transport = open_tunnel()
    world.receive(b"last words")
    world.visitor.readConnectionLost()
    assert transport.value() == b"last words"
    assert transport.half_closed
    origin.dataReceived(b"answer")
    assert world.transport.value() == b"answer"
    assert not world.rows
    origin.connectionLost(connectionDone)
    assert [(row.status, row.reason) for row in world.rows] == [(101, "")]
    assert (world.rows[0].request_bytes, world.rows[0].response_bytes) == (10, 6)
    assert world.transport.disconnecting


def test_the_origin_ends_it() -> None:
    world, origin, _ = open_tunnel()
    origin.dataReceived(b"bye")
    origin.connectionLost(connectionDone)
    assert world.transport.value() == b"bye"
    assert world.transport.half_closed
    assert [(row.status, row.reason) for row in world.rows] == [(101, "")]


def test_a_visitor_who_closes_both_sides_leaves_what_he_sent_to_the_origin() -> None:
    world, _, transport = open_tunnel()
    world.receive(b"bye")
    world.visitor.connectionLost()
    assert transport.value() == b"bye"
    assert transport.disconnecting
    assert not transport.disconnected
    assert [(row.status, row.reason) for row in world.rows] == [(101, "")]


def test_it_lives_as_long_as_either_side_sends() -> None:
    world, origin, transport = open_tunnel(Limits(tunnel_idle_seconds=300))
    for _ in range(5):
        world.turn(200)
        world.receive(b"ping")
        world.turn(200)
        origin.dataReceived(b"pong")
    assert not world.rows
    world.turn(299)
    assert not world.rows
    world.turn(2)
    assert [(row.status, row.reason) for row in world.rows] == [(101, "tunnel-idle")]
    assert transport.disconnected
    assert world.transport.half_closed


def test_each_side_waits_for_the_other() -> None:
    world, origin, transport = open_tunnel()
    transport.pause_above = 0
    world.receive(b"a" * 10)
    assert not world.transport.reading
    transport.drain()
    assert world.transport.reading
    world.transport.pause_above = 0
    origin.dataReceived(b"b" * 10)
    assert not transport.reading
    world.transport.drain()
    assert transport.reading


def test_an_origin_that_takes_nothing_any_more_ends_it() -> None:
    world, _, transport = open_tunnel(Limits(origin_stalled_seconds=60))
    transport.pause_above = 0
    world.receive(b"a")
    world.turn(61)
    assert [(row.status, row.reason) for row in world.rows] == [(101, "origin-stalled")]


def test_a_connection_that_carried_a_tunnel_is_never_used_again() -> None:
    world, origin, _ = open_tunnel()
    origin.connectionLost(connectionDone)
    assert world.context.pools.idle == 0
    assert len(world.context.pools) == 0


def test_after_a_visitor_has_ended_his_side_the_origins_bytes_keep_it_alive() -> None:
    world, origin, transport = open_tunnel(Limits(tunnel_idle_seconds=300))
    transport.pause_above = 0
    world.receive(b"last")  # the origin does not take them at once
    world.visitor.readConnectionLost()
    assert transport.half_closed
    for _ in range(5):
        origin.dataReceived(b"x")
        world.turn(200)
    assert not world.rows
    world.turn(101)
    assert [row.reason for row in world.rows] == ["tunnel-idle"]
