"""TCP connections with a short cut for reading and writing.

Reading: the event loop calls what :meth:`ShortCutStream._reader` returned, which receives once and
hands the bytes to the protocol. Writing::

    PLAIN      write() only collects; the loop flushes once a batch, with one send
      -> STOCK   the kernel did not take all, or anything that is not a plain write: more than the
                 buffer is to hold, a pull or paused producer, half-closing, closing. Collected
                 bytes stay in the stock buffer, in order, and the connection is registered for
                 writability.
    STOCK      abstract.FileDescriptor's state machine, unchanged
      -> PLAIN   when that stops writing because its buffer is empty

Nothing here closes a connection or calls a producer from inside a transport method: a send that
fails leaves the bytes to the stock code, which meets the same error in a turn of its own.
"""

# mypy: disable-error-code="no-untyped-call"
# (the stock classes that ours derive from have no types)

from __future__ import annotations

from collections.abc import Callable, Iterable
from errno import ENOBUFS
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python import log  # noqa: TID251 -- errors are logged as the stock reactor logs them
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from watchducks.reactor.loop import FastEPollReactor


class ShortCutStream(tcp.Connection):
    """The short cut; mixed into a stock connection that a :class:`FastEPollReactor` owns."""

    reactor: FastEPollReactor
    # Twisted's own attributes, which it does not declare with types.
    connected: int
    disconnecting: int
    disconnected: int
    producerPaused: bool
    streamingProducer: bool
    bufferSize: int

    # Whether the stock code has this connection registered as a writer, and owns the buffers.
    _stock_writing = False
    # Whether a write is known to be nothing but bytes to send; False: _may_collect() can tell.
    _collects = False
    # Whether a send of ours failed. The stock code will find out, too, and closes the connection.
    _broken = False
    # Whether the loop will call flush().
    _collecting = False
    # The descriptor that the short cut is registered for; -1: none is.
    _short_cut_fd = -1

    # --- reading ---

    def startReading(self) -> None:
        super().startReading()
        # A client that is still connecting has put doConnect there.
        if self._short_cut_fd == -1 and "doRead" not in self.__dict__:
            self._short_cut_fd = self.fileno()
            self.reactor.add_short_cut(self._short_cut_fd, self._reader())

    def leave_short_cut(self) -> None:
        """Called by the reactor before it removes this reader."""
        if self._short_cut_fd != -1:
            self.reactor.remove_short_cut(self._short_cut_fd)
            self._short_cut_fd = -1

    def _reader(self) -> Callable[[], None]:
        """Return what the loop calls when there is something to read: what never changes while
        this is a reader is looked up here."""
        receive, most, context = self.socket.recv, self.bufferSize, self.reactor.log_context

        def read() -> None:
            context["system"] = self.logstr
            try:
                data = receive(most)
            except BlockingIOError:
                return
            except OSError:
                self.reactor.lose(self, CONNECTION_LOST, at_read=True)
                return
            if not data:
                self.reactor.lose(self, self._end_of_stream(), at_read=True)
                return
            try:
                self.protocol.dataReceived(data)
            except BaseException as problem:
                log.callWithLogger(self, log.err)
                # Not at_read, which would let a protocol that raises ConnectionDone half-close.
                self.reactor.lose(self, problem, at_read=False)

        return read

    def _dataReceived(self, data: bytes | None) -> Any:
        return super()._dataReceived(data) if data else self._end_of_stream()

    def _end_of_stream(self) -> Exception:
        # The failed send consumed the socket's error; reading now ends as if the peer had closed.
        return CONNECTION_LOST if self._broken else CONNECTION_DONE

    # --- writing ---

    def _may_collect(self) -> bool:
        """Whether a write is nothing but bytes to send: no state of the stock code depends on it.

        Asked once, until something happens that could change it: each write would ask for eight
        attributes, which is a fifth of what it costs.
        """
        return not (
            self._stock_writing
            or self.TLS
            or not self.connected
            or self.disconnecting
            or self._writeDisconnecting
            or (self.producer is not None and (self.producerPaused or not self.streamingProducer))
        )

    def write(self, data: bytes) -> None:
        if not self._collects:
            self._collects = self._may_collect()
        if (
            not self._collects
            or type(data) is not bytes
            # Too much for the buffer: a producer has to be paused.
            or (length := self._tempDataLen + len(data)) > self.bufferSize
        ):
            super().write(data)
        elif data:
            self._tempDataBuffer.append(data)
            self._tempDataLen = length
            if not self._collecting:
                self._collecting = True
                self.reactor.flush_later(self)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        pieces = list(iovec)
        # join() would take a bytearray as well, which the stock code refuses.
        if not self.TLS and all(type(piece) is bytes for piece in pieces):
            self.write(b"".join(pieces))
        else:
            super().writeSequence(pieces)

    def flush(self) -> None:
        """Send what has been collected; what the kernel does not take becomes the stock code's."""
        self._collecting = False
        if not self._tempDataLen or self._aborting:
            return
        if not self._collects:
            # Changed since the write. The stock code knows what has to follow it.
            if self.connected and not self._stock_writing:
                self.startWriting()
            return
        collected = self._tempDataBuffer
        data = collected[0] if len(collected) == 1 else b"".join(collected)
        collected.clear()
        self._tempDataLen = 0
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as problem:
            sent = 0
            self._broken = problem.errno != ENOBUFS
        if sent != len(data):
            self.dataBuffer = data
            self.offset = sent
            self.startWriting()

    def doWrite(self) -> Any:
        # The stock code sends while events of the same batch are still to be handled.
        self.reactor.prepare_to_send()
        return super().doWrite()

    def hand_over(self) -> None:
        """Let the stock code send what has been collected."""
        self._collecting = False
        if self._tempDataLen and self.connected and not self._aborting:
            self.startWriting()

    def startWriting(self) -> None:
        self._stock_writing = True
        self._collects = False
        super().startWriting()

    def stopWriting(self) -> None:
        self._stock_writing = False
        super().stopWriting()

    # From then on a write is not what it was. (Closing and half-closing begin with startWriting.)

    def connectionLost(self, reason: Failure) -> None:
        self._collects = False
        super().connectionLost(reason)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001
        self._collects = False
        super().registerProducer(producer, streaming)

    def startTLS(self, *args: Any, **kwargs: Any) -> None:
        self._collects = False
        super().startTLS(*args, **kwargs)


