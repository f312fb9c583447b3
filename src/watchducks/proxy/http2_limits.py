"""Every limit that only HTTP/2 has, with the reason for its number.

The times and sizes that HTTP/1.1 has as well are those of :mod:`watchducks.proxy.limits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What RFC 9113 section 6.5.2 begins with, and what everybody sends: larger frames only make the
# other streams wait longer. It is not raised in our SETTINGS, so a longer one is an error.
MAX_FRAME_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of something a visitor may do: at once, and for ever."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Limits:
    """Sizes in bytes, times in seconds; one connection's."""

    # RFC 9113 section 6.5.2 advises no less than 100; browsers open so many for a page of icons,
    # and each may hold one read from its origin (64 KiB) for a visitor who does not keep up.
    concurrent_streams: int = 100
    # What a visitor may send of one body before the origin takes it: 100 ms away that is
    # 2.5 MB/s for one upload ...
    stream_window_bytes: int = 256 * 1024
    # ... and of all bodies: what one connection can make us hold. Four stalled uploads fill it.
    connection_window_bytes: int = 1024 * 1024
    # Written to the transport at once, so that it can say when it has enough.
    flush_bytes: int = 64 * 1024
    # What may wait for a visitor who reads nothing, besides bodies: the heads of 100 answers and
    # the acknowledgements of what he sends meanwhile. Whoever lets it grow further only asks.
    unread_bytes: int = 1024 * 1024
    # A field section as bytes. Up to twice `head_bytes` is decoded, so that what is too large can
    # be answered with 431; uncompressed, that is no longer than this.
    head_block_bytes: int = 64 * 1024
    # CONTINUATION frames after one HEADERS: those 64 KiB take three; small ones are an attack
    # (CVE-2024-27316).
    continuations: int = 8
    # For the visitor to see that we shut down before new streams are refused: several round trips
    # to the other side of the world.
    goaway_seconds: float = 1.0

    # What costs us more than the visitor; beyond it he is told ENHANCE_YOUR_CALM.
    # Streams given up, by him, or by us for what he did (CVE-2023-44487, CVE-2025-8671). Scrolling
    # through a page of map tiles gives up three full sets of streams at once.
    resets: Allowance = Allowance(300, 10.0)
    # Each makes us look at every stream; clients send one or two in their life.
    settings: Allowance = Allowance(30, 1.0)
    # Each is answered; some libraries measure the bandwidth with one a round trip.
    pings: Allowance = Allowance(200, 20.0)
    # Two may follow each DATA frame (stream and connection): these are credited as they are sent,
    # but not for frames that a tiny window has cut (CVE-2019-9511).
    window_updates: Allowance = Allowance(1000, 100.0)
    # DATA without data that ends nothing says nothing (CVE-2019-9518).
    empty_data: Allowance = Allowance(20, 1.0)
    # PRIORITY, PRIORITY_UPDATE and unknown frames, which we ignore; browsers send up to two a
    # request, which are credited, and a handful at the beginning.
    others: Allowance = Allowance(200, 10.0)
