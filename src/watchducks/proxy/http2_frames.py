"""The frames of one HTTP/2 connection, cut out of its bytes and counted (RFC 9113 section 4).

The h2 library reads what is in a frame. It is fed frame by frame, so that its state never runs
ahead of what we know of the streams, and only with what is within our limits. Pure rules: no I/O,
time comes in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from h2.errors import ErrorCodes

from watchducks.proxy.http2_limits import MAX_FRAME_BYTES, Allowance, Http2Limits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8

_HEADER_BYTES: Final = 9
# Last stream and error code (RFC 9113 section 6.8).
_GOAWAY_BYTES: Final = 8
# The last stream id there can be, said by the first of two GOAWAYs.
LAST_STREAM_ID: Final = 2**31 - 1
# A DATA frame that is shorter and does not end its stream was cut by a tiny window.
_WHOLE_DATA_BYTES: Final = 256
# Two for each DATA frame that we send, and of the frames that we ignore for each request.
_CREDIT: Final = 2


class Http2Error(Exception):
    """The connection is broken, or its visitor is: it ends with GOAWAY and ``code``."""

    def __init__(self, code: ErrorCodes, why: str) -> None:
        super().__init__(why)
        self.code = code


class Frame(NamedTuple):
    """A complete frame, or the connection's preface.

    :ivar kind: its type, -1 for the preface. :ivar raw: all of it, its header included.
    """

    kind: int
    flags: int
    raw: bytes


class Budget:
    """What is left of an :class:`Allowance`: a token bucket."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._burst = self._left = float(allowance.burst)
        self._per_second = allowance.per_second
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one; return whether there was one."""
        left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        self._left = left - 1 if left >= 1 else left
        return left >= 1

    def credit(self, count: int) -> None:
        """Give some back, up to the burst."""
        self._left = min(self._burst, self._left + count)


class FrameReader:
    """Cuts and counts. Used for one connection, from its first byte.

    After :class:`Http2Error` nothing more may be read.
    """

    __slots__ = (
        "_at",
        "_block_bytes",
        "_buffer",
        "_continuations",
        "_empty_data",
        "_in_block",
        "_limits",
        "_others",
        "_pings",
        "_resets",
        "_settings",
        "_stage",
        "_window_updates",
    )

    def __init__(self, limits: Http2Limits, now: float) -> None:
        self._limits = limits
        self._buffer = b""
        self._at = 0
        self._stage = 0  # 0: preface to come, 1: SETTINGS to come, 2: anything
        self._in_block = False
        self._block_bytes = 0
        self._continuations = 0
        self._resets = Budget(limits.resets, now)
        self._settings = Budget(limits.settings, now)
        self._pings = Budget(limits.pings, now)
        self._window_updates = Budget(limits.window_updates, now)
        self._empty_data = Budget(limits.empty_data, now)
        self._others = Budget(limits.others, now)

    def feed(self, data: bytes) -> None:
        """Add received bytes. The caller then takes all complete frames by :meth:`take`."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def owes(self) -> bool:
        """Whether something has begun that must be completed soon: the preface, a field section,
        or any frame but DATA, whose stream has limits of its own."""
        if self._in_block or self._stage < 2:
            return True
        left = len(self._buffer) - self._at
        return 0 < left < 4 or (left >= 4 and self._buffer[self._at + 3] != DATA)

    def take(self, now: float) -> Frame | None:
        """Return the next complete frame; None: there is none yet.

        :raises Http2Error: it breaks the protocol, or there are too many of its kind.
        """
        if self._stage == 0:
            return self._take_preface()
        buffer, at = self._buffer, self._at
        available = len(buffer) - at
        if available < _HEADER_BYTES:
            return None
        length = int.from_bytes(buffer[at : at + 3], "big")
        if length > MAX_FRAME_BYTES:
            raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "a frame is too long")
        kind, flags = buffer[at + 3], buffer[at + 4]
        if kind in (HEADERS, CONTINUATION):
            # Judged by what it says it is, before it is waited for.
            self._judge_block_size(kind, length)
        end = at + _HEADER_BYTES + length
        if available < _HEADER_BYTES + length:
            return None
        raw = buffer if not at and end == len(buffer) else buffer[at:end]
        self._at = end
        frame = Frame(kind, flags, raw)
        self._judge(frame, now)
        return frame

    def _take_preface(self) -> Frame | None:
        begun = self._buffer[: len(PREFACE)]
        if not PREFACE.startswith(begun):
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "no HTTP/2 preface")
        if len(begun) < len(PREFACE):
            return None
        self._at = len(PREFACE)
        self._stage = 1
        return Frame(-1, 0, PREFACE)

    def _judge_block_size(self, kind: int, length: int) -> None:
        before = 0 if kind == HEADERS else self._block_bytes
        if before + length > self._limits.head_block_bytes:
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "a field section is too long")

    def _judge(self, frame: Frame, now: float) -> None:
        kind, flags, raw = frame
        if self._stage == 1:
            if kind != SETTINGS or flags & ACK:
                raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._stage = 2
        if self._in_block and kind != CONTINUATION:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "a frame inside a field section")
        if kind == DATA:
            if not flags & END_STREAM and data_length(frame) <= 0:
                self._spend(self._empty_data, now, "empty DATA")
        elif kind in (HEADERS, CONTINUATION):
            self._judge_block(kind, flags, len(raw) - _HEADER_BYTES)
        elif kind == WINDOW_UPDATE:
            self._spend(self._window_updates, now, "WINDOW_UPDATE")
        elif kind == RST_STREAM:
            self.reset(now)
        elif kind == SETTINGS:
            self._spend(self._settings, now, "SETTINGS")
        elif kind == PING:
            self._spend(self._pings, now, "PING")
        else:
            if kind == GOAWAY and (len(raw) < _HEADER_BYTES + _GOAWAY_BYTES or any(raw[5:9])):
                raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "not a GOAWAY")
            self._spend(self._others, now, "frames of no use")

    def _judge_block(self, kind: int, flags: int, length: int) -> None:
        if kind == HEADERS:
            self._block_bytes = length
            self._continuations = 0
            self._others.credit(_CREDIT)
        elif not self._in_block:
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION of nothing")
        else:
            self._block_bytes += length
            self._continuations += 1
            if self._continuations > self._limits.continuations:
                raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "too many CONTINUATION")
        self._in_block = not flags & END_HEADERS

    def reset(self, now: float) -> None:
        """Count a stream given up: by the visitor, or by us for what he did.

        :raises Http2Error: there were too many.
        """
        self._spend(self._resets, now, "streams given up")

    def data_sent(self, length: int, *, last: bool) -> None:
        """We sent a DATA frame, which the visitor may acknowledge."""
        if last or length >= _WHOLE_DATA_BYTES:
            self._window_updates.credit(_CREDIT)

    @staticmethod
    def _spend(budget: Budget, now: float, what: str) -> None:
        if not budget.spend(now):
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, f"too many: {what}")


def data_length(frame: Frame) -> int:
    """Return how many bytes a DATA frame holds besides its padding; not above 0 if none."""
    length = len(frame.raw) - _HEADER_BYTES
    if frame.flags & PADDED and length:
        return length - 1 - frame.raw[_HEADER_BYTES]
    return length


def goaway(last_stream_id: int, code: ErrorCodes) -> bytes:
    """Return a GOAWAY frame. h2 can make one as well, but says nothing more after it."""
    return (
        _GOAWAY_BYTES.to_bytes(3, "big")
        + bytes((GOAWAY, 0, 0, 0, 0, 0))
        + last_stream_id.to_bytes(4, "big")
        + int(code).to_bytes(4, "big")
    )
