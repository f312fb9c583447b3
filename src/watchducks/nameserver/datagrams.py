"""Questions by UDP: a socket read in batches, on any reactor that watches descriptors.

Twisted's UDP port costs as much as answering a question from the cache does. This one reads until
nothing is left, up to a bound, calls the responder and sends, with nothing in between.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.nameserver.guard import UNANSWERED_PORTS

# A question is under 300 octets; options (cookies, padding) may add some hundreds. The rest is cut
# off by the kernel, and the packet is FORMERR.
MAX_QUERY_OCTETS: Final = 4_096
# Read for one event: about a millisecond, in which nothing else is done. The cost of the event
# itself is lost in so many.
MAX_DATAGRAMS: Final = 64
# Questions that wait in the kernel while the reactor does something else. With what the kernel adds
# to each, 2 MiB (it doubles the number) are some 2,700: 50 ms of a full load. Linux gives no more
# than net.core.rmem_max, which is 208 KiB (5 ms) unless the sysadmin allows more.
RECEIVE_BUFFER_OCTETS: Final = 1024 * 1024

_WILDCARDS: Final = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 -- compared, not bound to
# struct in_pktinfo: interface, the local address that was asked, the address in the header.
_PKTINFO4: Final = struct.Struct("=I4s4s")
# Linux's number; the socket module has no name for it.
_IP_PKTINFO: Final = 8
_ANCILLARY_OCTETS: Final = socket.CMSG_SPACE(20)

Ancillary = list[tuple[int, int, bytes]]


class Answering(Protocol):
    """What turns a packet into its response: :class:`watchducks.nameserver.responder.Responder`."""

    def respond(self, data: bytes, host: str = "", *, datagram: bool) -> bytes | None: ...


@implementer(IReadDescriptor)
class QuestionSocket:
    """One bound UDP socket. A response the kernel does not take is lost, as datagrams may be.

    Bound to every address of the host ("", "::"), it answers from the address that was asked, which
    is not always the one that the routing table would choose.
    """

    def __init__(self, responder: Answering, bound: socket.socket, *, reactor: Any) -> None:
        """:param bound: of IPv4 or IPv6; its owner is this object, from now on.
        :param reactor: provides IReactorFDSet.
        """
        self._responder = responder
        self._reactor = reactor
        self._socket = bound
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        self._bound: tuple[Any, ...] = self._socket.getsockname()
        self._everywhere = self._bound[0] in _WILDCARDS
        if self._everywhere:
            self._tell_addresses(bound.family)
        self._reactor.addReader(self)
        # Our own reactor has a shorter way to a reader.
        add: Callable[[int, Callable[[], None]], None] | None
        add = getattr(self._reactor, "add_short_cut", None)
        if add is not None:
            add(self._socket.fileno(), self.doRead)

    def _tell_addresses(self, family: socket.AddressFamily) -> None:
        if family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return the address it is bound to, with the port that 0 became."""
        kind = IPv6Address if len(self._bound) > 2 else IPv4Address
        return kind("UDP", self._bound[0], self._bound[1])

    def stopListening(self) -> Deferred[None] | None:
        """Close it, at once. What waits in the kernel goes unanswered."""
        if self._socket.fileno() != -1:
            self._reactor.removeReader(self)
            self._socket.close()
        return None

    def leave_short_cut(self) -> None:
        """Called by our own reactor before it removes this reader."""
        self._reactor.remove_short_cut(self._socket.fileno())

    def doRead(self) -> None:
        if self._everywhere:
            self._read_everywhere()
        else:
            self._read()

    def _read(self) -> None:
        receive, send = self._socket.recvfrom, self._socket.sendto
        respond = self._responder.respond
        for _ in range(MAX_DATAGRAMS):
            try:
                data, address = receive(MAX_QUERY_OCTETS)
            except OSError:  # nothing left
                return
            if address[1] in UNANSWERED_PORTS:
                continue
            response = respond(data, address[0], datagram=True)
            if response is not None:
                # Forged sources lead to errors: networks without a route, addresses that a firewall
                # forbids. And a full send buffer does. The asker asks again, or is not there.
                try:
                    send(response, address)
                except OSError:
                    continue

    def _read_everywhere(self) -> None:
        receive, send = self._socket.recvmsg, self._socket.sendmsg
        respond = self._responder.respond
        for _ in range(MAX_DATAGRAMS):
            try:
                data, ancillary, _flags, address = receive(MAX_QUERY_OCTETS, _ANCILLARY_OCTETS)
            except OSError:
                return
            if address[1] in UNANSWERED_PORTS:
                continue
            response = respond(data, address[0], datagram=True)
            if response is not None:
                try:
                    send((response,), _from_there(ancillary), 0, address)
                except OSError:
                    continue

    # --- what the reactor asks of what it watches ---

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "name server (UDP)"

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """The reactor gave it up; nothing but the end of the process makes it do so."""
        self.stopListening()


def bound_udp(port: int, interface: str, *, shared: bool = False) -> socket.socket:
    """Return a UDP socket bound to ``port`` at ``interface`` ("" for every one of IPv4).

    :param shared: others may be bound to the same, and the kernel distributes among all of them by
        who asks.
    :raises OSError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((interface, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _from_there(ancillary: Ancillary) -> Ancillary:
    """Return what makes a response leave from the address that ``ancillary`` came to.

    The interface is left to the routing table for IPv4: the way back need not be the way here. For
    IPv6 it stays, because a link-local address means nothing without it.
    """
    if not ancillary:
        return ancillary
    level, type_, data = ancillary[0]
    if level == socket.IPPROTO_IP:
        data = _PKTINFO4.pack(0, _PKTINFO4.unpack(data)[1], bytes(4))
    return [(level, type_, data)]
