"""What an origin's answer says: its status, and the length of its body. Pure rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from watchducks.model.content_types import CONTENT_TRAITS
from watchducks.proxy.framing import CHUNKED, UNTIL_CLOSE
from watchducks.proxy.headers import Names, connection_options, to_visitor
from watchducks.proxy.heads import AnswerHeadReader, BadHead, Fields, HeadProblem

# 18 digits stay below 2**63, where other parsers' integers begin to wrap.
_MAX_LENGTH_DIGITS: Final = 18
_IS_READ: Final = Names(
    frozenset({b"connection", b"content-length", b"content-type", b"transfer-encoding"})
)
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()


@dataclass(slots=True)
class Answer:
    """The head of an answer.

    :ivar minor: HTTP/1.minor. :ivar fields: as they were sent.
    :ivar options: what its Connection fields name, lower-case.
    :ivar length: of the body that follows: bytes, 0 for none, CHUNKED or UNTIL_CLOSE.
    :ivar traits: what its Content-Type says for the row (:mod:`.traits`).
    """

    status: int
    phrase: bytes
    minor: int
    fields: Fields
    options: frozenset[bytes]
    length: int
    traits: int = 0
    _lines: bytes = field(default=b"", init=False, repr=False, compare=False)
    _lines_for: tuple[bool, int] | None = field(default=None, init=False, repr=False, compare=False)

    def lines(self, *, trailers: bool, hsts_seconds: int) -> bytes:
        """Return the lines that go to the visitor (:func:`.headers.to_visitor`)."""
        wanted = (trailers, hsts_seconds)
        if wanted != self._lines_for:
            self._lines_for = wanted
            self._lines = to_visitor(
                self.fields,
                minor=self.minor,
                options=self.options,
                length=self.length,
                status=self.status,
                trailers=trailers,
                hsts_seconds=hsts_seconds,
            )
        return self._lines

    @property
    def keep_alive(self) -> bool:
        """Whether the origin will take another request on this connection."""
        if self.length == UNTIL_CLOSE or b"close" in self.options:
            return False
        return self.minor == 1 or b"keep-alive" in self.options

    @property
    def upgrades(self) -> bool:
        """Whether it changes the protocol to WebSocket, which is all that we ever ask for."""
        return b"upgrade" in self.options and [
            value.strip(b" \t").lower() for name, value in self.fields if name.lower() == b"upgrade"
        ] == [b"websocket"]


def read_answer(head: AnswerHeadReader, *, to_head: bool) -> Answer:
    """Make an answer of a complete head (RFC 9112 section 6.3).

    :param to_head: it answers a HEAD request.
    :raises BadHead: how long its body is can be understood in two ways.
    """
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    traits = 0
    for name, value in head.fields:
        if not _IS_READ[name]:
            continue
        lower = name.lower()
        if lower == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif lower == b"transfer-encoding":
            codings.append(value.strip(b" \t").lower())
        elif lower == b"content-type":
            traits = CONTENT_TRAITS[value]
        else:
            connection.append(value)
    length = UNTIL_CLOSE
    if codings:
        if lengths or codings != [b"chunked"] or head.minor == 0:
            raise BadHead(HeadProblem.SYNTAX)
        length = CHUNKED
    elif lengths:
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _MAX_LENGTH_DIGITS:
            raise BadHead(HeadProblem.SYNTAX)
        length = int(lengths[0])
    if to_head or head.status < 200 or head.status in (204, 304):
        length = 0
    options = connection_options(connection) if connection else _NO_OPTIONS
    return Answer(head.status, head.phrase, head.minor, head.fields, options, length, traits)