class StreamServer(ShortCutStream, tcp.Server):
    """An accepted connection."""

    @classmethod
    def adopt(
        cls, reactor: FastEPollReactor, fd: int, family: int, factory: IProtocolFactory
    ) -> StreamServer | None:
        """Return a connection on a copy of ``fd``; None if ``factory`` does not want it."""
        adopted: StreamServer | None = cls._fromConnectedSocket(fd, family, factory, reactor)
        return adopted


class StreamClient(ShortCutStream, tcp.Client):
    """A connection of ours to somebody."""

    def connectionLost(self, reason: Failure) -> None:
        connector = getattr(self, "connector", None)
        super().connectionLost(reason)
        # Each holds the other, and with it all that the connection was for. The connector may have
        # made another connection meanwhile.
        if connector is not None and connector.transport is self:
            connector.transport = None


class StreamPort(tcp.Port):
    """A listening port whose connections have the short cut."""

    transport = StreamServer

    @classmethod
    def adopt(
        cls, reactor: FastEPollReactor, fd: int, family: int, factory: IProtocolFactory
    ) -> StreamPort:
        """Return a port that listens on a copy of ``fd``."""
        port: StreamPort = cls._fromListeningDescriptor(reactor, fd, family, factory)
        port.startListening()
        return port


class StreamConnector(tcp.Connector):
    """Makes connections that have the short cut."""

    def _makeTransport(self) -> StreamClient:
        return StreamClient(self.host, self.port, self.bindAddress, self, self.reactor)
