"""The frames of one HTTP/2 connection, cut out of its bytes and counted (RFC 9113 section 4).

Whatever comes is within our limits before anything is done about it. Pure rules: no I/O, time comes
in.
"""

from __future__ import annotations

from typing import Final

from watchducks.proxy.http2_limits import MAX_FRAME_BYTES, Allowance, Http2Limits
from watchducks.proxy.http2_wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCodes,
    Frame,
    Http2Error,
)

_HEADER_BYTES: Final = HEADER.size
# Last stream and error code (RFC 9113 section 6.8).
_GOAWAY_BYTES: Final = 8
# The highest bit of a stream's number is reserved, and ignored.
_STREAM_ID: Final = 2**31 - 1
# A DATA frame that is shorter and does not end its stream was cut by a tiny window.
_WHOLE_DATA_BYTES: Final = 256
# Two for each DATA frame that we send, and of the frames that we ignore for each request.
_CREDIT: Final = 2


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
        "_counted",
        "_empty_data",
        "_in_block",
        "_limits",
        "_others",
        "_resets",
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
        self._window_updates = Budget(limits.window_updates, now)
        self._empty_data = Budget(limits.empty_data, now)
        self._others = Budget(limits.others, now)
        self._counted = {
            RST_STREAM: self._resets,
            SETTINGS: Budget(limits.settings, now),
            PING: Budget(limits.pings, now),
            WINDOW_UPDATE: self._window_updates,
        }

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
        """Return the next complete frame after the preface; None: there is none yet.

        :raises Http2Error: it breaks the protocol, or there are too many of its kind.
        """
        if self._stage == 0 and not self._take_preface():
            return None
        buffer, at = self._buffer, self._at
        available = len(buffer) - at
        if available < _HEADER_BYTES:
            return None
        high, low, kind, flags, stream_id = HEADER.unpack_from(buffer, at)
        length = high << 16 | low
        if length > MAX_FRAME_BYTES:
            raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "a frame is too long")
        if kind in (HEADERS, CONTINUATION):
            # Judged by what it says it is, before it is waited for.
            self._judge_block_size(kind, length)
        at += _HEADER_BYTES
        end = at + length
        if available < _HEADER_BYTES + length:
            return None
        self._at = end
        frame = Frame(kind, flags, stream_id & _STREAM_ID, buffer[at:end])
        self._judge(frame, now)
        return frame

    def _take_preface(self) -> bool:
        """Return whether it has come."""
        begun = self._buffer[: len(PREFACE)]
        if not PREFACE.startswith(begun):
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "no HTTP/2 preface")
        if len(begun) < len(PREFACE):
            return False
        self._at = len(PREFACE)
        self._stage = 1
        return True

    def _judge_block_size(self, kind: int, length: int) -> None:
        before = 0 if kind == HEADERS else self._block_bytes
        if before + length > self._limits.head_block_bytes:
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "a field section is too long")

    def _judge(self, frame: Frame, now: float) -> None:
        kind, flags, stream_id, payload = frame
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
            self._judge_block(kind, flags, len(payload))
        else:
            self._spend(self._counted.get(kind, self._others), now, f"frames of type {kind}")
            if kind == GOAWAY and stream_id:
                raise Http2Error(ErrorCodes.PROTOCOL_ERROR, "GOAWAY of a stream")
            if kind == GOAWAY and len(payload) < _GOAWAY_BYTES:
                raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "GOAWAY cut off")

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
    length = len(frame.payload)
    if frame.flags & PADDED and length:
        return length - 1 - frame.payload[0]
    return length
