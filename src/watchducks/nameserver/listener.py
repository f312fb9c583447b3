"""Sockets: questions by datagram and by TCP (RFC 7766), and the part that opens and closes them."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.background import StartupError
from watchducks.nameserver.datagrams import (
    MAX_QUERY_OCTETS,
    Answering,
    QuestionSocket,
    bound_udp,
)
from watchducks.sockets import Sockets, adopting, by_kind

# RFC 7766 section 6.2.3 asks for "a few seconds": long enough for a resolver's next question.
TCP_IDLE_SECONDS: Final = 10.0
# Each holds at most a read of 64 KiB and as much unsent; 500 are 64 MB with the worst of clients.
MAX_TCP_CONNECTIONS: Final = 500
# A resolver needs one or two (RFC 7766 section 6.2.2); a company behind one address some more.
MAX_TCP_CONNECTIONS_PER_CLIENT: Final = 20
# How long stop() lets responses under way be sent.
STOP_SECONDS: Final = 2.0
# And how long, where others accept what comes from now on, who is connected may still ask: his
# question may be under way.
STOP_IDLE_SECONDS: Final = 1.0

_LENGTH_OCTETS: Final = 2
_UDP: Final = re.compile(r"udp:(?P<port>[0-9]{1,5})(?::interface=(?P<interface>[^=]+))?")


class Transferring(Protocol):
    """What gives whole zones away: :class:`watchducks.nameserver.transfers.Transfers`."""

    def begin(self, data: bytes, host: str) -> Iterator[bytes] | None: ...


class StreamTransport(Protocol):
    """What a connection needs of its transport; Twisted's interfaces split it over three."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...  # noqa: FBT001
    def unregisterProducer(self) -> None: ...


