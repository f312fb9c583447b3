"""The proxy's protocols on transports and a clock in memory: what sockets do too rarely to test."""

from __future__ import annotations

import gc
from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.python.failure import Failure

from tests.wire.world import GET, OK, World
from watchducks.proxy.limits import Limits
from watchducks.proxy.peers import Peer


def test_a_pause_with_the_last_bytes_of_a_body_does_not_stop_the_connection() -> None:
    world = World()
    post = b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 4\r\n\r\n"
    world.visitor.dataReceived(post)
    origin, transport = world.connect_origin()
    transport.pause_above = len(transport.value())
    world.visitor.dataReceived(b"body")  # the origin's buffer is full with just these
    assert transport.drain().endswith(b"body")
    transport.pause_above = None
    assert world.transport.reading
    origin.dataReceived(OK)
    world.visitor.dataReceived(GET)
    assert transport.value().startswith(b"GET / ")
    origin.dataReceived(OK)
    assert world.transport.value().count(b"hello") == 2
    assert [row.request_bytes for row in world.rows] == [4, 0]


def test_a_full_origin_stops_the_visitor_and_an_emptied_one_lets_him_go_on() -> None:
    world = World()
    world.visitor.dataReceived(
        b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 100\r\n\r\n" + b"a" * 10
    )
    assert not world.transport.reading  # nobody to send it to yet
    origin, transport = world.connect_origin()
    assert world.transport.reading
    transport.pause_above = 0
    world.visitor.dataReceived(b"b" * 40)
    assert not world.transport.reading
    transport.drain()
    assert world.transport.reading
    transport.pause_above = None
    world.visitor.dataReceived(b"c" * 50)
    origin.dataReceived(OK)
    assert world.rows[0].request_bytes == 100


def test_a_full_visitor_stops_the_origin_and_time_then_counts_for_the_visitor() -> None:
    world = World(Limits(answer_idle_seconds=5, visitor_stalled_seconds=20))
    world.visitor.dataReceived(GET)
    origin, transport = world.connect_origin()
    world.transport.pause_above = 0
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    assert not transport.reading
    world.turn(15)  # longer than an origin may be silent
    assert not world.rows
    world.transport.drain()
    assert transport.reading
    world.transport.pause_above = 0
    origin.dataReceived(b"wor")
    world.turn(25)
    assert world.rows[0].reason == "visitor-stalled"
    assert world.transport.disconnected


def test_what_is_sent_ahead_waits_and_is_not_read() -> None:
    world = World()
    world.visitor.dataReceived(GET + GET)
    assert not world.transport.reading
    origin, transport = world.connect_origin()
    assert transport.value().count(b"GET / ") == 1
    transport.clear()
    origin.dataReceived(OK)
    assert transport.value().count(b"GET / ") == 1
    assert world.transport.reading


def test_times_are_of_the_clock_that_was_given() -> None:
    world = World()
    world.visitor.dataReceived(GET[:10])
    world.turn(1)
    world.visitor.dataReceived(GET[10:])
    world.turn(0.5)
    origin, _ = world.connect_origin()
    world.turn(2)
    origin.dataReceived(OK[:-1])
    world.turn(0.25)
    origin.dataReceived(OK[-1:])
    (row,) = world.rows
    # It is logged at its end, and says how long it took.
    assert row.time_us == 1_700_000_000_250_000 + 3_750_000
    assert (row.duration_us, row.origin_us) == (3_750_000, 2_000_000)
    assert row.client == "192.0.2.9"


def test_a_connect_that_takes_too_long_is_504() -> None:
    from twisted.internet.error import TimeoutError as ConnectTimeout

    world = World()
    world.visitor.dataReceived(GET)
    _host, _port, factory, timeout, _bind = world.reactor.tcpClients[0]
    assert timeout == world.limits.connect_seconds
    factory.clientConnectionFailed(None, Failure(ConnectTimeout()))
    assert world.transport.value().startswith(b"HTTP/1.1 504 ")
    assert world.rows[0].reason == "connect-timeout"
    assert len(world.context.pools) == 0


def test_a_first_byte_that_does_not_come_is_504_and_one_that_does_is_waited_for() -> None:
    world = World(Limits(first_byte_seconds=60))
    world.visitor.dataReceived(GET)
    _origin, transport = world.connect_origin()
    world.turn(59)
    assert not world.rows
    world.turn(2)
    assert world.rows[0].reason == "first-byte-timeout"
    assert transport.disconnected


def test_a_body_that_drips_is_given_up_and_one_that_flows_slowly_is_not() -> None:
    limits = Limits(request_body_idle_seconds=60, request_body_bytes_per_second=500)
    world = World(limits)
    head = b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 1000000\r\n\r\n"
    world.receive(head)
    for _ in range(30):  # far from idle, and far too slow
        world.turn(3)
        world.receive(b"x" * 300)
    assert [(row.status, row.reason) for row in world.rows] == [(408, "body-timeout")]
    assert 20 * 300 < world.rows[0].request_bytes < 30 * 300
    steady = World(limits)
    steady.receive(head)
    for _ in range(30):
        steady.turn(10)
        steady.receive(b"x" * 6000)
    assert not steady.rows


def test_a_visitor_is_not_blamed_for_an_origin_that_is_slow_to_take_his_body() -> None:
    world = World(Limits(request_body_idle_seconds=10, origin_stalled_seconds=100))
    world.receive(b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 30\r\n\r\n")
    _, transport = world.origins[0]
    for _ in range(5):
        transport.pause_above = 0
        world.receive(b"x")
        world.turn(30)
        transport.drain()
    world.turn(5)  # all that time is his own again
    assert not world.rows
    world.turn(6)
    assert [row.reason for row in world.rows] == ["body-timeout"]


def test_a_plain_connection_closes_as_one_whatever_its_peer_says_of_the_visitors_scheme() -> None:
    world = World(peer=Peer("10.0.0.1", trusted=True))
    said = b"\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    world.receive(GET.replace(b"\r\n\r\n", said))
    world.origins[0][0].dataReceived(OK)
    assert world.rows[0].scheme == "https"
    # What he still sends is read: closing with it unread would take the answer from him.
    assert world.transport.half_closed
    assert not world.transport.disconnecting


def cycles_of(visit: Callable[[World], None]) -> set[str]:
    """Return the types of ours that are left in cycles when a visit is over.

    They would pile up: Python looks for cycles rarely (:mod:`watchducks.garbage`).
    """
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        world = World()
        visit(world)
        for protocol, transport in (*world.origins, (world.visitor, world.transport)):
            protocol.connectionLost(Failure(ConnectionDone()))
            vars(transport).clear()  # it is a fake, and holds its protocol
        protocol = transport = None
        world.origins.clear()
        world.reactor.tcpClients.clear()
        world.reactor.connectors.clear()
        del world.visitor
        gc.collect()
        return {type(one).__name__ for one in gc.garbage if "watchducks" in type(one).__module__}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_connections_and_their_exchanges_leave_no_cycles() -> None:
    def visit(world: World) -> None:
        for _ in range(3):
            world.receive(GET)
            world.origins[0][0].dataReceived(OK)
        world.receive(GET)
        world.origins[0][0].dataReceived(OK[:-1])

    assert not cycles_of(visit)


def test_connections_that_are_refused_leave_no_cycles() -> None:
    def visit(world: World) -> None:
        world.visitor.dataReceived(GET)
        world.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(Refused()))
        assert world.transport.value().startswith(b"HTTP/1.1 502 ")

    assert not cycles_of(visit)
