"""The head of a message, from bytes: start line and header fields (RFC 9112 sections 2 to 5).

One regular expression says what a head is, and it says nothing but what the grammar of the RFC
does: no bare CR or LF, no folded lines, no white space where none belongs. What does not match is
refused. Where a body ends is decided by :mod:`.framing` from the fields.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import ClassVar, Final

Fields = list[tuple[bytes, bytes]]

_END: Final = b"\r\n\r\n"

# Every repetition is possessive and no two that follow each other share a byte: a match takes
# linear time, whatever a visitor sends.
_FIELDS: Final = rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*)\r\n"
# Methods as nginx takes them: "get" and "GET" differ by the RFC, and some servers do not know.
# Bytes above 0x7f in a target are no URI by the RFC; browsers and nginx pass them all the same.
_REQUEST: Final = re.compile(
    rb"([A-Z][A-Z0-9_-]*+) ([\x21-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n" + _FIELDS
)
_ANSWER: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?+\r\n" + _FIELDS
)
# Of lines that are known to match: name, and value with the white space after it, if any.
_FIELD: Final = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
# How a head may begin while it is incomplete, so that what is none (TLS, say) is answered at once.
_REQUEST_BEGINNING: Final = re.compile(rb"(?:[A-Z][A-Z0-9_-]{0,31}(?: |\Z))|\r?\Z")
_ANSWER_BEGINNING: Final = b"HTTP/1."
# No head holds any of these: control bytes, CR without LF, LF without CR.
_NEVER: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
# What a start line has besides its target: the method, two spaces and the version.
_REST_OF_REQUEST_LINE_BYTES: Final = 32 + 2 + len(b"HTTP/1.1")


class HeadProblem(Enum):
    """What is wrong with a head."""

    SYNTAX = auto()
    TARGET_TOO_LONG = auto()
    TOO_LARGE = auto()


class BadHead(Exception):
    """A head that is not accepted; nothing more can be read from this connection."""

    def __init__(self, problem: HeadProblem) -> None:
        super().__init__(problem.name)
        self.problem = problem


class _HeadReader:
    """Collects one head; used once.

    :ivar fields: name and value of each field, in order, as they were sent; empty until the head
        is complete.
    """

    __slots__ = ("_end", "_max_bytes", "_max_fields", "_raw", "_start", "fields", "minor")
    _pattern: ClassVar[re.Pattern[bytes]]
    _skips_empty_lines: ClassVar[bool] = False

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        self.fields: Fields = []
        self.minor = 1
        self._raw = b""
        self._start = 0  # of the start line
        self._end: int | None = None  # of the head, once it is known
        self._max_bytes = max_bytes
        self._max_fields = max_fields

    def feed(self, data: bytes) -> bytes | None:
        """Take more bytes; return those after the head once it is complete, else None.

        :raises BadHead:
        """
        if not self._raw:
            match = self._pattern.match(data)
            if match is not None:  # nearly all heads come whole
                self._raw = data
                return self._accept(match, match.end())
        before = len(self._raw)
        raw = self._raw = self._raw + data if before else data
        start = self._start
        if raw.startswith(b"\r\n", start) and self._skips_empty_lines:
            while raw.startswith(b"\r\n", start):
                start += 2
            self._start = start
        end = raw.find(_END, max(start, before - len(_END) + 1))
        if end < 0:
            self._check_incomplete(raw, start, before)
            return None
        end += len(_END)
        match = self._pattern.fullmatch(raw, start, end)
        if match is None:
            self._end = end
            raise BadHead(HeadProblem.TOO_LARGE if end > self._max_bytes else HeadProblem.SYNTAX)
        return self._accept(match, end)

    def _accept(self, match: re.Match[bytes], end: int) -> bytes:
        """Take the head that was matched up to ``end``; return what follows it."""
        self._end = end
        if end > self._max_bytes:
            raise BadHead(HeadProblem.TOO_LARGE)
        self.fields = _FIELD.findall(self._read_start_line(match))
        if len(self.fields) > self._max_fields:
            raise BadHead(HeadProblem.TOO_LARGE)
        return self._raw[end:]

    def _check_incomplete(self, raw: bytes, start: int, before: int) -> None:
        """Raise BadHead if no further bytes can make a head of ``raw``."""
        # The last byte before may have been a CR, which only its successor decides about.
        if _NEVER.search(raw, max(start, before - 1)) is not None:
            raise BadHead(HeadProblem.SYNTAX)
        if len(raw) > self._max_bytes:
            raise BadHead(HeadProblem.TOO_LARGE)

    def _read_start_line(self, match: re.Match[bytes]) -> bytes:
        """Keep what the start line says; return the lines of the fields.

        :raises BadHead:
        """
        raise NotImplementedError


class RequestHeadReader(_HeadReader):
    """The head of a request.

    :ivar method: as sent. :ivar target: as sent. :ivar minor: HTTP/1.minor.
    """

    __slots__ = ("_max_target_bytes", "method", "target")
    _pattern = _REQUEST
    _skips_empty_lines = True  # RFC 9112 section 2.2: they do not end it

    def __init__(self, max_bytes: int, max_fields: int, max_target_bytes: int) -> None:
        super().__init__(max_bytes, max_fields)
        self._max_target_bytes = max_target_bytes
        self.target = b""
        self.method = b""

    def _check_incomplete(self, raw: bytes, start: int, before: int) -> None:
        if not _REQUEST_BEGINNING.match(raw, start):
            raise BadHead(HeadProblem.SYNTAX)
        line_end = raw.find(b"\r", start)
        line_bytes = (len(raw) if line_end < 0 else line_end) - start
        if line_bytes > self._max_target_bytes + _REST_OF_REQUEST_LINE_BYTES:
            raise BadHead(HeadProblem.TARGET_TOO_LONG)
        super()._check_incomplete(raw, start, before)

    def _read_start_line(self, match: re.Match[bytes]) -> bytes:
        self.method, self.target, minor, lines = match.groups()
        if minor == b"0":
            self.minor = 0
        if len(self.target) > self._max_target_bytes:
            raise BadHead(HeadProblem.TARGET_TOO_LONG)
        return lines

    def salvage(self) -> tuple[bytes, bytes, Fields]:
        """Return what looks like method, target and fields of a head that was refused or has not
        come to its end: good enough to answer and to count it, never to pass it on."""
        first, _, lines = self._raw[: self._end].lstrip(b"\r\n").partition(b"\r\n")
        method, _, target = first.partition(b" ")
        fields: Fields = []
        for line in lines.split(b"\r\n", self._max_fields)[: self._max_fields]:
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
        return method, target.partition(b" ")[0], fields


class AnswerHeadReader(_HeadReader):
    """The head of an answer.

    :ivar status: 100-999. :ivar phrase: the reason phrase. :ivar minor: HTTP/1.minor.
    """

    __slots__ = ("phrase", "status")
    _pattern = _ANSWER

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        super().__init__(max_bytes, max_fields)
        self.phrase = b""
        self.status = 0

    def _check_incomplete(self, raw: bytes, start: int, before: int) -> None:
        if raw[: len(_ANSWER_BEGINNING)] != _ANSWER_BEGINNING[: len(raw)]:
            raise BadHead(HeadProblem.SYNTAX)
        super()._check_incomplete(raw, start, before)

    def _read_start_line(self, match: re.Match[bytes]) -> bytes:
        minor, status, phrase, lines = match.groups()
        if minor == b"0":
            self.minor = 0
        self.status = int(status)
        self.phrase = phrase or b""
        return lines
