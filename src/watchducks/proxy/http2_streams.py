"""The streams of one HTTP/2 connection, and all that is sent on them.

What the visitor's frames do to them is :mod:`.http2_session`'s. What is to be sent is collected,
and leaves with the present turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from watchducks.proxy import http2_wire as wire
from watchducks.proxy.context import ProxyContext
from watchducks.proxy.http2_flow import ReceiveWindow
from watchducks.proxy.http2_frames import FrameReader
from watchducks.proxy.http2_hpack import NO_TABLE, Section, encode_answer, encode_section
from watchducks.proxy.http2_limits import MAX_FRAME_BYTES, Http2Limits
from watchducks.proxy.http2_stream import Http2Stream
from watchducks.proxy.http2_wire import FIRST_WINDOW_BYTES, ErrorCodes

# Streams that we gave up, so that what is still under way to them is no error: more than can be
# under way at once, ten times over.
_KEPT_GIVEN_UP: Final = 1000


class SessionOwner(Protocol):
    """What a session needs of the connection.

    :ivar writable: whether the visitor's socket takes more.
    """

    writable: bool

    def wrote(self) -> None:
        """There is something to send: with the present turn."""

    def flush(self) -> None:
        """Send it now: it is much. The socket may then take no more."""

    def streams_changed(self) -> None:
        """A stream has ended."""

    def leaving_is_known(self) -> None:
        """The visitor has seen that we leave."""


class Http2Streams:
    """Owns the streams (:class:`watchducks.proxy.http2_stream.StreamOwner`).

    :ivar streams: those that are not over, by number.
    """

    def __init__(
        self,
        owner: SessionOwner,
        context: ProxyContext,
        limits: Http2Limits,
        frames: FrameReader,
        *,
        covers: Callable[[str], bool] | None,
    ) -> None:
        """:param covers: whether the certificate presented is one for a host; None: none was."""
        self.streams: dict[int, Http2Stream] = {}
        self._owner = owner
        self._context = context
        self._limits = limits
        self._frames = frames
        self._covers = covers
        self._now = 0.0
        self._blocked: dict[int, Http2Stream] = {}
        self._given_up: OrderedDict[int, None] = OrderedDict()
        # windows: what we may send, and what he may
        self._send_window = FIRST_WINDOW_BYTES
        self._stream_window = FIRST_WINDOW_BYTES
        self._window = ReceiveWindow(limits.connection_window_bytes)
        # what is to be sent
        self._said_no_table = False
        self._queued_bytes = 0
        settings = {
            wire.MAX_CONCURRENT_STREAMS: limits.concurrent_streams,
            wire.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            wire.MAX_HEADER_LIST_SIZE: context.limits.head_bytes,
            wire.ENABLE_CONNECT_PROTOCOL: 1,
        }
        more = limits.connection_window_bytes - FIRST_WINDOW_BYTES
        self._out = [wire.settings(settings), wire.window_update(0, more)]

    # --- the connection's view ---

    def take(self) -> bytes:
        """Return what is to be sent."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        self._queued_bytes = 0
        return data

    def leave(self, *, politely: bool) -> None:
        """The visitor has left, or is to be left."""
        self._blocked.clear()
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.visitor_left(politely=politely)

    def pause(self) -> None:
        """The socket takes no more."""
        for stream in list(self.streams.values()):
            stream.pause()

    def resume(self) -> None:
        """It does again."""
        self._pump_all()
        for stream in list(self.streams.values()):
            stream.resume()

    # --- the streams' view ---

    @property
    def writable(self) -> bool:
        return self._owner.writable

    def covers(self, host: str) -> bool:
        return self._covers is None or self._covers(host)

    def send_answer(self, stream_id: int, status: int, lines: list[bytes], *, end: bool) -> None:
        self._send_block(stream_id, encode_answer(status, lines), end=end)

    def send_trailers(self, stream_id: int, section: Section) -> None:
        self._send_block(stream_id, encode_section(section), end=True)

    def _send_block(self, stream_id: int, block: bytes, *, end: bool) -> None:
        if not self._said_no_table:
            self._said_no_table = True
            block = NO_TABLE + block
        self._out.append(wire.section(stream_id, block, end=end))
        self._owner.wrote()

    def send_data(self, stream: Http2Stream, data: bytes, offset: int, *, last: bool) -> int:
        out, stream_id = self._out, stream.stream_id
        sent, size = offset, len(data)
        while self._owner.writable and sent < size:
            room = min(self._send_window, stream.send_window, MAX_FRAME_BYTES)
            if room <= 0:
                break
            piece = data[sent : sent + room]
            length = len(piece)
            sent += length
            self._send_window -= length
            stream.send_window -= length
            end = last and sent == size
            out.append(wire.data_header(length, stream_id, end=end))
            out.append(piece)
            self._frames.data_sent(length, last=end)
            self._queued_bytes += length
            if self._queued_bytes >= self._limits.flush_bytes:
                self._owner.flush()
        self._owner.wrote()
        return sent - offset

    def end_data(self, stream_id: int) -> None:
        self._out.append(wire.data_header(0, stream_id, end=True))
        self._frames.data_sent(0, last=True)
        self._owner.wrote()

    def consumed(self, stream: Http2Stream | None, size: int) -> None:
        if not size:
            return
        more = self._window.give_back(size)
        if more:
            self._out.append(wire.window_update(0, more))
        if stream is not None and stream.window is not None and not stream.request_ended:
            of_stream = stream.window.give_back(size)
            if of_stream:
                self._out.append(wire.window_update(stream.stream_id, of_stream))
            more = more or of_stream
        if more:
            self._owner.wrote()

    def reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        if self.streams.pop(stream.stream_id, None) is not None:
            self._give_up(stream.stream_id, code)
            self._forget(stream)
            self._owner.streams_changed()

    def _give_up(self, stream_id: int, code: ErrorCodes) -> None:
        self._out.append(wire.reset(stream_id, code))
        self._given_up[stream_id] = None
        if len(self._given_up) > _KEPT_GIVEN_UP:
            self._given_up.popitem(last=False)

    def ended(self, stream: Http2Stream) -> None:
        if self.streams.pop(stream.stream_id, None) is not None:
            if not stream.request_ended:  # the rest of the request is not wanted (section 8.1)
                self._give_up(stream.stream_id, ErrorCodes.NO_ERROR)
            self._forget(stream)
            self._owner.streams_changed()

    def blocked(self, stream: Http2Stream) -> None:
        self._blocked[stream.stream_id] = stream

    def _forget(self, stream: Http2Stream) -> None:
        """Give back what a stream that is over holds of the connection."""
        self._blocked.pop(stream.stream_id, None)
        self._context.deadlines.clear(stream)
        self.consumed(None, stream.unconsumed)

    def _pump_all(self) -> None:
        """Let the streams that wait have what there is, in turn: who got something goes last."""
        waiting, self._blocked = self._blocked, {}
        while waiting and self._owner.writable and self._send_window > 0:
            stream_id = next(iter(waiting))
            stream = waiting.pop(stream_id)
            if stream_id in self.streams:
                stream.pump()  # and it is blocked again, if that was not enough
        self._blocked = waiting | self._blocked

    def _break(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """End a stream for what the visitor did on it.

        :raises Http2Error: he did so too often.
        """
        del self.streams[stream.stream_id]
        self._give_up(stream.stream_id, code)
        self._forget(stream)
        stream.visitor_left(politely=False)
        self._owner.streams_changed()
        self._frames.reset(self._now)
