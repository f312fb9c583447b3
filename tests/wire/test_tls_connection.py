"""The TLS transport: handshake, both ways, every way to end; in memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.unit.certificates.authority import Authority
from tests.wire.world import Transport, World
from watchducks.certificates.pairs import make_context
from watchducks.proxy.limits import Limits
from watchducks.proxy.tls import TlsConnection
from watchducks.proxy.tls_engine import PeerClosed, TlsEngine, best_engine

AUTHORITY = Authority()


def server_context(*alpn: bytes) -> SSL.Context:
    return make_context(*AUTHORITY.certify("www.example.com"), alpn)


class Inner(Protocol):
    """Keeps what it is told. :ivar answers: what it writes on data, as separate writes."""

    transport: Any

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.events: list[str] = []
        self.answers: list[bytes] = []
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.data.append(data)
        for answer in self.answers:
            self.transport.write(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append("lost")
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class HalfInner(Inner):
    def readConnectionLost(self) -> None:
        self.events.append("read-lost")

    def writeConnectionLost(self) -> None:
        self.events.append("write-lost")


class TcpTransport(Transport):
    """:ivar calls: what the connection asked of TCP. :ivar writes: how often something was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def loseConnection(self) -> None:
        self.calls.append("lose")

    def loseWriteConnection(self) -> None:
        self.calls.append("lose-write")

    def abortConnection(self) -> None:
        self.calls.append("abort")

    def sent(self) -> bytes:
        data: bytes = self.io.getvalue()
        self.clear()  # type: ignore[no-untyped-call]
        return data


class Talk:
    """A TlsConnection on a transport in memory, and a client over OpenSSL."""

    def __init__(
        self,
        inner: Inner | None = None,
        *,
        version: int = SSL.TLS1_3_VERSION,
        alpn: tuple[bytes, ...] = (),
        limits: Limits | None = None,
        handshake: bool = True,
        turns: bool = True,
    ) -> None:
        self.waiting: list[TlsConnection] = []
        self.world = World(limits)
        self.inner = inner or Inner()
        self.agreed: list[bytes] = []
        connection = SSL.Connection(server_context(b"h2", b"http/1.1"), None)
        connection.set_accept_state()
        self.tls = TlsConnection(
            self.world.context, best_engine(connection), self.build, self if turns else None
        )
        self.tcp = TcpTransport()
        self.tls.makeConnection(self.tcp)  # type: ignore[no-untyped-call]
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        if alpn:
            context.set_alpn_protos(list(alpn))
        client = SSL.Connection(context, None)
        client.set_connect_state()
        self.client = TlsEngine(client)
        if handshake:
            self.shake_hands()

    def build(self, alpn: bytes) -> Inner:
        self.agreed.append(alpn)
        return self.inner

    def shake_hands(self) -> None:
        for _ in range(4):
            self.client.handshake()
            self.give()
        assert self.take() == b""
        assert self.inner.events == ["made"]

    def give(self, data: bytes = b"") -> None:
        """Let the client send ``data``, and take what it is answered."""
        if data:
            self.client.connection.send(data)
        sent = self.client.take()
        if sent:
            self.tls.dataReceived(sent)
        self.receive()

    def receive(self) -> None:
        sent = self.tcp.sent()
        if sent:
            self.client.feed(sent)

    def take(self) -> bytes:
        """Return the plaintext that the client has received."""
        self.receive()
        parts = []
        while part := self.client.read():
            parts.append(part)
        return b"".join(parts)

    def flush_later(self, connection: TlsConnection) -> None:
        self.waiting.append(connection)

    def turn(self) -> None:
        """End the reactor's turn."""
        waiting, self.waiting = self.waiting, []
        assert len(waiting) <= 1
        for connection in waiting:
            connection.flush()


VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_inner_protocol_begins_when_the_handshake_is_complete(version: int) -> None:
    talk = Talk(version=version, alpn=(b"http/1.1",), handshake=False)
    assert talk.tls in talk.world.context.connections
    assert not talk.inner.events
    talk.shake_hands()
    assert talk.agreed == [b"http/1.1"]
    assert talk.tls.negotiated_protocol == b"http/1.1"
    assert talk.tls not in talk.world.context.connections
    talk.give(b"hello")
    assert talk.inner.data == [b"hello"]


def test_a_request_that_comes_with_the_end_of_the_handshake_is_not_lost() -> None:
    talk = Talk(handshake=False)
    talk.client.handshake()
    talk.give()
    assert talk.client.handshake()
    talk.client.connection.send(b"early ")
    talk.client.connection.send(b"bird")
    talk.give()
    assert b"".join(talk.inner.data) == b"early bird"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_fed_byte_by_byte(version: int) -> None:
    talk = Talk(version=version, handshake=False)
    talk.inner.answers = [b"!"]
    for _ in range(4):
        talk.client.handshake()
        for byte in talk.client.take():
            talk.tls.dataReceived(bytes([byte]))
        talk.receive()
    for text in (b"one", b"two"):
        talk.client.connection.send(text)
    for byte in talk.client.take():
        talk.tls.dataReceived(bytes([byte]))
    assert talk.inner.data == [b"one", b"two"]
    assert talk.take() == b"!!"


