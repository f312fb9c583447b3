"""The event loop: stock epoll, with a short cut from a read event to the connection it is for.

What a small request costs on the stock reactor is mostly not its protocol: every write registers
for writability (two ``epoll_ctl`` and one more turn of the loop), every event is wrapped in a
logging context of its own, and every ``send`` wakes the peer while we still have work. Here::

    poll -> each event -> a descriptor with a short cut, readable and nothing else? its reader
                       -> anything else: the stock reactor's code, unchanged
         -> once the whole batch is done: one send for each connection that collected writes

The short cut is an optimisation only: a descriptor that has one is registered with the stock code
as well, which takes every event that is not a plain "readable". So whatever is rare (errors,
hang-ups, writability, connecting, processes, UNIX sockets) behaves as it does there by being there.
"""

# mypy: disable-error-code="no-untyped-call"
# (the stock classes that ours derive from have no types)

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from select import EPOLLIN
from typing import Any, Final, Protocol

from twisted.internet import error
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import Binding, IConnector, IProtocolFactory
from twisted.internet.main import installReactor
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.python import context, log  # noqa: TID251 -- the log context that Twisted keeps

from watchducks.reactor.datagrams import DatagramPort
from watchducks.reactor.streams import StreamConnector, StreamPort, StreamServer

# Events taken from the kernel at once. What a batch writes leaves after it, so a batch must end
# soon: 128 of the proxy's events are 64 requests, 4 ms of CPU. Shared by so many, the wait itself
# costs next to nothing; a larger batch would save no more. epoll reports the others next.
MAX_EVENTS: Final = 128

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


class Collector(Protocol):
    """A connection that collected writes."""

    def flush(self) -> None:
        """Send them, or hand them to the stock code. Never raises, never closes."""

    def hand_over(self) -> None:
        """Hand them to the stock code unsent."""


