"""A reactor that a test turns by hand, and one connection of it to a bare socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

# For what takes milliseconds, on a loaded machine.
PATIENCE_SECONDS: Final = 10.0


class Recorder(Protocol):
    """Remembers what happens to it.

    :ivar inside: a test sets it while it calls the transport.
    """

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.made = False
        self.lost: list[Failure] = []
        self.inside = False
        self.lost_inside = False
        self.on_data: Callable[[bytes], object] | None = None

    def connectionMade(self) -> None:
        self.made = True

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self.on_data is not None:
            self.on_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)
        self.lost_inside = self.lost_inside or self.inside


class Turning:
    """Owns a reactor that never runs: a test calls for its turns one by one."""

    def __init__(self, reactor: EPollReactor) -> None:
        self.reactor: Any = reactor
        self.errors: list[Failure] = []
        self.prefixes: dict[str, str] = {}
        self._sockets: list[socket.socket] = []
        log.addObserver(self._observe)

    def _observe(self, event: Any) -> None:
        if event["isError"]:
            self.errors.append(event["failure"])
        for text in event.get("message", ()):
            self.prefixes[text] = event["system"]

    def turn(self) -> None:
        self.reactor.iterate(0)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.reactor.iterate(0.02)

    def connect(self, protocol: Recorder | None = None) -> tuple[Recorder, socket.socket]:
        """Return an accepted connection and the socket at its other end."""
        accepted = Recorder() if protocol is None else protocol
        factory = Factory.forProtocol(lambda: accepted)
        factory.noisy = False
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        peer = socket.create_connection(("127.0.0.1", port.getHost().port), PATIENCE_SECONDS)
        self._sockets.append(peer)
        self.until(lambda: accepted.made)
        port.stopListening()
        self.turn()
        return accepted, peer

    def receive(self, peer: socket.socket, count: int) -> bytes:
        """Turn until ``peer`` has received ``count`` bytes, or the end of the stream."""
        peer.setblocking(False)
        data = b""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(data) < count:
            assert time.monotonic() < deadline, f"{len(data)} of {count} bytes came"
            self.reactor.iterate(0)
            with suppress(BlockingIOError):
                more = peer.recv(count - len(data))
                if not more:
                    break
                data += more
        return data

    def close(self) -> None:
        for peer in self._sockets:
            peer.close()
        self.reactor.disconnectAll()
        self.turn()
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        log.removeObserver(self._observe)
        for reader in list(self.reactor._internalReaders):
            self.reactor.removeReader(reader)
            reader.connectionLost(None)
        self.reactor._poller.close()


@implementer(IPushProducer, IPullProducer)
class Producer:
    """Remembers what it is told."""

    def __init__(self, on_resume: Callable[[], object] | None = None) -> None:
        self.told: list[str] = []
        self._on_resume = on_resume

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")
        if self._on_resume is not None:
            self._on_resume()

    def stopProducing(self) -> None:
        self.told.append("stop")


def something_at_once(peer: socket.socket) -> bytes | None:
    """Return what ``peer`` has received, without any turn; None: nothing."""
    peer.setblocking(False)
    try:
        return peer.recv(1_000_000)
    except BlockingIOError:
        return None
