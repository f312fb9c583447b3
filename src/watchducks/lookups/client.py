"""Ask one server one question: by UDP, and by TCP when the answer does not fit.

What makes a forged answer unlikely (RFC 5452): a socket with a port of its own for each question,
a random id, and only the asked server's address is listened to. What is malformed or answers
something else is ignored: the true answer may still come until the time is over.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

import dns.rcode
import dns.rdatatype
from dns.name import Name
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import ConnectError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from watchducks.dialing import dial
from watchducks.lookups.message import (
    MAX_UDP_OCTETS,
    Found,
    Malformed,
    Message,
    Response,
    make_query,
)
from watchducks.model.origins import Address, refusal

DNS_PORT: Final = 53
# A server of a domain answers in 20 to 300 ms; what is lost is asked again once.
UDP_SECONDS: Final = 1.5
UDP_ATTEMPTS: Final = 2
# Connecting, asking and reading one answer of at most 64 KiB.
TCP_SECONDS: Final = 4.0
# Sockets of this process for look-ups at a time; four scans of 16 questions each. Who comes later
# waits in line.
MAX_OUTSTANDING: Final = 64
# Records of a transfer that are read before others have their turn: 2 ms.
RECORDS_A_TURN: Final = 64
# The records of a zone as large as we keep them, its signatures (two for each) and NSEC.
MAX_TRANSFER_RECORDS: Final = 10_000
MAX_TRANSFER_OCTETS: Final = 4 * 1024 * 1024

# Answers with which a server that does not know EDNS says so (RFC 6891 section 7).
_WITHOUT_EDNS: Final = (dns.rcode.FORMERR, dns.rcode.NOTIMP)

T = TypeVar("T")


class Server(NamedTuple):
    """Where to ask."""

    address: Address
    port: int = DNS_PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return str(self.address) if self.port == DNS_PORT else f"{host}:{self.port}"


class LookupFailed(Exception):
    """There is no usable answer; the text says why, for people."""


class Client:
    """Asks servers. Every method raises LookupFailed, in bounded time, and may be cancelled.

    :param reactor: provides IReactorUDP, IReactorTCP and IReactorTime.
    :param allow_private: the sysadmin's ``security.allow_private_origins``.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        allow_private: bool,
        udp_seconds: float = UDP_SECONDS,
        tcp_seconds: float = TCP_SECONDS,
        max_transfer_records: int = MAX_TRANSFER_RECORDS,
    ) -> None:
        self._reactor = reactor
        self._allow_private = allow_private
        self._udp_seconds = udp_seconds
        self._tcp_seconds = tcp_seconds
        self._max_transfer_records = max_transfer_records
        self._slots = DeferredSemaphore(MAX_OUTSTANDING)

    async def ask(self, server: Server, name: Name, type_: int) -> Response:
        """Ask a name server that a stranger's records named: never one at a private address."""
        self._check(server)
        return await self._slot(self._ask(server, name, type_, recursive=False))

    async def ask_resolver(self, server: Server, name: Name, type_: int) -> Response:
        """Ask one of the sysadmin's own recursive resolvers."""
        return await self._slot(self._ask(server, name, type_, recursive=True))

    async def transfer(self, server: Server, zone: Name) -> list[Found]:
        """Return every record of ``zone`` (AXFR, RFC 5936), each SOA once, if the server gives it.

        The time is the caller's to limit.
        """
        self._check(server)
        return await self._slot(self._transfer(server, zone))

    def _check(self, server: Server) -> None:
        why = refusal(server.address, allow_private=self._allow_private)
        if why is not None:
            raise LookupFailed(f"{server.address} is a {why} address, where we do not ask")

    async def _slot(self, work: Awaitable[T]) -> T:
        try:
            await self._slots.acquire()
        except CancelledError:
            _close(work)
            raise
        try:
            return await work
        finally:
            self._slots.release()

    async def _ask(self, server: Server, name: Name, type_: int, *, recursive: bool) -> Response:
        edns = True
        for attempt in range(UDP_ATTEMPTS):
            try:
                response = await self._ask_by_udp(
                    server, name, type_, recursive=recursive, edns=edns
                )
            except DeferredTimeout:
                continue
            if edns and response.rcode in _WITHOUT_EDNS and attempt + 1 < UDP_ATTEMPTS:
                edns = False
                continue
            if response.truncated:
                return await self._ask_by_tcp(server, name, type_, recursive=recursive, edns=edns)
            return response
        raise LookupFailed(f"{server} did not answer within {UDP_ATTEMPTS * self._udp_seconds:g} s")

    async def _ask_by_udp(
        self, server: Server, name: Name, type_: int, *, recursive: bool, edns: bool
    ) -> Response:
        id_ = secrets.randbits(16)
        query = make_query(id_, name, type_, recursive=recursive, edns=edns)
        asking = _Datagram(server, query, lambda data: Message(data, id_, name, type_))
        try:
            port = self._reactor.listenUDP(
                0,
                asking,
                interface="::" if server.address.version == 6 else "",
                maxPacketSize=MAX_UDP_OCTETS,
            )
        except OSError as error:
            raise LookupFailed(f"{server} cannot be asked: {error}") from error
        try:
            return await asking.answered.addTimeout(self._udp_seconds, self._reactor)
        finally:
            # None when the port closed by itself.
            await maybeDeferred(port.stopListening)

    async def _ask_by_tcp(
        self, server: Server, name: Name, type_: int, *, recursive: bool, edns: bool
    ) -> Response:
        async def asked() -> Response:
            stream = await self._connect(server)
            try:
                id_ = secrets.randbits(16)
                stream.send(make_query(id_, name, type_, recursive=recursive, edns=edns))
                return Message(await stream.message(), id_, name, type_).response()
            except Malformed as error:
                raise LookupFailed(f"{server} answered what cannot be used: {error}") from error
            finally:
                stream.close()

        asking = Deferred.fromCoroutine(asked())
        try:
            return await asking.addTimeout(self._tcp_seconds, self._reactor)
        except DeferredTimeout:
            raise LookupFailed(
                f"{server} did not answer by TCP within {self._tcp_seconds:g} s"
            ) from None

    async def _transfer(self, server: Server, zone: Name) -> list[Found]:
        stream = await self._connect(server)
        try:
            id_ = secrets.randbits(16)
            stream.send(make_query(id_, zone, dns.rdatatype.AXFR, recursive=False, edns=False))
            return await self._transferred(stream, server, zone, id_)
        except Malformed as error:
            raise LookupFailed(f"{server} sent a transfer that cannot be read: {error}") from error
        finally:
            stream.close()

    async def _transferred(
        self, stream: _Stream, server: Server, zone: Name, id_: int
    ) -> list[Found]:
        found: list[Found] = []
        records = octets = 0
        while True:
            data = await stream.message()
            octets += len(data)
            # Later messages may leave the question out (RFC 5936 section 2.2.1).
            message = Message(data, id_, zone, dns.rdatatype.AXFR, continued=bool(records))
            if message.rcode != dns.rcode.NOERROR:
                raise LookupFailed(f"{server} refuses the transfer")
            records += message.records
            if not message.records:
                raise LookupFailed(f"{server} sent a transfer without records")
            if records > self._max_transfer_records or octets > MAX_TRANSFER_OCTETS:
                raise LookupFailed(f"the zone at {server} is larger than we read")
            for number, (section, record) in enumerate(message.read(), 1):
                if number % RECORDS_A_TURN == 0:
                    await deferLater(self._reactor, 0)
                if record is None or section != 0:
                    continue
                soa = record.type == dns.rdatatype.SOA and record.owner == zone
                if not found and not soa:
                    raise LookupFailed(f"{server} refuses the transfer")
                if found and soa:
                    return found
                found.append(record)

    async def _connect(self, server: Server) -> _Stream:
        kind = TCP6ClientEndpoint if server.address.version == 6 else TCP4ClientEndpoint
        endpoint = kind(self._reactor, str(server.address), server.port, timeout=self._tcp_seconds)
        stream = _Stream(server)
        try:
            await dial(endpoint, stream)
        except ConnectError as error:
            raise LookupFailed(f"{server} cannot be reached by TCP: {error}") from error
        return stream