def test_what_is_written_in_one_turn_is_sent_as_one() -> None:
    talk = Talk()
    talk.tcp.writes = 0
    for part in (b"head", b"", b"body", b"end"):
        talk.tls.write(part)
    talk.tls.writeSequence([b"a", b"b"])
    assert talk.tcp.writes == 0
    talk.turn()
    assert talk.tcp.writes == 1
    talk.receive()
    assert talk.client.read() == b"headbodyendab"  # one record
    talk.tls.write(b"next")
    talk.turn()
    assert talk.take() == b"next"


def test_without_turns_each_write_is_sent_at_once() -> None:
    talk = Talk(turns=False)
    talk.tcp.writes = 0
    for part in (b"head", b"body"):
        talk.tls.write(part)
    assert talk.tcp.writes == 2
    assert talk.take() == b"headbody"


def test_an_answer_to_what_came_is_sent_before_the_call_returns() -> None:
    talk = Talk()
    talk.inner.answers = [b"head", b"body"]
    talk.give(b"request")
    assert talk.take() == b"headbody"


def test_much_is_not_held_back_until_the_turn_ends() -> None:
    talk = Talk()
    text = random.Random(7).randbytes(100_000)
    for at in range(0, len(text), 10_000):
        talk.tls.write(text[at : at + 10_000])
    assert talk.tcp.io.tell() > 60_000
    talk.turn()
    assert talk.take() == text


def test_much_that_comes_at_once_is_delivered_as_one() -> None:
    talk = Talk()
    text = random.Random(7).randbytes(200_000)
    for at in range(0, len(text), 16_000):
        talk.client.connection.send(text[at : at + 16_000])
    talk.give()
    assert talk.inner.data == [text]


@pytest.mark.parametrize("version", VERSIONS)
def test_closing_sends_all_then_close_notify_and_fin_and_waits_for_the_peers(version: int) -> None:
    talk = Talk(version=version)
    talk.tls.write(b"last ")
    talk.tls.write(b"words")
    talk.tls.loseConnection()
    talk.tls.loseConnection()
    talk.tls.write(b"too late")
    assert talk.tls.disconnecting
    talk.receive()
    assert talk.client.read() == b"last words"
    with pytest.raises(PeerClosed):
        talk.client.read()
    assert talk.tcp.calls == ["lose-write"]
    talk.turn()
    talk.client.connection.send(b"nobody listens")
    talk.give()
    assert not talk.inner.data
    talk.tls.readConnectionLost()
    assert talk.tcp.calls == ["lose-write", "lose"]
    talk.tls.connectionLost(Failure(error.ConnectionDone()))
    assert talk.inner.events == ["made", "lost"]
    assert talk.tls not in talk.world.context.connections


def test_a_close_that_is_not_answered_is_cut_off() -> None:
    talk = Talk(limits=Limits(linger_seconds=1, flush_seconds=5))
    talk.tls.loseConnection()
    talk.world.turn(4)
    assert talk.tcp.calls == ["lose-write"]
    talk.tls.writeConnectionLost()  # it was sent only now
    talk.world.turn(0.75)
    assert talk.tcp.calls == ["lose-write"]
    talk.world.turn(1)
    assert talk.tcp.calls == ["lose-write", "abort"]


def test_a_close_that_cannot_be_sent_is_cut_off() -> None:
    talk = Talk(limits=Limits(flush_seconds=5))
    talk.tls.loseConnection()
    talk.world.turn(6)
    assert talk.tcp.calls == ["lose-write", "abort"]


def test_a_paused_connection_that_closes_reads_on_to_see_the_end() -> None:
    talk = Talk()
    talk.tls.pauseProducing()
    assert not talk.tcp.reading
    talk.tls.loseConnection()
    assert talk.tcp.reading


