"""An origin for tests: a raw server on a loopback port that does exactly what a test tells it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

# Called for each complete head, with the head; bytes after it come by `OriginSide.extra`.
Handler = Callable[["OriginSide", bytes], None]


class OriginSide(Protocol):
    """One accepted connection.

    :ivar extra: bytes after the last head, such as a body. :ivar heads_seen: the last included.
    """

    transport: Any

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._buffer = b""
        self.extra = b""
        self.heads_seen = 0
        self.lost = False
        self.on_extra: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        self._origin.connections.append(self)
        self.transport.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.loseConnection()

    def reset(self) -> None:
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not _begins_a_head(self._buffer):
                self.extra += self._buffer
                self._buffer = b""
                self.on_extra()
            elif separator:
                self._buffer = rest
                self.extra = b""
                self.heads_seen += 1
                self._origin.heads.append(head + separator)
                self._origin.handler(self, head + separator)
            else:
                return


def _begins_a_head(data: bytes) -> bool:
    return re.match(rb"[A-Z][A-Z0-9_-]* [/*]", data) is not None


class Origin:
    """:ivar heads: of all requests, as they arrived. :ivar connections: all that were accepted."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler: Handler = handler or (lambda side, _head: side.send(OK))
        self.heads: list[bytes] = []
        self.connections: list[OriginSide] = []
        self.port = 0
        self._listening: IListeningPort | None = None

    def start(self, reactor: Any, creator: Any = None) -> None:
        """Listen; with ``creator`` (CertificateOptions) behind TLS."""
        factory: Any = Factory.forProtocol(lambda: OriginSide(self))
        if creator is not None:
            factory = TLSMemoryBIOFactory(creator, isClient=False, wrappedFactory=factory)
        listening: IListeningPort = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self._listening = listening
        self.port = listening.getHost().port  # type: ignore[attr-defined]

    async def stop(self) -> None:
        for side in self.connections:
            if not side.lost:
                side.transport.abortConnection()
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()  # type: ignore[misc]
