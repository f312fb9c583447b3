"""An HTTP/2 visitor for tests: the h2 library as the client, on a real TLS connection.

Besides what the library makes of it, every frame that arrives is kept, and bytes of any kind can be
sent past the library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.wire.proxying import HOST, AnyServer, RawVisitor, Running

HEADERS, RST_STREAM, GOAWAY, DATA = 0x1, 0x3, 0x7, 0x0


@dataclass
class Reply:
    """What has come on one stream."""

    fields: dict[bytes, bytes] = field(default_factory=dict)
    all_fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    body: bytes = b""
    unacknowledged: int = 0
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.fields.get(b":status", b"0"))


@dataclass
class SeenFrame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Http2Visitor(RawVisitor):
    """:ivar replies: by stream. :ivar frames: all that arrived.
    :ivar reads: whether what arrives is acknowledged, so that more may come.
    """

    def __init__(self, *, check: bool = True) -> None:
        """:param check: let the library refuse to send what is malformed."""
        super().__init__()
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=check,
                normalize_outbound_headers=check,
            )
        )
        self.replies: dict[int, Reply] = {}
        self.frames: list[SeenFrame] = []
        self.reads = True
        self._unparsed = b""
        self._broken = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.transport.write(data)

    def request(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        host: str = HOST,
        fields: list[tuple[bytes, bytes]] | None = None,
        body: bytes | None = None,
        end: bool = True,
    ) -> int:
        """Begin a request; return its stream. ``body`` must fit into the window."""
        section = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", host.encode()),
            (b":path", path.encode()),
            *(fields or []),
        ]
        return self.send_section(section, body=body, end=end)

    def send_section(
        self, section: list[tuple[bytes, bytes]], *, body: bytes | None = None, end: bool = True
    ) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.replies[stream_id] = Reply()
        self.h2.send_headers(stream_id, section, end_stream=end and body is None)
        if body is not None:
            for at in range(0, len(body), 16_384):
                piece = body[at : at + 16_384]
                last = at + len(piece) == len(body)
                self.h2.send_data(stream_id, piece, end_stream=end and last)
            if not body:
                self.h2.end_stream(stream_id)
        self.flush()
        return stream_id

    def dataReceived(self, data: bytes) -> None:
        self._unparsed += data
        while len(self._unparsed) >= 9:
            end = 9 + int.from_bytes(self._unparsed[:3], "big")
            if len(self._unparsed) < end:
                break
            raw, self._unparsed = self._unparsed[:end], self._unparsed[end:]
            stream_id = int.from_bytes(raw[5:9], "big")
            self.frames.append(SeenFrame(raw[3], raw[4], stream_id, raw[9:]))
            # After GOAWAY the library would take no answers, which may well come.
            if raw[3] != GOAWAY and not self._broken:
                self._feed(raw)
        self.flush()
        super().dataReceived(data)

    def _feed(self, raw: bytes) -> None:
        try:
            for event in self.h2.receive_data(raw):
                self._take(event)
        except H2Error:
            self._broken = True  # by what the test did to it; the frames are still seen

    def _take(self, event: Any) -> None:
        stream_id = getattr(event, "stream_id", None) or 0
        reply = self.replies.get(stream_id)
        if reply is None:
            return
        match event:
            case InformationalResponseReceived():
                reply.interim.append([(bytes(n), bytes(v)) for n, v in event.headers])
            case ResponseReceived():
                reply.all_fields = [(bytes(n), bytes(v)) for n, v in event.headers]
                reply.fields = dict(reply.all_fields)
            case DataReceived():
                reply.body += bytes(event.data or b"")
                reply.unacknowledged += event.flow_controlled_length or 0
                if self.reads:
                    self.acknowledge(stream_id)
            case TrailersReceived():
                reply.trailers = [(bytes(n), bytes(v)) for n, v in event.headers]
            case StreamEnded():
                reply.ended = True
            case StreamReset():
                reply.reset = int(event.error_code or 0)
            case _:
                pass

    def acknowledge(self, stream_id: int) -> None:
        """Let as much more come on this stream as has come."""
        reply = self.replies[stream_id]
        size, reply.unacknowledged = reply.unacknowledged, 0
        self.h2.acknowledge_received_data(size, stream_id)
        self.flush()

    async def reply(self, stream_id: int) -> Reply:
        """Wait for the end of a reply, good or bad."""
        reply = self.replies[stream_id]
        await self.until(lambda _v: reply.ended or reply.reset is not None or self.closed)
        return reply

    async def get(self, path: str = "/", **more: Any) -> Reply:
        return await self.reply(self.request(path, **more))

    @property
    def goaways(self) -> list[tuple[int, int]]:
        """Last stream and code of each GOAWAY."""
        return [
            (int.from_bytes(frame.payload[:4], "big"), int.from_bytes(frame.payload[4:8], "big"))
            for frame in self.frames
            if frame.kind == GOAWAY
        ]

    async def until_told(self, code: ErrorCodes) -> None:
        """Wait for the GOAWAY with ``code``, and the end of the connection."""
        await self.until(lambda _v: any(said == code for _, said in self.goaways))
        self.transport.loseConnection()
        await self.until_closed()


async def visit(run: Running, host: str = HOST, *, check: bool = True) -> Http2Visitor:
    """Connect to the proxy by TLS, and begin HTTP/2."""
    from twisted.internet import reactor

    if host not in run.certificates.contexts:
        run.certificates.hold(run.authority, host)
    visitor = Http2Visitor(check=check)
    factory = TLSMemoryBIOFactory(
        AnyServer(host, (b"h2",)),
        isClient=True,
        wrappedFactory=Factory.forProtocol(lambda: visitor),
    )
    await TCP4ClientEndpoint(reactor, "127.0.0.1", run.https_port).connect(factory)
    run.visitors.append(visitor)
    return visitor


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return the bytes of any frame."""
    return (
        len(payload).to_bytes(3, "big")
        + bytes((kind, flags))
        + stream_id.to_bytes(4, "big")
        + payload
    )
