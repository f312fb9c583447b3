"""The protocol of one HTTP/2 connection: what frames do to its streams (RFC 9113 sections 5 and 6).

A stream is one of these, as the visitor sees it::

    idle: above the highest that he has opened -> (HEADERS) open: in ``streams``
    open -> (END_STREAM) half-closed: in ``streams``, its request has ended
         -> (both have ended, or either gave it up) closed: not in ``streams``

What comes on a closed one is an error, unless it was we who gave it up: then it was under way. What
is wrong with one request ends its stream; what is wrong with the frames, the connection. When bytes
come and go, and how long the connection lasts, is :mod:`.http2`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from hpack.exceptions import HPACKError, OversizedHeaderListError

from watchducks.proxy import http2_wire as wire
from watchducks.proxy.context import ProxyContext
from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.exchange import Exchange
from watchducks.proxy.headers import VisitorFields
from watchducks.proxy.http2_flow import ReceiveWindow
from watchducks.proxy.http2_frames import FrameReader
from watchducks.proxy.http2_hpack import FieldDecoder, Section
from watchducks.proxy.http2_limits import Http2Limits
from watchducks.proxy.http2_request import RequestReader, read_trailers, salvage
from watchducks.proxy.http2_stream import Http2Stream
from watchducks.proxy.http2_streams import Http2Streams, SessionOwner
from watchducks.proxy.http2_wire import (
    LAST_STREAM_ID,
    MAX_WINDOW_BYTES,
    ErrorCodes,
    Frame,
    Http2Error,
)
from watchducks.proxy.peers import Peer, Scheme, visitor_of
from watchducks.proxy.refused import record_refused

_SCHEME: Final[Scheme] = "https"
# What our PING after the first GOAWAY says, to be known again.
_LEAVING: Final = b"leaving."
_PING_BYTES: Final = 8
# A tunnel that ends with one of these was closed (RFC 8441 section 5).
_POLITE: Final = frozenset({ErrorCodes.NO_ERROR, ErrorCodes.CANCEL})
# Gaps in the numbers of streams: those who leave any are tests.
_KEPT_GAPS: Final = 100


class Http2Session(Http2Streams):
    """What the visitor's frames do to the streams, and the end of a connection.

    :ivar last_stream_id: the highest that was served.
    :ivar served_up_to: streams above are refused.
    """

    def __init__(
        self,
        owner: SessionOwner,
        context: ProxyContext,
        limits: Http2Limits,
        frames: FrameReader,
        *,
        peer: Peer,
        covers: Callable[[str], bool] | None,
    ) -> None:
        """:param covers: whether the certificate presented is one for a host; None: none was."""
        super().__init__(owner, context, limits, frames, covers=covers)
        self.last_stream_id = 0
        self.served_up_to = LAST_STREAM_ID
        self._peer = peer
        self._about = VisitorFields(peer.address, _SCHEME)
        self._began = 0.0
        self._highest = 0  # that the visitor has opened
        self._gaps: list[range] = []
        # a field section that is not complete
        self._block: list[bytes] = []
        self._block_frame: Frame | None = None
        self._decoder = FieldDecoder(2 * context.limits.head_bytes)
        self._requests = RequestReader(scheme=_SCHEME.encode(), limits=context.limits)

    # --- the connection's view ---

    def receive(self, frame: Frame, now: float, began: float) -> None:
        """Act upon a frame.

        :param now: by the context's clock. :param began: when a request whose head ends with this
            frame began, by that clock.
        :raises Http2Error: it breaks the protocol.
        """
        self._now, self._began = now, began
        handler = self._HANDLERS.get(frame.kind)
        if handler is not None:  # what nobody knows is ignored (section 4.1)
            handler(self, frame)

    def say_leaving(self) -> None:
        """Tell the visitor to use another connection from now on; this one still serves him."""
        self._out.append(wire.goaway(LAST_STREAM_ID, ErrorCodes.NO_ERROR))
        self._out.append(wire.frame(wire.PING, 0, 0, _LEAVING))

    def refuse_new(self) -> None:
        """Serve what was begun, and nothing more."""
        self.served_up_to = self.last_stream_id
        self._out.append(wire.goaway(self.served_up_to, ErrorCodes.NO_ERROR))

    def fail(self, code: ErrorCodes) -> None:
        """Tell the visitor that, and why, the connection ends."""
        self._out.append(wire.goaway(self.last_stream_id, code))

    # --- from the visitor ---

    def _headers(self, frame: Frame) -> None:
        if not frame.stream_id & 1:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "not a stream of the visitor's")
        if frame.flags & wire.END_HEADERS:
            plain = not frame.flags & (wire.PADDED | wire.WITH_PRIORITY)
            self._section(frame, frame.payload if plain else wire.content(frame))
        else:
            self._block = [wire.content(frame)]
            self._block_frame = frame

    def _continuation(self, frame: Frame) -> None:
        begun = self._block_frame
        if begun is None or begun.stream_id != frame.stream_id:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION of another stream")
        self._block.append(frame.payload)
        if frame.flags & wire.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_frame = None
            self._section(begun, block)

    def _section(self, frame: Frame, block: bytes) -> None:
        """A field section has come, which ``frame`` began."""
        try:
            section = self._decoder.decode(block)
        except OversizedHeaderListError:
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "a field section too large") from None
        except HPACKError as error:
            raise Http2Error(ErrorCodes.COMPRESSION_ERROR, str(error)) from None
        stream_id, ended = frame.stream_id, bool(frame.flags & wire.END_STREAM)
        stream = self.streams.get(stream_id)
        if stream_id > self._highest:
            self._request(stream_id, section, ended=ended)
        elif stream is not None:
            self._trailers(stream, section, ended=ended)
        elif any(stream_id in gap for gap in self._gaps):
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "a lower stream than the one before")
        elif stream_id not in self._given_up:
            raise Http2Error(ErrorCodes.STREAM_CLOSED, "a stream again")

    def _request(self, stream_id: int, section: Section, *, ended: bool) -> None:
        if stream_id > self._highest + 2 and len(self._gaps) < _KEPT_GAPS:
            self._gaps.append(range(self._highest + 1, stream_id))
        self._highest = stream_id
        if stream_id > self.served_up_to:
            self._give_up(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        if len(self.streams) >= self._limits.concurrent_streams:
            self._give_up(stream_id, ErrorCodes.REFUSED_STREAM)
            self._frames.reset(self._now)
            return
        self.last_stream_id = stream_id
        stream = self._make_stream(stream_id, section, ended=ended)
        self.streams[stream_id] = stream
        try:
            request = self._requests.read(section, ended=ended)
        except Refusal as refusal:
            self._refuse(stream, section, refusal.reason)
            return
        exchange = Exchange(self._context, stream, request, self._began)
        stream.start(exchange, request.length, tunnel=bool(request.upgrade))

    def _make_stream(self, stream_id: int, section: Section, *, ended: bool) -> Http2Stream:
        address, scheme, about = self._peer.address, _SCHEME, self._about
        if self._peer.trusted:
            networks = self._context.trusted_networks
            address, scheme = visitor_of(self._peer, scheme, section, networks)
            about = VisitorFields(address, scheme)
        return Http2Stream(
            self,
            stream_id,
            self._context,
            address=address,
            scheme=scheme,
            about=about,
            window=None if ended else ReceiveWindow(self._limits.stream_window_bytes),
            send_window=self._stream_window,
        )

    def _refuse(self, stream: Http2Stream, section: Section, reason: Reason) -> None:
        """Answer what is no request; only too many of them end the connection."""
        method, target, fields = salvage(section)
        accepted = b",".join([value for name, value in fields if name == b"accept-language"])
        context = self._context
        response_bytes = stream.refuse(
            reason, context.new_request_id(), accepted, context.wall(), to_head=method == b"HEAD"
        )
        record_refused(
            context,
            reason,
            scheme=stream.scheme,
            protocol=stream.protocol,
            address=stream.address,
            method=method,
            target=target,
            fields=fields,
            response_bytes=response_bytes,
            clock_began=self._began,
        )
        self._frames.reset(self._now)

    def _trailers(self, stream: Http2Stream, section: Section, *, ended: bool) -> None:
        if stream.request_ended:
            self._break(stream, ErrorCodes.STREAM_CLOSED)
            return
        stream.request_ended = ended
        try:
            if not ended:
                raise Refusal(Reason.BAD_REQUEST)  # they are always the last (section 8.1)
            stream.request_trailers(read_trailers(section, self._context.limits))
        except Refusal as refusal:
            stream.request_failed(refusal.reason)
            self._frames.reset(self._now)
            return
        stream.request_end()

    def _data(self, frame: Frame) -> None:
        stream_id, size = frame.stream_id, len(frame.payload)
        stream = self.streams.get(stream_id)
        self._window.take(size)
        if stream is None:
            self._check_not_idle(stream_id)
            if stream_id not in self._given_up:
                raise Http2Error(ErrorCodes.STREAM_CLOSED, "DATA on a closed stream")
            self.consumed(None, size)
            return
        data = wire.content(frame) if frame.flags & wire.PADDED else frame.payload
        end = bool(frame.flags & wire.END_STREAM)
        window = stream.window
        if window is None or stream.request_ended:
            self._break(stream, ErrorCodes.STREAM_CLOSED)
            self.consumed(None, size)
            return
        window.take(size)
        if stream.contradicts(len(data), end=end):
            self._frames.reset(self._now)
            self.consumed(None, size)
            stream.request_ended = end
            stream.request_failed(Reason.BAD_REQUEST)
            return
        stream.request_data(data, size)
        if end and stream_id in self.streams:
            stream.request_end()

    def _check_not_idle(self, stream_id: int) -> None:
        """:raises Http2Error: the stream has never been opened."""
        if not stream_id & 1 or stream_id > self._highest:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "a stream that is idle")

    def _reset(self, frame: Frame) -> None:
        code = wire.number(frame)
        self._check_not_idle(frame.stream_id)
        stream = self.streams.pop(frame.stream_id, None)
        if stream is not None:
            self._forget(stream)
            stream.visitor_left(politely=code in _POLITE)
            self._owner.streams_changed()

    def _window_update(self, frame: Frame) -> None:
        more = wire.number(frame) & MAX_WINDOW_BYTES  # the highest bit is reserved
        stream_id = frame.stream_id
        if not stream_id:
            self._send_window += more
            if not more:
                raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "a window wider by nothing")
            if self._send_window > MAX_WINDOW_BYTES:
                raise Http2Error(ErrorCodes.FLOW_CONTROL_ERROR, "a window too wide")
            self._pump_all()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id)
            return
        stream.send_window += more
        if not more:
            self._break(stream, ErrorCodes.PROTOCOL_ERROR)
        elif stream.send_window > MAX_WINDOW_BYTES:
            self._break(stream, ErrorCodes.FLOW_CONTROL_ERROR)
        elif self._blocked.pop(stream_id, None) is not None:
            stream.pump()

    def _settings(self, frame: Frame) -> None:
        said = wire.settings_of(frame)
        if frame.flags & wire.ACK:
            return
        self._out.append(wire.frame(wire.SETTINGS, wire.ACK, 0))
        window = said.get(wire.INITIAL_WINDOW_SIZE)
        if window is not None:
            wider = window - self._stream_window
            self._stream_window = window
            for stream in self.streams.values():
                stream.send_window += wider
                if stream.send_window > MAX_WINDOW_BYTES:
                    raise Http2Error(ErrorCodes.FLOW_CONTROL_ERROR, "a window too wide")
            self._pump_all()

    def _ping(self, frame: Frame) -> None:
        if frame.stream_id:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "PING of a stream")
        if len(frame.payload) != _PING_BYTES:
            raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "not 8 bytes")
        if not frame.flags & wire.ACK:
            self._out.append(wire.frame(wire.PING, wire.ACK, 0, frame.payload))
        elif frame.payload == _LEAVING:
            self._owner.leaving_is_known()

    def _priority(self, frame: Frame) -> None:
        """What it says is nobody's business any more (section 5.3.2); that it is one is checked."""
        if not frame.stream_id:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "PRIORITY of the connection")
        if len(frame.payload) != wire.PRIORITY_BYTES:
            raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "not 5 bytes")

    def _push_promise(self, _frame: Frame) -> None:
        raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "a visitor has nothing to push")

    _HANDLERS: ClassVar[dict[int, Callable[[Http2Session, Frame], None]]] = {
        wire.DATA: _data,
        wire.HEADERS: _headers,
        wire.PRIORITY: _priority,
        wire.RST_STREAM: _reset,
        wire.SETTINGS: _settings,
        wire.PUSH_PROMISE: _push_promise,
        wire.PING: _ping,
        wire.WINDOW_UPDATE: _window_update,
        wire.CONTINUATION: _continuation,
    }
