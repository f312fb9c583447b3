"""What RFC 9113 asks of a server, case by case, as raw frames; in the order of its sections.

Each case is what a visitor sends after the opening, and what has to come of it: a connection error,
a stream error, an answer, or frames. It runs in memory, once as it is and once byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hpack import Encoder

from tests.wire.http2_visitor import frame
from tests.wire.test_proxy_http2_flow import POST, REQUEST, Http2World
from tests.wire.world import Transport
from watchducks.proxy.http2 import Http2Connection
from watchducks.proxy.http2_wire import PREFACE, ErrorCodes

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, MORE = range(10)
PROTOCOL, SIZE = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FRAME_SIZE_ERROR
FLOW, CLOSED = ErrorCodes.FLOW_CONTROL_ERROR, ErrorCodes.STREAM_CLOSED
COMPRESSION = ErrorCodes.COMPRESSION_ERROR
WHOLE, BEGUN, OPEN = 5, 1, 4  # flags of HEADERS: END_STREAM | END_HEADERS, the one, the other
OPENING = PREFACE + frame(SETTINGS, 0, 0)
Fields = list[tuple[bytes, bytes]]


def block(fields: Fields) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields, huffman=False)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def get(stream_id: int, more: Fields | None = None, flags: int = WHOLE) -> bytes:
    return frame(HEADERS, flags, stream_id, block([*REQUEST, *(more or [])]))


def post(stream_id: int, more: Fields | None = None) -> bytes:
    return frame(HEADERS, OPEN, stream_id, block([*POST, *(more or [])]))


def setting(kind: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, kind.to_bytes(2, "big") + number(value))


@dataclass
class Seen:
    """:ivar frames: that came back: kind, flags, stream, payload."""

    frames: list[tuple[int, int, int, bytes]]

    @property
    def resets(self) -> dict[int, int]:
        return {
            stream_id: int.from_bytes(payload, "big")
            for kind, _, stream_id, payload in self.frames
            if kind == RST
        }

    @property
    def goaway(self) -> int | None:
        for kind, _, _, payload in self.frames:
            if kind == GOAWAY:
                return int.from_bytes(payload[4:8], "big")
        return None

    def body(self, stream_id: int) -> bytes:
        return b"".join(
            payload for kind, _, on, payload in self.frames if kind == DATA and on == stream_id
        )


class Raw(Http2World):
    """A visitor who sends bytes; his origin answers whatever is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.transport = Transport()
        self.connection = Http2Connection(self.context)
        self.connection.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def play(self, sent: bytes, *, crumbs: bool) -> Seen:
        self.connection.dataReceived(OPENING)
        self.transport.clear()
        step = 1 if crumbs and len(sent) < CRUMBLED_BYTES else len(sent)
        for at in range(0, len(sent), step):
            self.connection.dataReceived(sent[at : at + step])
            self.serve()
        return Seen(frames(self.transport.value()))

    def serve(self) -> None:
        while len(self.origins) < len(self.reactor.tcpClients):
            protocol = self.reactor.tcpClients[len(self.origins)][2].buildProtocol(None)
            transport = Transport()
            protocol.makeConnection(transport)
            self.origins.append((protocol, transport))
        for protocol, transport in self.origins:
            request = transport.value()
            if request.startswith(b"GET") or request.endswith(b"abc"):
                transport.clear()
                protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    cut = []
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        cut.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:size]))
        data = data[size:]
    return cut


Check = Callable[[Seen], bool]


def connection(code: ErrorCodes) -> Check:
    return lambda seen: seen.goaway == code


def stream(stream_id: int, code: ErrorCodes) -> Check:
    return lambda seen: seen.resets.get(stream_id) == code and seen.goaway is None


def status(stream_id: int, first: bytes) -> Check:
    """An answer whose field section begins with ``first``."""
    return lambda seen: (
        seen.goaway is None
        and any(
            kind == HEADERS and on == stream_id and payload.removeprefix(b"\x20").startswith(first)
            for kind, _, on, payload in seen.frames
        )
    )


def answer(*wanted: int | bytes) -> Check:
    """A frame: kind, flags, stream, payload."""
    return lambda seen: seen.goaway is None and wanted in seen.frames