@implementer(IPushProducer, IHalfCloseableProtocol)
class QuestionStream(StreamProtocol):
    """Questions by TCP, any number of them, answered in the order in which they come.

    A client that does not read its responses is not read from either: what waits for it is at most
    the transport's buffer, and what it has sent stays here (at most one read) and in the kernel.
    The idle limit runs from the last whole question, so neither octets that trickle in nor a client
    that never reads hold a connection.
    """

    def __init__(self, responder: Answering, factory: QuestionStreams, host: str) -> None:
        """:param host: the client's address; "": it has none."""
        self._responder = responder
        self._streams = factory
        self._host = host
        # The messages still to be sent of a zone; questions behind it wait.
        self._transfer: Iterator[bytes] | None = None
        self._received = b""
        self._paused = False
        self._read_closed = False
        self._idle: IDelayedCall | None = None

    @property
    def _tcp(self) -> StreamTransport:
        return cast(StreamTransport, self.transport)

    def connectionMade(self) -> None:
        self._tcp.registerProducer(self, True)
        if ITCPTransport.providedBy(self.transport):  # systemd: may hand us a UNIX socket
            self.transport.setTcpNoDelay(True)
        self._idle = self._streams.clock.callLater(TCP_IDLE_SECONDS, self.abort)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        self._answer_all()

    def _answer_all(self) -> None:
        """Answer every whole question, until the client has to read first."""
        received, start = self._received, 0
        while self._go_on_transferring() and start + _LENGTH_OCTETS <= len(received):
            length = received[start] << 8 | received[start + 1]
            if length > MAX_QUERY_OCTETS:
                self.abort()
                return
            end = start + _LENGTH_OCTETS + length
            if end > len(received):
                break
            packet, start = received[start + _LENGTH_OCTETS : end], end
            self._transfer = self._streams.begin_transfer(packet, self._host)
            if self._transfer is not None:
                continue
            response = self._responder.respond(packet, self._host, datagram=False)
            if response is None:  # not DNS: nothing that follows can be trusted to be
                self.abort()
                return
            self._send(response)
        self._received = received[start:]
        if start and self._idle is not None:
            self._idle.reset(TCP_IDLE_SECONDS)
            self._streams.asked(self)
        if self._read_closed and not self._paused:
            self.close()

    def _go_on_transferring(self) -> bool:
        """Send what the client takes of a zone; returns whether the next question is due."""
        while self._transfer is not None and not self._paused:
            message = next(self._transfer, None)
            if message is None:
                self._transfer = None
            else:
                self._send(message)
                if self._idle is not None:
                    self._idle.reset(TCP_IDLE_SECONDS)
        return not self._paused

    def _send(self, message: bytes) -> None:
        self._tcp.write(len(message).to_bytes(_LENGTH_OCTETS, "big") + message)

    def pauseProducing(self) -> None:
        """The client does not read: its responses fill the transport's buffer."""
        self._paused = True
        self._tcp.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        self._answer_all()
        if not self._paused and not self._read_closed:
            self._tcp.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone: :meth:`connectionLost` follows."""
        self._paused = True

    def readConnectionLost(self) -> None:
        """The client asks nothing more but may still read: send what it asked for, then close."""
        self._read_closed = True
        self._answer_all()

    def writeConnectionLost(self) -> None:
        """Nothing to do: this side never closes one direction alone."""

    def close(self) -> None:
        """Close after what is written has been sent; nothing more is answered."""
        self._paused = True
        # A transport whose producer is paused would ask it for more instead of closing.
        self._tcp.unregisterProducer()
        self._tcp.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._received = b""
        self._tcp.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._streams.closed(self)


class QuestionStreams(ServerFactory):
    """Makes and counts the TCP connections.

    One that is beyond a client's limit is closed unanswered. When all are taken, a new one takes
    the place of that which has asked nothing for the longest time (RFC 7766 section 6.2.3 lets us):
    whoever holds connections cannot keep the others out.
    """

    noisy = False

    def __init__(
        self,
        responder: Answering,
        *,
        clock: IReactorTime,
        transfers: Transferring | None = None,
    ) -> None:
        """:param transfers: None: no zone is given away."""
        self._responder = responder
        self._transfers = transfers
        self.clock = clock
        self._clients: Counter[str] = Counter()
        # Those that asked last are at the end.
        self._open: dict[QuestionStream, str] = {}
        self._none_left: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> QuestionStream | None:
        client = client_key(addr)
        if self._clients[client] >= MAX_TCP_CONNECTIONS_PER_CLIENT:
            return None
        if len(self._open) >= MAX_TCP_CONNECTIONS:
            idlest = next(iter(self._open))
            self.closed(idlest)
            idlest.abort()
        host: str = getattr(addr, "host", "")  # systemd: may hand us a UNIX socket
        stream = QuestionStream(self._responder, self, host)
        self._open[stream] = client
        self._clients[client] += 1
        return stream

    def begin_transfer(self, packet: bytes, host: str) -> Iterator[bytes] | None:
        """See :meth:`watchducks.nameserver.transfers.Transfers.begin`."""
        return None if self._transfers is None else self._transfers.begin(packet, host)

    def asked(self, stream: QuestionStream) -> None:
        """Note that a connection has asked something."""
        if stream in self._open:
            self._open[stream] = self._open.pop(stream)

    def closed(self, stream: QuestionStream) -> None:
        """Forget a connection that is gone, or about to be."""
        client = self._open.pop(stream, None)
        if client is None:
            return
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]
        if not self._open and self._none_left is not None:
            none_left, self._none_left = self._none_left, None
            none_left.callback(None)

    async def close_all(self, *, patiently: bool = False) -> None:
        """Let responses under way be sent for :data:`STOP_SECONDS`, then close what is left.

        :param patiently: go on answering for :data:`STOP_IDLE_SECONDS` before that.
        """
        if patiently and self._open:
            await deferLater(self.clock, STOP_IDLE_SECONDS)
        if not self._open:
            return
        self._none_left = Deferred()
        none_left = self._none_left
        for stream in list(self._open):
            stream.close()
        abort = self.clock.callLater(STOP_SECONDS, self._abort_all)
        try:
            await none_left
        finally:
            if abort.active():
                abort.cancel()

    def _abort_all(self) -> None:
        for stream in list(self._open):
            stream.abort()


def client_key(address: object) -> str:
    """Return what counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is
    the least that a provider gives to one customer."""
    if isinstance(address, IPv4Address):
        return str(address.host)
    if isinstance(address, IPv6Address):
        number = ipaddress.IPv6Address(address.host.partition("%")[0])
        return str(number.ipv4_mapped or int(number) >> 64)
    return ""  # a UNIX socket: whoever may open it is one client


class NameServer:
    """The part that listens (:class:`watchducks.background.Part`).

    :param listen: ``udp:PORT``, ``udp:PORT:interface=ADDRESS``, Twisted's endpoint strings for TCP,
        or ``systemd:NAME`` for descriptors of both kinds.
    """

    _log = Logger()

    def __init__(
        self,
        listen: Sequence[str],
        responder: Answering,
        *,
        reactor: Any,
        transfers: Transferring | None = None,
        sockets: Sockets | None = None,
    ) -> None:
        """
        :param responder: answers for every socket.
        :param reactor: provides IReactorTCP, IReactorFDSet and IReactorTime.
        :param transfers: None: no zone is given away.
        :param sockets: those that are bound already; None: those of systemd.
        """
        self._sockets = Sockets() if sockets is None else sockets
        self._listen = tuple(listen)
        self._reactor = reactor
        self._responder = responder
        self._streams = QuestionStreams(responder, clock=reactor, transfers=transfers)
        self._ports: list[IListeningPort | QuestionSocket] = []

    @property
    def bound_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Where it listens, in the order of ``listen``; with the port that 0 became."""
        return tuple(port.getHost() for port in self._ports)  # type: ignore[misc]

    async def start(self) -> None:
        """Open every socket, or none.

        :raises StartupError: one cannot be opened; names it and the cause.
        """
        for text in self._listen:
            try:
                await self._open(text)
            except CancelledError:
                await self.stop()
                raise
            except Exception as error:  # endpoint plug-ins raise what they like
                await self.stop()
                raise StartupError(f"nameserver.listen: {text}: {_cause(error)}") from error

    async def _open(self, text: str) -> None:
        found = self._sockets.take(text)
        if found is not None:
            streams, datagrams = by_kind(found)
            endpoints = [adopting(one, reactor=self._reactor) for one in streams]
        elif text.startswith("udp:"):
            endpoints, datagrams = [], [bound_udp(*parse_udp(text))]
        else:
            endpoints, datagrams = self._sockets.streams(text, reactor=self._reactor), []
        for one in datagrams:
            self._opened(text, QuestionSocket(self._responder, one, reactor=self._reactor))
        for endpoint in endpoints:
            self._opened(text, await endpoint.listen(self._streams))

    def _opened(self, text: str, port: IListeningPort | QuestionSocket) -> None:
        self._ports.append(port)
        self._log.info("name server listens on {address}", address=port.getHost(), listen=text)

    async def stop(self) -> None:
        """Close every socket and connection; see :meth:`QuestionStreams.close_all`."""
        ports, self._ports = self._ports, []
        for port in ports:
            closing = port.stopListening()
            if closing is not None:
                await closing
        await self._streams.close_all(patiently=all(map(self._sockets.has, self._listen)))


def parse_udp(text: str) -> tuple[int, str]:
    """Return the port and the interface ("" for every one) of ``udp:PORT[:interface=ADDRESS]``.

    Twisted has endpoint strings for streams only. As in those, the colons of an IPv6 address may be
    written ``\\:``.

    :raises ValueError: it is not of that form.
    """
    match = _UDP.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ValueError("accepted is udp:PORT or udp:PORT:interface=ADDRESS")
    interface = (match["interface"] or "").replace("\\:", ":")
    if interface:
        ipaddress.ip_address(interface)  # a ValueError of its own says what is wrong
    return int(match["port"]), interface


def _cause(error: Exception) -> str:
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
