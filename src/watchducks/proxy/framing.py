"""How long a body is, and where it ends (RFC 9112 sections 6 and 7).

A length is an int: its bytes, or one of the two negative constants below. The readers are pure:
they take bytes and return what of them is body and what is left over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Protocol

# The body ends with a chunk of size 0.
CHUNKED: Final = -1
# The body ends when the connection is closed: only answers can.
UNTIL_CLOSE: Final = -2

Trailers = Sequence[tuple[bytes, bytes]]

LAST_CHUNK: Final = b"0\r\n\r\n"

# 15 hex digits stay below 2**63, where other parsers' integers begin to wrap.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
# Possessive: otherwise a line of spaces would be tried in as many ways as it has.
_TRAILER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)\r\n")
# A chunk size with an extension; nobody uses extensions, and endless ones are an attack.
MAX_CHUNK_LINE_BYTES: Final = 256
# Checksums, signatures and gRPC's status fit well.
MAX_TRAILER_BYTES: Final = 8 * 1024


class BadBody(Exception):
    """The body is not framed as RFC 9112 says; where it ends is anybody's guess."""


class BodyReader(Protocol):
    """Finds the end of one body."""

    @property
    def done(self) -> bool:
        """Whether the body has been read to its end."""

    @property
    def trailers(self) -> Trailers:
        """The fields after the body, as they were sent; complete once :attr:`done`."""

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the part of ``data`` that is body, decoded, and what follows the body.

        Not called any more once :attr:`done`. :raises BadBody:
        """


class LengthReader:
    """A body of a known number of bytes."""

    __slots__ = ("_left",)
    trailers: Trailers = ()  # only chunked bodies have any

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def done(self) -> bool:
        return self._left == 0

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        left = self._left - len(data)
        if left >= 0:
            self._left = left
            return data, b""
        body, rest = data[: self._left], data[self._left :]
        self._left = 0
        return body, rest


class CloseReader:
    """A body that ends with its connection."""

    __slots__ = ()
    done = False
    trailers: Trailers = ()  # only chunked bodies have any

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class _At(Enum):
    """Where a :class:`ChunkedReader` is. The lines of SIZE, CHUNK_END and TRAILER end with CRLF.

    SIZE -> DATA -> CHUNK_END -> SIZE ...; a SIZE of 0 -> TRAILER ... -> an empty line -> DONE.
    """

    SIZE = auto()
    DATA = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    DONE = auto()


class ChunkedReader:
    """A chunked body. Extensions are checked and dropped, bare LF and CR refused."""

    __slots__ = ("_at", "_left", "_line", "_trailer_bytes", "trailers")

    def __init__(self) -> None:
        self._at = _At.SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.trailers: list[tuple[bytes, bytes]] = []

    @property
    def done(self) -> bool:
        return self._at is _At.DONE

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        pieces: list[bytes] = []
        position, end = 0, len(data)
        while position < end and self._at is not _At.DONE:
            if self._at is _At.DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._at = _At.CHUNK_END
                continue
            newline = data.find(b"\n", position)
            line = self._line + (data[position:] if newline < 0 else data[position : newline + 1])
            limit = MAX_TRAILER_BYTES if self._at is _At.TRAILER else MAX_CHUNK_LINE_BYTES
            if len(line) > limit:
                raise BadBody("a line between chunks is too long")
            if newline < 0:
                self._line = line
                position = end
            else:
                self._line = b""
                position = newline + 1
                self._take(line)
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[position:]

    def _take(self, line: bytes) -> None:
        if self._at is _At.SIZE:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise BadBody("not a chunk size")
            self._left = int(match[1], 16)
            self._at = _At.DATA if self._left else _At.TRAILER
        elif self._at is _At.CHUNK_END:
            if line != b"\r\n":
                raise BadBody("a chunk is longer than it says")
            self._at = _At.SIZE
        elif line == b"\r\n":
            self._at = _At.DONE
        else:
            self._trailer_bytes += len(line)
            match = _TRAILER.fullmatch(line)
            if self._trailer_bytes > MAX_TRAILER_BYTES or match is None:
                raise BadBody("not a trailer")
            self.trailers.append((match[1], match[2]))


def reader_for(length: int) -> BodyReader | None:
    """Return the reader of a body of ``length``; None: there is no body to read."""
    if length > 0:
        return LengthReader(length)
    if length == CHUNKED:
        return ChunkedReader()
    return CloseReader() if length == UNTIL_CLOSE else None


def chunk(data: bytes) -> bytes:
    """Return ``data``, which is not empty (an empty chunk would end the body), as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Trailers) -> bytes:
    """Return the end of a chunked body with ``trailers``, which are ready to be sent."""
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