def body(stream_id: int, data: bytes) -> Check:
    return lambda seen: seen.goaway is None and seen.body(stream_id) == data


def nothing_wrong(seen: Seen) -> bool:
    return seen.goaway is None and not seen.resets


OK, BAD, LARGE = b"\x88", b"\x8c", b"\x08\x03431"
HELD = post(1)  # a request whose body is still to come
EMPTY = frame(DATA, 1, 1)
LONG = block([*REQUEST, *[(b"x", b"y" * 12_000)] * 3])
# Longer ones fill a window, which has to happen before the origin takes any of it.
CRUMBLED_BYTES = 40_000

CASES: dict[str, tuple[bytes, Check]] = {
    # 3.4: the preface, 4.1 and 4.2: frames
    "4.1 an unknown frame": (frame(0x16, 0, 0, b"x") + get(1), status(1, OK)),
    "4.1 unknown flags": (frame(PING, 0x16, 0, bytes(8)), answer(PING, 1, 0, bytes(8))),
    "4.1 the reserved bit": (frame(PING, 0, 2**31, bytes(8)), answer(PING, 1, 0, bytes(8))),
    "4.2 DATA of the largest size": (
        post(1, [(b"content-length", b"16384")]) + frame(DATA, 1, 1, bytes(16_384)),
        nothing_wrong,
    ),
    "4.2 DATA too large": (HELD + frame(DATA, 1, 1, bytes(16_385)), connection(SIZE)),
    "4.2 HEADERS too large": (frame(HEADERS, WHOLE, 1, bytes(16_385)), connection(SIZE)),
    "4.3 no field section": (frame(HEADERS, WHOLE, 1, b"\x40"), connection(COMPRESSION)),
    "4.3 a size of the table that is too large": (
        frame(HEADERS, WHOLE, 1, b"\x3f\xe2\x1f" + block(REQUEST)),
        connection(COMPRESSION),
    ),
    "4.3 a size of the table in the middle": (
        frame(HEADERS, WHOLE, 1, block(REQUEST) + b"\x20"),
        connection(COMPRESSION),
    ),
    "4.3 PRIORITY inside a field section": (
        get(1, flags=BEGUN) + frame(PRIORITY, 0, 1, bytes(5)),
        connection(PROTOCOL),
    ),
    "4.3 another stream's HEADERS inside": (get(1, flags=BEGUN) + get(3), connection(PROTOCOL)),
    # 5.1: states of streams
    "5.1 idle: DATA": (frame(DATA, 1, 1, b"x"), connection(PROTOCOL)),
    "5.1 idle: RST_STREAM": (frame(RST, 0, 1, number(8)), connection(PROTOCOL)),
    "5.1 idle: WINDOW_UPDATE": (frame(WINDOW, 0, 1, number(9)), connection(PROTOCOL)),
    "5.1 idle: CONTINUATION": (frame(MORE, 4, 1, block(REQUEST)), connection(PROTOCOL)),
    "5.1 half-closed: DATA": (
        HELD + frame(DATA, 1, 1, b"x") + frame(DATA, 1, 1, b"x"),
        stream(1, CLOSED),
    ),
    "5.1 half-closed: HEADERS": (HELD + EMPTY + get(1), stream(1, CLOSED)),
    "5.1 half-closed: CONTINUATION": (
        HELD + EMPTY + frame(MORE, 4, 1, block(REQUEST)),
        connection(PROTOCOL),
    ),
    "5.1 half-closed: WINDOW_UPDATE, PRIORITY": (
        HELD + EMPTY + frame(WINDOW, 0, 1, number(9)) + frame(PRIORITY, 0, 1, bytes(5)) + get(3),
        status(3, OK),
    ),
    "5.1 given up by him: DATA": (
        HELD + frame(RST, 0, 1, number(8)) + frame(DATA, 1, 1, b"x"),
        connection(CLOSED),
    ),
    "5.1 given up by him: HEADERS": (
        HELD + frame(RST, 0, 1, number(8)) + get(1),
        connection(CLOSED),
    ),
    "5.1 given up by him: WINDOW_UPDATE, RST_STREAM, PRIORITY": (
        HELD
        + frame(RST, 0, 1, number(8))
        + frame(WINDOW, 0, 1, number(9))
        + frame(RST, 0, 1, number(8))
        + frame(PRIORITY, 0, 1, bytes(5))
        + get(3),
        status(3, OK),
    ),
    "5.1 given up by us: what was under way": (
        HELD
        + frame(WINDOW, 0, 1, number(0))
        + frame(DATA, 0, 1, b"x")
        + frame(HEADERS, WHOLE, 1, block([(b"x", b"y")]))
        + get(3),
        status(3, OK),
    ),
    "5.1.1 an even stream": (get(2), connection(PROTOCOL)),
    "5.1.1 stream 0": (get(0), connection(PROTOCOL)),
    "5.1.1 a lower stream": (get(5) + get(3), connection(PROTOCOL)),
    "5.1.1 the same stream": (
        frame(HEADERS, OPEN, 1, block(POST)) + frame(RST, 0, 1, number(8)) + get(1),
        connection(CLOSED),
    ),
    "5.1.2 too many streams": (
        b"".join(post(stream_id) for stream_id in range(1, 203, 2)),
        stream(201, ErrorCodes.REFUSED_STREAM),
    ),
    "5.3 a stream that hangs on itself": (
        frame(PRIORITY, 0, 1, number(1) + b"\0")
        + frame(HEADERS, WHOLE | 0x20, 1, number(1) + b"\0" + block(REQUEST)),
        status(1, OK),
    ),
    # 6.1: DATA
    "6.1 DATA of the connection": (frame(DATA, 0, 0, b"x"), connection(PROTOCOL)),
    "6.1 padding": (
        post(1, [(b"content-length", b"3")]) + frame(DATA, 9, 1, b"\x02abc\0\0"),
        status(1, OK),
    ),
    "6.1 padding as long as the frame": (HELD + frame(DATA, 9, 1, b"\x03ab"), connection(PROTOCOL)),
    "6.1 padding without its length": (HELD + frame(DATA, 9, 1), connection(SIZE)),
    # 6.2: HEADERS
    "6.2 padding": (
        frame(HEADERS, WHOLE | 8, 1, b"\x02" + block(REQUEST) + b"\0\0"),
        status(1, OK),
    ),
    "6.2 padding as long as the frame": (
        frame(HEADERS, WHOLE | 8, 1, b"\x08" + bytes(7)),
        connection(PROTOCOL),
    ),
    "6.2 priority cut off": (frame(HEADERS, WHOLE | 0x20, 1, bytes(4)), connection(SIZE)),
    "6.2 padding and priority": (
        frame(HEADERS, WHOLE | 0x28, 1, b"\x01" + bytes(5) + block(REQUEST) + b"\0"),
        status(1, OK),
    ),
    # 6.3 to 6.5
    "6.3 PRIORITY of the connection": (frame(PRIORITY, 0, 0, bytes(5)), connection(PROTOCOL)),
    "6.3 PRIORITY cut off": (frame(PRIORITY, 0, 1, bytes(4)), connection(SIZE)),
    "6.3 PRIORITY of an idle stream": (frame(PRIORITY, 0, 9, bytes(5)) + get(1), status(1, OK)),
    "6.4 RST_STREAM of the connection": (frame(RST, 0, 0, number(8)), connection(PROTOCOL)),
    "6.4 RST_STREAM cut off": (HELD + frame(RST, 0, 1, bytes(3)), connection(SIZE)),
    "6.4 RST_STREAM with an unknown code": (
        HELD + frame(RST, 0, 1, number(0xFF)) + get(3),
        status(3, OK),
    ),
    "6.5 SETTINGS": (frame(SETTINGS, 0, 0), answer(SETTINGS, 1, 0, b"")),
    "6.5 SETTINGS of a stream": (frame(SETTINGS, 0, 1), connection(PROTOCOL)),
    "6.5 SETTINGS cut off": (frame(SETTINGS, 0, 0, bytes(3)), connection(SIZE)),
    "6.5 an acknowledgement that says something": (
        frame(SETTINGS, 1, 0, bytes(6)),
        connection(SIZE),
    ),
    "6.5.2 ENABLE_PUSH of 2": (setting(2, 2), connection(PROTOCOL)),
    "6.5.2 a window too wide": (setting(4, 2**31), connection(FLOW)),
    "6.5.2 frames too small": (setting(5, 16_383), connection(PROTOCOL)),
    "6.5.2 frames too large": (setting(5, 2**24), connection(PROTOCOL)),
    "6.5.2 the largest frames": (setting(5, 2**24 - 1), answer(SETTINGS, 1, 0, b"")),
    "6.5.2 an unknown setting": (setting(0xFF, 9), answer(SETTINGS, 1, 0, b"")),
    "6.5.3 the last value of a kind counts": (
        frame(SETTINGS, 0, 0, b"\0\x04" + number(0) + b"\0\x04" + number(9)) + get(1),
        body(1, b"ok"),
    ),
    "RFC 8441 3 ENABLE_CONNECT_PROTOCOL of 2": (setting(8, 2), connection(PROTOCOL)),
    # 6.6 to 6.9
    "6.6 PUSH_PROMISE": (frame(PUSH, 4, 1, number(2) + block(REQUEST)), connection(PROTOCOL)),
    "6.7 PING": (frame(PING, 0, 0, b"12345678"), answer(PING, 1, 0, b"12345678")),
    "6.7 an answer to no PING": (frame(PING, 1, 0, bytes(8)) + get(1), status(1, OK)),
    "6.7 PING of a stream": (frame(PING, 0, 1, bytes(8)), connection(PROTOCOL)),
    "6.7 PING cut off": (frame(PING, 0, 0, bytes(6)), connection(SIZE)),
    "6.8 GOAWAY of a stream": (frame(GOAWAY, 0, 1, bytes(8)), connection(PROTOCOL)),
    "6.8 GOAWAY cut off": (frame(GOAWAY, 0, 0, bytes(7)), connection(SIZE)),
    "6.9 WINDOW_UPDATE cut off": (frame(WINDOW, 0, 0, bytes(3)), connection(SIZE)),
    "6.9 wider by nothing": (frame(WINDOW, 0, 0, number(0)), connection(PROTOCOL)),
    "6.9 a stream wider by nothing": (HELD + frame(WINDOW, 0, 1, number(0)), stream(1, PROTOCOL)),
    "6.9.1 too wide": (frame(WINDOW, 0, 0, number(2**31 - 1)), connection(FLOW)),
    "6.9.1 a stream too wide": (HELD + frame(WINDOW, 0, 1, number(2**31 - 1)), stream(1, FLOW)),
    "6.9.1 more than we take of a stream": (
        HELD + frame(DATA, 0, 1, bytes(16_384)) * 17,
        connection(FLOW),
    ),
    "6.9.1 more than we take of all streams": (
        b"".join(post(on) + frame(DATA, 0, on, bytes(16_384)) * 16 for on in (1, 3, 5, 7))
        + post(9)
        + frame(DATA, 0, 9, b"x"),
        connection(FLOW),
    ),
    "6.9.2 a window of one byte": (setting(4, 1) + get(1), answer(DATA, 0, 1, b"o")),
    "6.9.2 a window that grows by SETTINGS": (
        setting(4, 1) + get(1) + setting(4, 2),
        body(1, b"ok"),
    ),
    "6.9.2 windows too wide by SETTINGS": (
        HELD + frame(WINDOW, 0, 1, number(2**31 - 1 - 65_535)) + setting(4, 65_536),
        connection(FLOW),
    ),
    # 6.10: CONTINUATION
    "6.10 two of them": (
        frame(HEADERS, 1, 1, block(REQUEST)[:9])
        + frame(MORE, 0, 1, block(REQUEST)[9:20])
        + frame(MORE, 4, 1, block(REQUEST)[20:]),
        status(1, OK),
    ),
    "6.10 after the end": (get(1) + frame(MORE, 4, 1, block(REQUEST)), connection(PROTOCOL)),
    "6.10 of the connection": (
        get(1, flags=BEGUN) + frame(MORE, 4, 0, block(REQUEST)),
        connection(PROTOCOL),
    ),
    "6.10 of another stream": (
        get(1, flags=BEGUN) + frame(MORE, 4, 3, block(REQUEST)),
        connection(PROTOCOL),
    ),
    "6.10 after DATA": (
        HELD + frame(DATA, 0, 1, b"x") + frame(MORE, 4, 1, block(REQUEST)),
        connection(PROTOCOL),
    ),
    # 8.1: messages
    "8.1 trailers": (
        HELD + frame(DATA, 0, 1, b"x") + frame(HEADERS, WHOLE, 1, block([(b"x", b"y")])),
        nothing_wrong,
    ),
    "8.1 trailers that do not end": (
        HELD + frame(HEADERS, OPEN, 1, block([(b"x", b"y")])),
        status(1, BAD),
    ),
    "8.1 trailers with a pseudo-field": (
        HELD + frame(HEADERS, WHOLE, 1, block([(b":method", b"GET")])),
        status(1, BAD),
    ),
    "8.1.1 more than Content-Length": (
        post(1, [(b"content-length", b"1")]) + frame(DATA, 1, 1, b"ab"),
        status(1, BAD),
    ),
    "8.1.1 less than Content-Length": (
        post(1, [(b"content-length", b"3")]) + frame(DATA, 1, 1, b"ab"),
        status(1, BAD),
    ),
    "8.1.1 Content-Length without DATA": (get(1, [(b"content-length", b"1")]), status(1, BAD)),
    "8.2.1 upper case": (get(1, [(b"X-Test", b"ok")]), status(1, BAD)),
    "8.2.2 Connection": (get(1, [(b"connection", b"keep-alive")]), status(1, BAD)),
    "8.2.2 Transfer-Encoding": (get(1, [(b"transfer-encoding", b"chunked")]), status(1, BAD)),
    "8.2.2 Upgrade": (get(1, [(b"upgrade", b"h2c")]), status(1, BAD)),
    "8.2.2 Keep-Alive": (get(1, [(b"keep-alive", b"5")]), status(1, BAD)),
    "8.2.2 TE of trailers": (get(1, [(b"te", b"trailers")]), status(1, OK)),
    "8.2.2 TE of something else": (get(1, [(b"te", b"trailers, gzip")]), status(1, BAD)),
    "8.3 an unknown pseudo-field": (
        frame(HEADERS, WHOLE, 1, block([*REQUEST, (b":test", b"ok")])),
        status(1, BAD),
    ),
    "8.3 a pseudo-field of answers": (
        frame(HEADERS, WHOLE, 1, block([*REQUEST, (b":status", b"200")])),
        status(1, BAD),
    ),
    "8.3 a pseudo-field after the others": (
        frame(HEADERS, WHOLE, 1, block([*REQUEST[:3], (b"x", b"y"), REQUEST[3]])),
        status(1, BAD),
    ),
    **{
        f"8.3.1 {name.decode()} missing": (
            frame(HEADERS, WHOLE, 1, block([one for one in REQUEST if one[0] != name])),
            status(1, BAD),
        )
        for name, _ in REQUEST
    },
    **{
        f"8.3.1 {name.decode()} twice": (
            frame(HEADERS, WHOLE, 1, block([(name, value), *REQUEST])),
            status(1, BAD),
        )
        for name, value in REQUEST
    },
    "8.3.1 an empty path": (
        frame(HEADERS, WHOLE, 1, block([*REQUEST[:3], (b":path", b"")])),
        status(1, BAD),
    ),
    "10.5.1 a field section too large": (
        frame(HEADERS, 1, 1, LONG[:16_000])
        + frame(MORE, 0, 1, LONG[16_000:32_000])
        + frame(MORE, 4, 1, LONG[32_000:]),
        status(1, LARGE),
    ),
}


@pytest.mark.parametrize("crumbs", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("sent", "check"), CASES.values(), ids=CASES.keys())
def test_what_the_rfc_asks(sent: bytes, check: Check, crumbs: bool) -> None:
    seen = Raw().play(sent, crumbs=crumbs)
    assert check(seen), seen.frames


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", PREFACE + frame(PING, 0, 0, bytes(8))]
)
def test_what_is_no_opening_ends_the_connection(sent: bytes) -> None:
    raw = Raw()
    raw.transport.clear()
    raw.connection.dataReceived(sent)
    assert Seen(frames(raw.transport.value())).goaway == PROTOCOL
    assert raw.transport.disconnecting
