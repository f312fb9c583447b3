"""The binary record of one row, as it stands in a segment file.

A file begins with :data:`FILE_HEADER`; then one record follows the other::

    length   u32   bytes of the body
    crc32    u32   of the body
    body           fixed fields (numbers, then the lengths of the texts in *characters*), and all
                   texts as one UTF-8 run

All integers are little-endian. One encode and one checksum a row keep the cost at a few
microseconds; lengths in characters let the decoder decode once and cut. Lone surrogates (bytes a
visitor sent that are no UTF-8) survive the round trip ("surrogatepass").

A process may die, or a disk fill up, in the middle of a write: reading stops at the first record
that is incomplete or fails its checksum, and everything before it is good.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from watchducks.model.rows import Row

# The last byte is the version of the format; a reader refuses what it does not know.
FILE_HEADER = b"WDROWS\x00\x01"

# Bounds of the texts, in characters. What is longer is cut: a visitor chooses these texts, and an
# unbounded one would let a visitor fill the disk.
WORD_CHARACTERS = 32  # kind, scheme, protocol, method: the longest registered method has 17
HOST_CHARACTERS = 255  # RFC 1035: the longest domain name
PATH_CHARACTERS = 2048  # longer paths are attacks or data; they would not rank in any chart
REASON_CHARACTERS = 64  # our own words
CLIENT_CHARACTERS = 64  # an IPv6 address with its zone has at most 56
USER_AGENT_CHARACTERS = 512  # the longest of in-app browsers stay below 400
REFERRER_CHARACTERS = 2048  # only its host is kept later

_HEAD = struct.Struct("<II")
_FIXED = struct.Struct("<qIHQQQQ10H")
_TEXTS_CHARACTERS = (
    4 * WORD_CHARACTERS
    + HOST_CHARACTERS
    + PATH_CHARACTERS
    + REASON_CHARACTERS
    + CLIENT_CHARACTERS
    + USER_AGENT_CHARACTERS
    + REFERRER_CHARACTERS
)
# A length above this cannot have been written by encode_row (4 bytes: the longest UTF-8 character).
MAX_BODY_BYTES = _FIXED.size + 4 * _TEXTS_CHARACTERS

_U16 = 0xFFFF
_U32 = 0xFFFF_FFFF
_U63 = 0x7FFF_FFFF_FFFF_FFFF


class Decoded(NamedTuple):
    """What could be read of a segment file.

    :ivar rows: every row up to the first damage.
    :ivar lost_bytes: how many bytes at the end could not be read; 0 for a whole file.
    """

    rows: list[Row]
    lost_bytes: int


def encode_row(row: Row) -> bytes:
    """Return the record of ``row``. Texts beyond their bound are cut, numbers out of range clamped.

    :raises TypeError: a field has the wrong type (a fault of ours, never of a visitor).
    """
    (
        time_us,
        site_id,
        kind,
        scheme,
        protocol,
        method,
        host,
        path,
        status,
        reason,
        client,
        user_agent,
        referrer,
        request_bytes,
        response_bytes,
        duration_us,
        origin_us,
    ) = row
    kind = kind[:WORD_CHARACTERS]
    scheme = scheme[:WORD_CHARACTERS]
    protocol = protocol[:WORD_CHARACTERS]
    method = method[:WORD_CHARACTERS]
    host = host[:HOST_CHARACTERS]
    path = path[:PATH_CHARACTERS]
    reason = reason[:REASON_CHARACTERS]
    client = client[:CLIENT_CHARACTERS]
    user_agent = user_agent[:USER_AGENT_CHARACTERS]
    referrer = referrer[:REFERRER_CHARACTERS]
    text = "".join(
        (kind, scheme, protocol, method, host, path, reason, client, user_agent, referrer)
    ).encode("utf-8", "surrogatepass")
    lengths = (
        len(kind),
        len(scheme),
        len(protocol),
        len(method),
        len(host),
        len(path),
        len(reason),
        len(client),
        len(user_agent),
        len(referrer),
    )
    try:
        fixed = _FIXED.pack(
            time_us,
            site_id,
            status,
            request_bytes,
            response_bytes,
            duration_us,
            origin_us,
            *lengths,
        )
    except struct.error:
        fixed = _FIXED.pack(
            _clamp(time_us, _U63),
            _clamp(site_id, _U32),
            _clamp(status, _U16),
            _clamp(request_bytes, _U63),
            _clamp(response_bytes, _U63),
            _clamp(duration_us, _U63),
            _clamp(origin_us, _U63),
            *lengths,
        )
    body = fixed + text
    return _HEAD.pack(len(body), crc32(body)) + body


def _clamp(number: int, highest: int) -> int:
    """Return ``number``, or the nearest end of 0..highest."""
    return min(max(int(number), 0), highest)


def decode(content: bytes) -> Decoded:
    """Read a segment file from its beginning. Never raises, whatever ``content`` is."""
    if not content.startswith(FILE_HEADER):
        return Decoded([], len(content))
    rows: list[Row] = []
    end = len(content)
    at = len(FILE_HEADER)
    while at + _HEAD.size <= end:
        length, checksum = _HEAD.unpack_from(content, at)
        body_at = at + _HEAD.size
        # The lower bound matters: a run of zeros has the right checksum for an empty body.
        if not _FIXED.size <= length <= MAX_BODY_BYTES or body_at + length > end:
            break
        body = content[body_at : body_at + length]
        if crc32(body) != checksum:
            break
        row = _decode_body(body)
        if row is None:
            break
        rows.append(row)
        at = body_at + length
    return Decoded(rows, end - at)


def _decode_body(body: bytes) -> Row | None:
    """Return the row, or None for a body that no encoder of ours wrote."""
    (
        time_us,
        site_id,
        status,
        request_bytes,
        response_bytes,
        duration_us,
        origin_us,
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
    ) = _FIXED.unpack_from(body)
    try:
        text = body[_FIXED.size :].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    # From here a..j are the ends of the texts instead of their lengths.
    b += a
    c += b
    d += c
    e += d
    f += e
    g += f
    h += g
    i += h
    j += i
    if j != len(text):
        return None
    return Row(
        time_us,
        site_id,
        text[:a],
        text[a:b],
        text[b:c],
        text[c:d],
        text[d:e],
        text[e:f],
        status,
        text[f:g],
        text[g:h],
        text[h:i],
        text[i:j],
        request_bytes,
        response_bytes,
        duration_us,
        origin_us,
    )