def _close(work: Awaitable[Any]) -> None:
    close: Callable[[], None] | None = getattr(work, "close", None)
    if close is not None:
        close()


class _Datagram(DatagramProtocol):
    """One question by UDP.

    :ivar answered: the response; errback with LookupFailed when the port is closed over there.
    """

    noisy = False

    def __init__(self, server: Server, query: bytes, read: Callable[[bytes], Message]) -> None:
        self._server = server
        self._query = query
        self._read = read
        self.answered: Deferred[Response] = Deferred()

    def startProtocol(self) -> None:
        transport: Any = self.transport
        try:
            # Connected, so that the kernel drops what others send and tells us of a closed port.
            transport.connect(str(self._server.address), self._server.port)
            transport.write(self._query)
        except (OSError, MessageLengthError) as error:
            self._fail(f"{self._server} cannot be asked: {error}")

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        # One that came in before the socket was connected may be anybody's.
        if self.answered.called or addr[:2] != (str(self._server.address), self._server.port):
            return
        try:
            message = self._read(datagram)
            # Of a truncated answer only that it is truncated counts.
            if message.truncated:
                response = Response(message.rcode, message.authoritative, truncated=True)
            else:
                response = message.response()
        except Malformed:
            return
        self.answered.callback(response)

    def connectionRefused(self) -> None:
        self._fail(f"nobody answers questions at {self._server}")

    def _fail(self, why: str) -> None:
        if not self.answered.called:
            self.answered.errback(LookupFailed(why))


class _Stream(Protocol):
    """Messages by TCP, each behind its length (RFC 1035 section 4.2.2). At most one is waited for,
    and while none is, nothing is read."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = bytearray()
        self._waiting: Deferred[bytes] | None = None
        self._lost = False

    def send(self, query: bytes) -> None:
        """Send one message."""
        assert self.transport is not None
        self.transport.write(len(query).to_bytes(2, "big") + query)

    async def message(self) -> bytes:
        """Return the next message. :raises LookupFailed: the connection ended before."""
        data = self._take()
        if data is None:
            if self._lost:
                raise self._ended()
            self._waiting = Deferred()
            self._transport("resumeProducing")
            try:
                data = await self._waiting
            finally:
                self._waiting = None
                self._transport("pauseProducing")
        return data

    def close(self) -> None:
        """Close the connection, whatever is under way."""
        self._transport("abortConnection")

    def _transport(self, method: str) -> None:
        if not self._lost:
            getattr(self.transport, method)()

    def _take(self) -> bytes | None:
        end = 2 + int.from_bytes(self._received[:2], "big")
        if len(self._received) < max(end, 2):
            return None
        data = bytes(self._received[2:end])
        del self._received[:end]
        return data

    def _ended(self) -> LookupFailed:
        return LookupFailed(f"{self._server} closed the connection without an answer")

    def connectionMade(self) -> None:
        self._transport("pauseProducing")

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if self._waiting is None or self._waiting.called:
            return
        whole = self._take()
        if whole is not None:
            self._waiting.callback(whole)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._lost = True
        if self._waiting is not None and not self._waiting.called:
            self._waiting.errback(self._ended())