@pytest.mark.parametrize("version", VERSIONS)
def test_the_peers_close_ends_a_protocol_that_knows_no_halves(version: int) -> None:
    talk = Talk(version=version)
    talk.inner.answers = [b"bye"]
    talk.client.connection.send(b"last")
    talk.client.shut_down()
    talk.give()
    assert talk.inner.data == [b"last"]
    assert talk.client.read() == b"bye"
    assert talk.tcp.calls == ["lose"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_protocol_that_knows_halves_goes_on_sending(version: int) -> None:
    talk = Talk(HalfInner(), version=version)
    talk.client.shut_down()
    talk.give()
    assert talk.inner.events == ["made", "read-lost"]
    talk.tls.readConnectionLost()  # the FIN behind it says nothing new
    assert talk.tcp.calls == []
    talk.tls.pauseProducing()
    talk.tls.resumeProducing()
    assert not talk.tcp.reading  # it would be reported again
    talk.tls.write(b"more")
    talk.turn()
    talk.receive()
    assert talk.client.read() == b"more"
    talk.tls.loseConnection()
    assert talk.tcp.calls == ["lose"]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_half_may_close_first(version: int) -> None:
    talk = Talk(HalfInner(), version=version)
    talk.tls.write(b"that is all")
    talk.tls.loseWriteConnection()
    talk.tls.loseWriteConnection()
    assert talk.tcp.calls == ["lose-write"]
    talk.receive()
    assert talk.client.read() == b"that is all"
    if version == SSL.TLS1_3_VERSION:  # 1.2 answers close_notify at once (RFC 5246 section 7.2.1)
        talk.give(b"and this from me")
        assert talk.inner.data == [b"and this from me"]
    talk.tls.writeConnectionLost()
    talk.world.turn(300)
    assert talk.tcp.calls == ["lose-write"]


@pytest.mark.parametrize("inner", [Inner, HalfInner])
def test_a_fin_without_close_notify_is_not_an_end(inner: type[Inner]) -> None:
    talk = Talk(inner())
    talk.give(b"half of a requ")
    talk.tls.readConnectionLost()
    assert talk.tcp.calls == ["abort"]
    talk.tls.connectionLost(Failure(error.ConnectionAborted()))
    assert talk.inner.events == ["made", "lost"]
    assert talk.inner.reason is not None
    assert talk.inner.reason.check(error.ConnectionAborted)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_changed_byte_ends_it_with_an_alert_and_without_a_word_of_it(version: int) -> None:
    talk = Talk(version=version)
    talk.client.connection.send(b"good")
    good = talk.client.take()
    talk.client.connection.send(b"evil")
    evil = bytearray(talk.client.take())
    evil[-1] ^= 1
    talk.tls.write(b"never sent")
    talk.tls.dataReceived(good + evil)
    assert talk.inner.data == [b"good"]
    assert talk.tcp.calls == ["lose"]
    with pytest.raises(SSL.Error, match="bad record mac"):
        talk.take()
    talk.tls.dataReceived(good)
    talk.turn()
    talk.tls.connectionLost(Failure(error.ConnectionDone()))
    assert talk.inner.events == ["made", "lost"]
    assert talk.inner.reason is not None
    assert talk.inner.reason.check(SSL.Error)


def test_a_handshake_that_fails_ends_with_an_alert() -> None:
    talk = Talk(handshake=False)
    hello = bytearray(b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01" + bytes(32))
    hello += b"\x00\x00\x02\x00\x2f\x01\x00" + b"\x00\x00" + b"\x00" * 2
    talk.tls.dataReceived(bytes(hello))
    assert talk.tcp.sent()[:1] == b"\x15"
    assert talk.tcp.calls == ["lose"]
    talk.tls.connectionLost()
    assert not talk.inner.events


def test_a_handshake_has_a_time_limit() -> None:
    talk = Talk(handshake=False, limits=Limits(handshake_seconds=3))
    talk.client.handshake()
    talk.give()
    talk.world.turn(2)
    assert talk.tcp.calls == []
    talk.world.turn(2)
    assert talk.tcp.calls == ["abort"]
    quick = Talk(limits=Limits(handshake_seconds=3))
    quick.world.turn(10)
    assert quick.tcp.calls == []


def test_a_stopping_proxy_ends_a_handshake() -> None:
    talk = Talk(handshake=False)
    talk.tls.drain()
    assert talk.tcp.calls == ["abort"]


def test_renegotiation_is_refused() -> None:
    talk = Talk(version=SSL.TLS1_2_VERSION)
    talk.client.connection.renegotiate()
    talk.client.handshake()
    talk.give()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        talk.client.handshake()
    assert talk.inner.events == ["made"]


def test_a_pause_of_tcp_reaches_the_inner_protocol_and_pulling_is_refused() -> None:
    talk = Talk()
    producer: Any = object()
    talk.tls.registerProducer(producer, True)
    assert talk.tcp.producer is producer
    talk.tls.unregisterProducer()
    assert talk.tcp.producer is None
    with pytest.raises(ValueError, match="streaming"):
        talk.tls.registerProducer(producer, False)


def test_nothing_is_sent_after_an_abort() -> None:
    talk = Talk()
    talk.tls.write(b"never")
    talk.tls.abortConnection()
    talk.turn()
    assert talk.tcp.calls == ["abort"]
    assert talk.tcp.sent() == b""
    talk.tls.connectionLost(Failure(error.ConnectionAborted()))
    talk.tls.write(b"never")
    talk.tls.loseConnection()
    talk.turn()
    assert talk.tcp.sent() == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(version: int) -> None:
    context = server_context()
    client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client_context.set_max_proto_version(version)
    session: SSL.Session | None = None
    sizes = []
    kept = []  # OpenSSL forgets the session of a connection that ends without close_notify
    for _ in range(2):
        server, client = SSL.Connection(context, None), SSL.Connection(client_context, None)
        server.set_accept_state()
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        sides = TlsEngine(server), TlsEngine(client)
        count = 0
        for _ in range(4):
            for here, there in ((sides[1], sides[0]), (sides[0], sides[1])):
                here.handshake()
                data = here.take()
                count += len(data) if here is sides[0] else 0
                if data:
                    there.feed(data)
        sides[1].read()
        sizes.append(count)
        session = client.get_session()
        kept.append(client)
    assert sizes[1] < sizes[0] - 300  # without certificate and signature