class FastEPollReactor(EPollReactor):
    """An ``IReactor...`` of every kind that the stock epoll reactor is, for the same protocols.

    :ivar log_context: where a short cut puts the prefix of its log lines ("system") before it
        calls a protocol.
    """

    def __init__(self) -> None:
        # Before the stock constructor, which registers its waker.
        self.log_context: dict[Any, Any] = {"system": "-"}
        self._short_cuts: dict[int, Callable[[], None]] = {}
        self._collectors: deque[Collector] = deque()
        self._before_sending: list[Callable[[], None]] = []
        super().__init__()

    # --- the short cuts ---

    def add_short_cut(self, fd: int, read: Callable[[], None]) -> None:
        """Call ``read`` when ``fd``, which is registered as a reader, is readable.

        Whoever adds it removes it before the descriptor is removed as a reader or closed.

        :param read: handles its own errors.
        """
        self._short_cuts[fd] = read

    def remove_short_cut(self, fd: int) -> None:
        """Leave ``fd`` to the stock code. No short cut: nothing happens."""
        self._short_cuts.pop(fd, None)

    def removeReader(self, reader: Any) -> None:
        # The stock code removes readers without asking them, for example at the end of a stream.
        leave = getattr(reader, "leave_short_cut", None)
        if leave is not None:
            leave()
        super().removeReader(reader)

    def lose(self, descriptor: Any, why: BaseException, *, at_read: bool) -> None:
        """End ``descriptor`` as the stock code does, half-closing included.

        :param at_read: reading, not a protocol's error, led to it.
        """
        log.callWithLogger(descriptor, self._disconnectSelectable, descriptor, why, at_read)

    def flush_later(self, connection: Collector) -> None:
        """Flush ``connection`` once, after the events at hand or before the next wait."""
        self._collectors.append(connection)

    def before_sending(self, call: Callable[[], None]) -> None:
        """Call ``call`` once, before a TCP connection sends anything more, and at the latest when
        the events at hand are handled.

        :param call: handles its own errors.
        """
        self._before_sending.append(call)

    def prepare_to_send(self) -> None:
        """Do what :meth:`before_sending` was asked for."""
        if self._before_sending:
            calls, self._before_sending = self._before_sending, []
            for call in calls:
                call()

    def _flush(self) -> None:
        self.prepare_to_send()
        # Only those that are waiting now: what a flush leads to waits for the next one. Taken off
        # one by one, so that an exception (KeyboardInterrupt) does not lose the others.
        collectors = self._collectors
        for _ in range(len(collectors)):
            collectors.popleft().flush()

    # --- the loop ---

    def mainLoop(self) -> None:
        # One context for the whole run, changed in place: the stock reactor makes a new one for
        # each event, which is most of what an event costs there.
        self.log_context.update(context.get(log.ILogContext))
        context.call({log.ILogContext: self.log_context}, super().mainLoop)

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, at most ``timeout`` seconds (None: without end), and handle them."""
        # Timed calls and calls from threads wrote something?
        if self._collectors or self._before_sending:
            self._flush()
            timeout = 0 if self._collectors else self._sooner(timeout)
        try:
            events = self._poller.poll(
                -1 if timeout is None else timeout, min(len(self._selectables), MAX_EVENTS)
            )
        except OSError as problem:
            if problem.errno == errno.EINTR:
                return
            raise
        short_cuts = self._short_cuts
        for fd, event in events:
            if event == EPOLLIN:
                read = short_cuts.get(fd)
                if read is not None:
                    read()
                    continue
            # Absent: an event before this one, in the same batch, closed it.
            selectable = self._selectables.get(fd)
            if selectable is not None:
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)
        self.log_context["system"] = "-"
        if self._collectors or self._before_sending:
            self._flush()

    # What calls the loop calls it by this name.
    doIteration = doPoll

    def _sooner(self, timeout: float | None) -> float | None:
        """Return ``timeout``, or less if a flush has led to a timed call that is due before."""
        due: float | None = self.timeout()
        if due is None or timeout is None:
            return due if timeout is None else timeout
        return min(due, timeout)

    # --- everything registered ---

    def _hand_over_collected(self) -> None:
        """Make every connection with collected writes a writer in the eyes of the stock code."""
        while self._collectors:
            self._collectors.popleft().hand_over()

    def removeAll(self) -> list[Any]:
        self._hand_over_collected()
        removed: list[Any] = super().removeAll()
        return removed

    def getWriters(self) -> list[Any]:
        self._hand_over_collected()
        writers: list[Any] = super().getWriters()
        return writers

    # --- what has a short cut ---

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> StreamPort:
        listening = StreamPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: Binding | tuple[str, int] | None = None,
    ) -> IConnector:
        connector = StreamConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> Any:
        if addressFamily not in _INTERNET:
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        return StreamPort.adopt(self, fileDescriptor, addressFamily, factory)

    def adoptStreamConnection(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> Any:
        if addressFamily not in _INTERNET:
            return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)
        return StreamServer.adopt(self, fileDescriptor, addressFamily, factory)

    def listenUDP(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> DatagramPort:
        listening = DatagramPort(port, protocol, interface, maxPacketSize, self)
        listening.startListening()
        return listening

    def adoptDatagramPort(
        self,
        fileDescriptor: int,
        addressFamily: int,
        protocol: DatagramProtocol,
        maxPacketSize: int = 8192,
    ) -> DatagramPort:
        if addressFamily not in _INTERNET:
            raise error.UnsupportedAddressFamily(addressFamily)
        return DatagramPort.adopt(self, fileDescriptor, addressFamily, protocol, maxPacketSize)


def install() -> None:
    """Make a :class:`FastEPollReactor` the process's reactor.

    In the module of the class, where Twisted's own reactors have theirs.

    :raises twisted.internet.error.ReactorAlreadyInstalledError: if there is one already.
    """
    installReactor(FastEPollReactor())
