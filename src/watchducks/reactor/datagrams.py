"""UDP ports with a short cut for reading, and for answering whoever was just heard."""

# mypy: disable-error-code="no-untyped-call"
# (the stock classes that ours derive from have no types)

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import udp
from twisted.internet.protocol import DatagramProtocol
from twisted.python import log  # noqa: TID251 -- errors are logged as the stock reactor logs them

if TYPE_CHECKING:
    from watchducks.reactor.loop import FastEPollReactor

# Datagrams read for one event. The stock port reads on until it has 256 KiB, which are 5,000 DNS
# questions and a tenth of a second for which everybody else waits; 64 take about a millisecond, and
# the cost of the event itself is lost in them.
MAX_DATAGRAMS: Final = 64


class DatagramPort(udp.Port):
    """A UDP port that reads a bounded batch per event."""

    reactor: FastEPollReactor
    protocol: Any

    _short_cut_fd = -1
    # The address of the last datagram: one that the kernel gave needs no checking to be written to.
    _heard: tuple[str, int] | None = None

    @classmethod
    def adopt(
        cls,
        reactor: FastEPollReactor,
        fd: int,
        family: int,
        protocol: DatagramProtocol,
        max_packet_bytes: int,
    ) -> DatagramPort:
        """Return a port that reads from a copy of ``fd``."""
        port: DatagramPort = cls._fromListeningDescriptor(
            reactor, fd, family, protocol, maxPacketSize=max_packet_bytes
        )
        port.startListening()
        return port

    def startReading(self) -> None:
        super().startReading()
        if self._short_cut_fd == -1:
            self._short_cut_fd = self.fileno()
            self.reactor.add_short_cut(self._short_cut_fd, self._read)

    def leave_short_cut(self) -> None:
        """Called by the reactor before it removes this reader."""
        if self._short_cut_fd != -1:
            self.reactor.remove_short_cut(self._short_cut_fd)
            self._short_cut_fd = -1

    def doRead(self) -> None:
        receive = self.socket.recvfrom
        protocol = self.protocol
        for _ in range(MAX_DATAGRAMS):
            try:
                data, address = receive(self.maxPacketSize)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                if self._connectedAddr:
                    protocol.connectionRefused()
                return
            if self.addressFamily == socket.AF_INET6:
                address = address[:2]  # as the stock port: without flow and scope
            self._heard = address
            try:
                protocol.datagramReceived(data, address)
            except BaseException:  # as the stock port: one datagram is not the others' business
                log.err()
            if self._short_cut_fd == -1:  # told to stop reading, or closed
                return

    def _read(self) -> None:
        self.reactor.log_context["system"] = self.logstr
        try:
            self.doRead()
        except BaseException as problem:
            log.callWithLogger(self, log.err)
            self.reactor.lose(self, problem, at_read=False)

    def write(self, datagram: bytes, addr: tuple[str, int] | None = None) -> None:
        if addr is not None and addr is self._heard and not self._connectedAddr:
            try:
                self.socket.sendto(datagram, addr)
            except OSError:
                pass  # the stock code meets it again, and knows what it means
            else:
                return
        super().write(datagram, addr)
