"""Frames as bytes, and the numbers of HTTP/2 (RFC 9113 sections 4, 6, 7 and 11). Pure."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from watchducks.proxy.http2_limits import MAX_FRAME_BYTES

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20
# What PRIORITY says, and HEADERS with it: on which stream one depends, and how much.
PRIORITY_BYTES: Final = 5

# Of SETTINGS (section 6.5.2; RFC 8441 section 3).
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8

# The last stream id there can be, said by the first of two GOAWAYs.
LAST_STREAM_ID: Final = 2**31 - 1
# A window can be no larger (section 6.9.1), and begins as this (section 6.9.2).
MAX_WINDOW_BYTES: Final = 2**31 - 1
FIRST_WINDOW_BYTES: Final = 65_535

# Length (its upper byte, its lower two), type, flags, stream.
HEADER: Final = struct.Struct(">BHBBL")
_SETTING: Final = struct.Struct(">HL")
_NUMBER: Final = struct.Struct(">L")
_TWO_NUMBERS: Final = struct.Struct(">LL")


class ErrorCodes(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2Error(Exception):
    """The connection is broken, or its visitor is: it ends with GOAWAY and ``code``."""

    def __init__(self, code: ErrorCodes, why: str) -> None:
        super().__init__(why)
        self.code = code


class Frame(NamedTuple):
    """A complete frame.

    :ivar kind: its type.
    """

    kind: int
    flags: int
    stream_id: int
    payload: bytes


# --- what a frame says ---


def content(frame: Frame) -> bytes:
    """Return the payload of DATA or HEADERS without padding and priority.

    :raises Http2Error: there is less of it than was said.
    """
    payload, flags = frame.payload, frame.flags
    begin = 1 if flags & PADDED else 0
    if flags & WITH_PRIORITY and frame.kind == HEADERS:
        begin += PRIORITY_BYTES  # which nobody heeds any more (section 5.3.2)
    if begin > len(payload):
        raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "cut off before its content")
    end = len(payload) - (payload[0] if flags & PADDED else 0)
    if begin > end:
        raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "more padding than there is room for")
    return payload[begin:end]


def number(frame: Frame) -> int:
    """Return what WINDOW_UPDATE or RST_STREAM says.

    :raises Http2Error: it is not one number.
    """
    if len(frame.payload) != _NUMBER.size:
        raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "not 4 bytes")
    value: int = _NUMBER.unpack(frame.payload)[0]
    return value


def settings_of(frame: Frame) -> dict[int, int]:
    """Return what SETTINGS says, the last of each kind; none for an acknowledgement.

    :raises Http2Error: a value is not allowed.
    """
    payload = frame.payload
    if frame.stream_id:
        raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "SETTINGS of a stream")
    if len(payload) % _SETTING.size or (frame.flags & ACK and payload):
        raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "not SETTINGS")
    said: dict[int, int] = {}
    for setting, value in _SETTING.iter_unpack(payload):
        if setting in (ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL) and value > 1:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "neither on nor off")
        if setting == INITIAL_WINDOW_SIZE and value > MAX_WINDOW_BYTES:
            raise Http2Error(ErrorCodes.FLOW_CONTROL_ERROR, "a window too wide")
        if setting == MAX_FRAME_SIZE and not MAX_FRAME_BYTES <= value < 2**24:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "no size of a frame")
        said[setting] = value
    return said


# --- frames of ours ---


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    size = len(payload)
    return HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def data_header(size: int, stream_id: int, *, end: bool) -> bytes:
    """Return what stands before ``size`` bytes of DATA."""
    return HEADER.pack(size >> 16, size & 0xFFFF, DATA, END_STREAM if end else 0, stream_id)


def section(stream_id: int, block: bytes, *, end: bool) -> bytes:
    """Return the frames of an encoded field section."""
    flags = END_STREAM if end else 0
    if len(block) <= MAX_FRAME_BYTES:  # what everybody takes
        return frame(HEADERS, flags | END_HEADERS, stream_id, block)
    frames = [frame(HEADERS, flags, stream_id, block[:MAX_FRAME_BYTES])]
    for at in range(MAX_FRAME_BYTES, len(block), MAX_FRAME_BYTES):
        last = END_HEADERS if at + MAX_FRAME_BYTES >= len(block) else 0
        frames.append(frame(CONTINUATION, last, stream_id, block[at : at + MAX_FRAME_BYTES]))
    return b"".join(frames)


def reset(stream_id: int, code: ErrorCodes) -> bytes:
    """Return RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, _NUMBER.pack(code))


def window_update(stream_id: int, size: int) -> bytes:
    """Return WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _NUMBER.pack(size))


def settings(values: dict[int, int]) -> bytes:
    """Return SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*item) for item in values.items()]))


def goaway(last_stream_id: int, code: ErrorCodes) -> bytes:
    """Return GOAWAY."""
    return frame(GOAWAY, 0, 0, _TWO_NUMBERS.pack(last_stream_id, code))
