"""The protocol of one HTTP/2 connection: its frames, and its streams.

The h2 library keeps the state and makes the frames; this hands its events to the streams, what the
streams say to the library, and shares the windows out among them. When bytes come and go, and how
long the connection lasts, is :mod:`.http2`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from watchducks.proxy.context import ProxyContext
from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.exchange import Exchange
from watchducks.proxy.headers import VisitorFields
from watchducks.proxy.http2_frames import (
    DATA,
    END_STREAM,
    LAST_STREAM_ID,
    Frame,
    FrameReader,
    Http2Error,
    data_length,
    goaway,
)
from watchducks.proxy.http2_hpack import FieldDecoder, PlainEncoder
from watchducks.proxy.http2_limits import MAX_FRAME_BYTES, Http2Limits
from watchducks.proxy.http2_request import Section, read_request, read_trailers, salvage
from watchducks.proxy.http2_stream import Http2Stream
from watchducks.proxy.peers import Peer, Scheme, visitor_of
from watchducks.proxy.refused import record_refused

_SCHEME: Final[Scheme] = "https"
# What our PING after the first GOAWAY says, to be known again.
_LEAVING: Final = b"leaving."
_FIRST_WINDOW_BYTES: Final = 65_535  # RFC 9113 section 6.9.2
# A tunnel that ends with one of these was closed (RFC 8441 section 5).
_POLITE: Final = frozenset({ErrorCodes.NO_ERROR, ErrorCodes.CANCEL})


class _H2Connection(H2Connection):
    # Of streams that are gone, so that what is still under way to them is no error: more than can
    # be under way at once. The library's 65,536 would be megabytes a connection.
    MAX_CLOSED_STREAMS = 1000


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


class Http2Session:
    """Owns the streams (:class:`watchducks.proxy.http2_stream.StreamOwner`).

    :ivar streams: those that are not over, by number.
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
        self.streams: dict[int, Http2Stream] = {}
        self.last_stream_id = 0
        self.served_up_to = LAST_STREAM_ID
        self._owner = owner
        self._context = context
        self._limits = limits
        self._frames = frames
        self._peer = peer
        self._about = VisitorFields(peer.address, _SCHEME)
        self._covers = covers
        self._blocked: dict[int, Http2Stream] = {}
        self._now = 0.0
        self._began = (0.0, 0.0)
        self._goaways = b""
        self._queued_bytes = 0
        self._encoder = PlainEncoder()
        self._h2 = self._make_h2()

    def _make_h2(self) -> H2Connection:
        own, limits = self._limits, self._context.limits
        connection = _H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                # Ours are stricter, and end a stream where the library's end the connection.
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        connection.encoder = self._encoder
        connection.decoder = FieldDecoder()
        connection.decoder.max_header_list_size = 2 * limits.head_bytes
        settings = {
            SettingCodes.MAX_CONCURRENT_STREAMS: own.concurrent_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: own.stream_window_bytes,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
        }
        connection.local_settings = Settings(client=False, initial_values=settings)
        connection.initiate_connection()
        # One more than we said: the library would end the connection where we refuse a stream.
        settings[SettingCodes.MAX_CONCURRENT_STREAMS] += 1
        connection.local_settings = Settings(client=False, initial_values=settings)
        connection.increment_flow_control_window(own.connection_window_bytes - _FIRST_WINDOW_BYTES)
        return connection

    # --- the connection's view ---

    def receive(self, frame: Frame, now: float, began: tuple[float, float]) -> None:
        """Act upon a frame.

        :param now: by the context's clock. :param began: when a request that ends with this frame
            began, by that clock and in POSIX seconds.
        :raises Http2Error: it breaks the protocol; if it came from ``ProtocolError``, the visitor
            is told already.
        """
        self._now, self._began = now, began
        if frame.kind == DATA:
            self._check_length(frame)
        try:
            events = self._h2.receive_data(frame.raw)
        except ProtocolError as error:
            raise Http2Error(ErrorCodes(error.error_code), str(error)) from error
        for event in events:
            handler = self._HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)

    def take(self) -> bytes:
        """Return what is to be sent."""
        data = self._h2.data_to_send()
        if self._goaways:
            data += self._goaways
            self._goaways = b""
        self._queued_bytes = 0
        return data

    def say_leaving(self) -> None:
        """Tell the visitor to use another connection from now on; this one still serves him."""
        self._send_goaway(LAST_STREAM_ID, ErrorCodes.NO_ERROR)
        self._h2.ping(_LEAVING)

    def refuse_new(self) -> None:
        """Serve what was begun, and nothing more."""
        self.served_up_to = self.last_stream_id
        self._send_goaway(self.served_up_to, ErrorCodes.NO_ERROR)

    def fail(self, code: ErrorCodes) -> None:
        """Tell the visitor that, and why, the connection ends."""
        self._send_goaway(self.last_stream_id, code)

    def _send_goaway(self, last_stream_id: int, code: ErrorCodes) -> None:
        self._goaways += self._h2.data_to_send() + goaway(last_stream_id, code)

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

    # --- from the visitor ---

    def _check_length(self, frame: Frame) -> None:
        stream = self.streams.get(int.from_bytes(frame.raw[5:9], "big"))
        if stream is not None and stream.contradicts(
            data_length(frame), end=bool(frame.flags & END_STREAM)
        ):
            # Before the library sees it, which would end the connection.
            self._frames.reset(self._now)
            stream.request_failed(Reason.BAD_REQUEST)

    def _request_received(self, event: RequestReceived) -> None:
        stream_id = event.stream_id or 0
        section: Section = list(event.headers)
        ended = event.stream_ended is not None
        if stream_id > self.served_up_to:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        if len(self.streams) >= self._limits.concurrent_streams:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self._frames.reset(self._now)
            return
        self.last_stream_id = stream_id
        stream = self._make_stream(stream_id, section, ended=ended)
        self.streams[stream_id] = stream
        try:
            request = read_request(
                section, scheme=_SCHEME.encode(), ended=ended, limits=self._context.limits
            )
        except Refusal as refusal:
            self._refuse(stream, section, refusal.reason)
            return
        clock_began, wall_began = self._began
        exchange = Exchange(
            self._context, stream, request, clock_began=clock_began, wall_began=wall_began
        )
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
            ended=ended,
        )

    def _refuse(self, stream: Http2Stream, section: Section, reason: Reason) -> None:
        """Answer what is no request; only too many of them end the connection."""
        method, target, fields = salvage(section)
        accepted = b",".join([value for name, value in fields if name == b"accept-language"])
        context = self._context
        clock_began, wall_began = self._began
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
            clock_began=clock_began,
            wall_began=wall_began,
        )
        self._frames.reset(self._now)

    def _data_received(self, event: DataReceived) -> None:
        stream_id, size = event.stream_id or 0, event.flow_controlled_length or 0
        stream = self.streams.get(stream_id)
        if stream is None:
            self.consumed(stream_id, size)
        else:
            stream.request_data(bytes(event.data or b""), size)

    def _trailers_received(self, event: TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id or 0)
        if stream is None:
            return
        try:
            stream.request_trailers(read_trailers(list(event.headers), self._context.limits))
        except Refusal as refusal:
            stream.request_ended = True  # they are always the last
            stream.request_failed(refusal.reason)
            self._frames.reset(self._now)

    def _stream_ended(self, event: StreamEnded) -> None:
        stream = self.streams.get(event.stream_id or 0)
        if stream is not None and not stream.request_ended:
            stream.request_end()

    def _stream_reset(self, event: StreamReset) -> None:
        stream_id = event.stream_id or 0
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._forget(stream)
            stream.visitor_left(politely=event.error_code in _POLITE)
            self._owner.streams_changed()
        if not event.remote_reset:  # the visitor's window updates were impossible
            self._frames.reset(self._now)

    def _window_updated(self, event: WindowUpdated) -> None:
        if not event.stream_id:
            self._pump_all()
            return
        stream = self._blocked.pop(event.stream_id, None)
        if stream is not None:
            stream.pump()

    def _settings_changed(self, _event: RemoteSettingsChanged) -> None:
        self._pump_all()  # the streams' windows may have grown

    def _ping_answered(self, event: PingAckReceived) -> None:
        if event.ping_data == _LEAVING:
            self._owner.leaving_is_known()

    # The other events are what the library has answered itself, and what nobody needs to know.
    _HANDLERS: ClassVar[dict[type[Event], Callable[[Http2Session, Any], None]]] = {
        RequestReceived: _request_received,
        DataReceived: _data_received,
        TrailersReceived: _trailers_received,
        StreamEnded: _stream_ended,
        StreamReset: _stream_reset,
        WindowUpdated: _window_updated,
        RemoteSettingsChanged: _settings_changed,
        PingAckReceived: _ping_answered,
    }

    # --- the streams' view ---

    @property
    def writable(self) -> bool:
        return self._owner.writable

    def covers(self, host: str) -> bool:
        return self._covers is None or self._covers(host)

    def send_section(self, stream_id: int, section: Section, *, end: bool) -> None:
        self._encoder.rest = section[1:]
        self._h2.send_headers(stream_id, section[:1], end_stream=end)
        self._owner.wrote()

    def send_data(self, stream_id: int, data: bytes, offset: int, *, last: bool) -> int:
        connection = self._h2
        sent, size = offset, len(data)
        while self._owner.writable and sent < size:
            room = connection.local_flow_control_window(stream_id)
            if room <= 0:
                break
            piece = data[sent : sent + min(room, MAX_FRAME_BYTES)]
            sent += len(piece)
            end = last and sent == size
            connection.send_data(stream_id, piece, end_stream=end)
            self._frames.data_sent(len(piece), last=end)
            self._queued_bytes += len(piece)
            if self._queued_bytes >= self._limits.flush_bytes:
                self._owner.flush()
        self._owner.wrote()
        return sent - offset

    def end_data(self, stream_id: int) -> None:
        self._h2.end_stream(stream_id)
        self._frames.data_sent(0, last=True)
        self._owner.wrote()

    def consumed(self, stream_id: int, size: int) -> None:
        if size:
            self._h2.acknowledge_received_data(size, stream_id)
            self._owner.wrote()

    def reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        if self.streams.pop(stream.stream_id, None) is not None:
            self._h2.reset_stream(stream.stream_id, code)
            self._forget(stream)
            self._owner.streams_changed()

    def ended(self, stream: Http2Stream) -> None:
        if self.streams.pop(stream.stream_id, None) is not None:
            if not stream.request_ended:  # the rest of the request is not wanted (section 8.1)
                self._h2.reset_stream(stream.stream_id, ErrorCodes.NO_ERROR)
            self._forget(stream)
            self._owner.streams_changed()

    def blocked(self, stream: Http2Stream) -> None:
        self._blocked[stream.stream_id] = stream

    def _forget(self, stream: Http2Stream) -> None:
        """Give back what a stream that is over holds of the connection."""
        self._blocked.pop(stream.stream_id, None)
        self._context.deadlines.clear(stream)
        self.consumed(stream.stream_id, stream.unconsumed)

    def _pump_all(self) -> None:
        """Let the streams that wait have what there is, in turn: who got something goes last."""
        waiting, self._blocked = self._blocked, {}
        while waiting and self._owner.writable and self._h2.outbound_flow_control_window > 0:
            stream_id = next(iter(waiting))
            stream = waiting.pop(stream_id)
            if stream_id in self.streams:
                stream.pump()  # and it is blocked again, if that was not enough
        self._blocked = waiting | self._blocked
