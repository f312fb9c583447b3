"""TLS between a TCP transport and the protocol that speaks inside: :class:`TlsConnection`, the
visitors' side; :mod:`.origin_tls` has the origins'.

Cheaper than Twisted's own TLS for two reasons. What is written in one turn of the reactor becomes
one record and one write, where the reactor says when a turn ends; and records are counted as they
arrive, so that OpenSSL is asked for plaintext exactly as often as there is some.

How a connection ends (RFC 8446 section 6.1):

* the peer's close_notify is the end of what he sends, and the inner protocol hears it as
  ``readConnectionLost`` if it can go on sending, else the connection is closed;
* a FIN without close_notify is a truncation, and must not look like an end: the connection is
  aborted;
* ``loseConnection`` sends what was written, close_notify and FIN, throws away what still comes,
  and waits for the peer's FIN, but not for long: closing at once could make the peer's kernel throw
  away what he has not read yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from typing import Protocol as Interface

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.limits import Limits
from watchducks.proxy.tls_engine import RECORD_BYTES, PeerClosed, TlsEngine

# Written but not encrypted yet: as much as Twisted's transports hold before they ask for a pause,
# so that ours is not felt beside it.
_PENDING_BYTES: Final = 64 * 1024
_RECORD_HEADER_BYTES: Final = 5
# What OpenSSL is given at a time: one record of the largest size with its header and tag. Its
# buffers never shrink, and there are two a connection.
_FEED_BYTES: Final = RECORD_BYTES + 1024
# More than any number of records that can be in hand at once.
_ALL: Final = 1 << 30


class RecordCounter:
    """Counts the TLS records that become complete, by their headers alone.

    One that arrives after a bad one is counted wrongly, which does no harm: OpenSSL has refused the
    connection by then.
    """

    __slots__ = ("_header", "_missing")

    def __init__(self) -> None:
        self._missing = 0  # bytes of the record that has begun
        self._header = b""  # of a record whose header is not complete

    def feed(self, data: bytes) -> int:
        """Return how many records end within ``data``, the next piece of the stream."""
        missing = self._missing
        if (
            not missing
            and not self._header
            and len(data) >= _RECORD_HEADER_BYTES
            and _RECORD_HEADER_BYTES + (data[3] << 8 | data[4]) == len(data)
        ):
            return 1  # one record, whole: what a request usually is
        if self._header:
            data, self._header = self._header + data, b""
        at, size = missing, len(data)
        if at > size:
            self._missing = missing - size
            return 0
        complete = 1 if missing else 0
        while size - at >= _RECORD_HEADER_BYTES:
            at += _RECORD_HEADER_BYTES + (data[at + 3] << 8 | data[at + 4])
            if at > size:
                self._missing = at - size
                return complete
            complete += 1
        self._missing = 0
        self._header = data[at:]
        return complete


class Surroundings(Interface):
    """What TLS connections share: visitors' a ProxyContext, origins' the OriginPools.

    :ivar connections: those that still shake hands are among them.
    :ivar successor: when they are told to drain, somebody else accepts: they may go on.
    """

    connections: set[Any]
    deadlines: Deadlines
    limits: Limits
    successor: bool


class Turns(Interface):
    """A reactor that tells when the events at hand are dealt with; the stock ones do not."""

    def flush_later(self, connection: TlsConnection) -> None:
        """Call ``connection.flush()`` once, soon, and before the next wait for events; or, if the
        reactor ends before, ``connection.hand_over()``."""


def turns_of(reactor: Any) -> Turns | None:
    """Return the turns of a reactor that has any."""
    turns: Turns | None = reactor if hasattr(reactor, "flush_later") else None
    return turns


@implementer(IHalfCloseableProtocol)
class TlsConnection(Protocol):
    """One side of a TLS connection, the server's here: a protocol outside, a transport inside.

    It ends by itself a handshake that takes too long, and a close that is not answered; every other
    time limit is the inner protocol's.
    """

    transport: Any  # a TCP server transport

    def __init__(
        self,
        context: Surroundings,
        engine: TlsEngine,
        build: Callable[[bytes], Any],
        turns: Turns | None,
    ) -> None:
        """:param build: makes the inner protocol, once the handshake is complete, for what ALPN
            agreed upon (b"": nothing).
        :param turns: by which writes are sent together; None: each is sent at once, because a timed
            call for each turn would cost as much as it saves.
        """
        self._context = context
        self._engine = engine
        self._build = build
        self._turns = turns
        self._records = RecordCounter()
        self._inner: Any = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._flush_comes = False  # without being asked for
        self._read_closed = False  # the peer's close_notify has come
        self._write_closed = False  # ours is on its way, or there is nobody to send to
        self._closing = False
        self._lost = False
        self._failure: Failure | None = None

    # --- the protocol outside ---

    def connectionMade(self) -> None:
        self._context.connections.add(self)
        self._context.deadlines.set(self, self._context.limits.handshake_seconds)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = self._closing = self._write_closed = True
        self._pending.clear()
        self._context.deadlines.clear(self)
        self._context.connections.discard(self)
        inner, self._inner = self._inner, None  # each held the other
        if inner is not None:
            inner.connectionLost(reason if self._failure is None else self._failure)

    def readConnectionLost(self) -> None:
        if self._closing:
            self.transport.loseConnection()
        elif not self._read_closed:
            self.abortConnection()

    def writeConnectionLost(self) -> None:
        """All that we had to say is in the kernel's hands."""
        if self._closing:
            self._context.deadlines.set(self, self._context.limits.linger_seconds)

    def expired(self) -> None:
        self.abortConnection()

    def drain(self) -> None:
        """Nothing has been asked yet, so nothing is lost; but it may be under way."""
        if not self._context.successor:
            self.abortConnection()

    def abort(self) -> None:
        self.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._closing or self._read_closed:
            return
        if self._inner is None:
            self._shake_hands(data)
        elif len(data) <= _FEED_BYTES:
            self._engine.feed(data)
            complete = self._records.feed(data)
            if complete:
                self._receive(complete, ())
        else:
            self._receive(
                0, [data[at : at + _FEED_BYTES] for at in range(0, len(data), _FEED_BYTES)]
            )

    def _begin_handshake(self) -> None:
        """Say the first word: what a client does."""
        self._engine.handshake()
        self._send()

    def _shake_hands(self, data: bytes) -> None:
        self._records.feed(data)
        try:
            self._engine.feed(data)
            complete = self._engine.handshake()
        except SSL.Error:
            self._fail()
            return
        self._send()
        if complete:
            self._begin()
            if not self._closing:
                self._receive(_ALL, ())  # some may have come with the end of the handshake

    def _begin(self) -> None:
        """The handshake is complete."""
        self._context.deadlines.clear(self)
        self._context.connections.discard(self)
        inner = self._inner = self._build(self._engine.connection.get_alpn_proto_negotiated())
        inner.makeConnection(self)

    def _receive(self, complete: int, pieces: Sequence[bytes]) -> None:
        """Deliver the plaintext of at most ``complete`` records, and of what ``pieces`` bring."""
        parts: list[bytes] = []
        closed = False
        self._flush_comes = True
        try:
            self._read(complete, parts)
            for piece in pieces:
                self._engine.feed(piece)
                self._read(self._records.feed(piece), parts)
        except PeerClosed:
            closed = True
        except SSL.Error:
            self._deliver(parts)
            self._fail()
            return
        self._deliver(parts)
        if closed and not self._closing:
            self._end_of_input()
        self._flush_comes = False
        if self._pending:
            self._flush()

    def _read(self, complete: int, parts: list[bytes]) -> None:
        """Decrypt at most so many records."""
        read = self._engine.read
        while complete:
            part = read()
            if not part:  # one that OpenSSL took for itself, and perhaps answered
                self._send()
                return
            parts.append(part)
            complete -= 1

    def _deliver(self, parts: list[bytes]) -> None:
        if parts:
            self._inner.dataReceived(parts[0] if len(parts) == 1 else b"".join(parts))

    def _end_of_input(self) -> None:
        self._read_closed = True
        if IHalfCloseableProtocol.providedBy(self._inner):
            self._inner.readConnectionLost()
        else:
            self.loseConnection()

    def _fail(self) -> None:
        """What came is not TLS, or not what the peer sent: tell him why, and no more."""
        if self._lost:
            return
        self._failure = Failure()
        self._pending.clear()
        self._closing = self._write_closed = True
        self._send()
        self._context.deadlines.set(self, self._context.limits.linger_seconds)
        self.transport.loseConnection()

    # --- the transport inside ---

    def write(self, data: bytes) -> None:
        if self._write_closed or not data:
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _PENDING_BYTES:
            self._flush()
        elif not self._flush_comes:
            if self._turns is None:
                self._flush()
            else:
                self._flush_comes = True
                self._turns.flush_later(self)

    def writeSequence(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def flush(self) -> None:
        """The turn is over."""
        self._flush_comes = False
        if self._pending:
            self._flush()

    hand_over = flush  # TCP's transport does the rest

    def _flush(self) -> None:
        """Encrypt and send what was written."""
        pending, self._pending = self._pending, []
        self._pending_bytes = 0
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        try:
            self.transport.write(self._engine.encrypt(data))
        except SSL.Error:
            self._fail()

    def _send(self) -> None:
        """Send what OpenSSL itself has to say."""
        data = self._engine.take()
        if data:
            self.transport.write(data)

    def _close_writing(self) -> None:
        if self._write_closed:
            return
        if self._pending:
            self._flush()
        self._write_closed = True
        self._engine.shut_down()
        self._send()

    def loseWriteConnection(self) -> None:
        """Send what was written, then close_notify and FIN; go on reading."""
        if not self._write_closed:
            self._close_writing()
            self.transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """Send what was written, then close_notify and FIN, and end when the peer does."""
        if self._closing:
            return
        self._close_writing()
        if self._failure is not None:
            return
        self._closing = True
        self._context.deadlines.set(self, self._context.limits.flush_seconds)
        if self._read_closed:
            self.transport.loseConnection()
        else:
            self.transport.resumeProducing()  # or we would not see him close
            self.transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """End now; nothing more is sent."""
        self._pending.clear()
        self._closing = self._write_closed = True
        self.transport.abortConnection()

    @property
    def disconnecting(self) -> bool:
        return self._closing

    @property
    def negotiated_protocol(self) -> bytes:
        """What ALPN agreed upon; b"": nothing."""
        return bytes(self._engine.connection.get_alpn_proto_negotiated())

    def getHandle(self) -> SSL.Connection:
        return self._engine.connection

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001
        if not streaming:
            raise ValueError("only streaming producers are served")
        # Straight to TCP: it is its buffer that fills, ours never holds more than a turn's.
        self.transport.registerProducer(producer, True)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if not self._read_closed:  # a half that was closed would be reported again
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    def getPeer(self) -> IAddress:
        address: IAddress = self.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        address: IAddress = self.transport.getHost()
        return address

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001
        self.transport.setTcpNoDelay(enabled)
