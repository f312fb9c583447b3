"""The head of a message, from bytes: start line and header fields (RFC 9112 sections 2 to 5).

llhttp (through httptools) parses, in its strict mode, and is fed nothing but heads: where a body
ends is decided by :mod:`.framing` from the parsed fields, so that no two parsers of ours can
disagree about it. What llhttp is too kind about is checked here.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from httptools import (
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
    HttpResponseParser,
)

Fields = list[tuple[bytes, bytes]]

_END: Final = b"\r\n\r\n"


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
    """Collects one head; used once. Its ``on_...`` methods are httptools' callbacks.

    :ivar fields: name and value of each field, in order, as they were sent.
    """

    _parser: HttpRequestParser | HttpResponseParser

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        self.fields: Fields = []
        self._raw = b""
        self._complete = False
        self._max_bytes = max_bytes
        self._max_fields = max_fields

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._complete = True

    def feed(self, data: bytes) -> bytes | None:
        """Take more bytes; return those after the head once it is complete, else None.

        :raises BadHead:
        """
        # Each byte is fed at once, so that garbage is answered at once, but none after the head.
        before = len(self._raw)
        raw = self._raw + data if before else data
        # Empty lines before a request are skipped (RFC 9112 section 2.2): they do not end it.
        start = len(raw) - len(raw.lstrip(b"\r\n")) if raw.startswith((b"\r", b"\n")) else 0
        end = raw.find(_END, max(start, before - len(_END) + 1))
        head = raw if end < 0 else raw[: end + len(_END)]
        self._raw = head
        try:
            self._parser.feed_data(head[before:] if before else head)
        except HttpParserUpgrade:
            pass  # Upgrade is for the next hop alone: we answer as if it were not there
        except HttpParserError as error:
            raise BadHead(HeadProblem.SYNTAX) from error
        self._check_size()
        if len(head) > self._max_bytes or len(self.fields) > self._max_fields:
            raise BadHead(HeadProblem.TOO_LARGE)
        if end < 0:
            if self._complete:  # it ended without an empty line
                raise BadHead(HeadProblem.SYNTAX)
            return None
        if not self._complete or not self._start_line_is_exact(
            head[start : head.find(b"\r\n", start)]
        ):
            raise BadHead(HeadProblem.SYNTAX)
        return raw[len(head) :]

    def _check_size(self) -> None:
        """Raise BadHead for what is too long in a way of its own."""

    def _start_line_is_exact(self, line: bytes) -> bool:
        """Return whether the first line is, octet for octet, what was understood of it."""
        raise NotImplementedError


class RequestHeadReader(_HeadReader):
    """The head of a request.

    :ivar method: as sent. :ivar target: as sent. :ivar minor: HTTP/1.minor.
    """

    def __init__(self, max_bytes: int, max_fields: int, max_target_bytes: int) -> None:
        super().__init__(max_bytes, max_fields)
        self._parser: HttpRequestParser = HttpRequestParser(self)
        self._max_target_bytes = max_target_bytes
        self.target = b""
        self.method = b""
        self.minor = 1

    def on_url(self, part: bytes) -> None:
        self.target += part

    def _check_size(self) -> None:
        if len(self.target) > self._max_target_bytes:
            raise BadHead(HeadProblem.TARGET_TOO_LONG)

    def _start_line_is_exact(self, line: bytes) -> bool:
        # llhttp accepts several spaces, RTSP/1.0, ICE/1.0, HTTP/0.9 and HTTP/2.0 here.
        self.method = self._parser.get_method()
        if line.endswith(b" HTTP/1.0"):
            self.minor = 0
        return line == b"%b %b HTTP/1.%d" % (self.method, self.target, self.minor)


class AnswerHeadReader(_HeadReader):
    """The head of an answer.

    :ivar status: 100-999. :ivar phrase: the reason phrase. :ivar minor: HTTP/1.minor.
    """

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        super().__init__(max_bytes, max_fields)
        self._parser: HttpResponseParser = HttpResponseParser(self)
        self.phrase = b""
        self.status = 0
        self.minor = 1

    def on_status(self, part: bytes) -> None:
        self.phrase += part

    def _start_line_is_exact(self, line: bytes) -> bool:
        self.status = self._parser.get_status_code()
        if line.startswith(b"HTTP/1.0 "):
            self.minor = 0
        return line.startswith(b"HTTP/1.%d %d" % (self.minor, self.status)) and self.status >= 100
