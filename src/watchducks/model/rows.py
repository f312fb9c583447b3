"""Rows: what is left of one request. One row a request, exactly."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

# Row.traits: what the fields of request and answer say about them, in bits. All 0: nothing.
# The visitor does not want to be recognised (Sec-GPC or DNT: 1).
NO_TRACKING: Final = 0b00001
# What the browser wants it for (Sec-Fetch-Dest): to show it as a page, as a part of one, or else.
ASKS: Final = 0b00110
ASKS_PAGE: Final = 0b00010
ASKS_ASSET: Final = 0b00100
ASKS_OTHER: Final = 0b00110
# What the answer is (Content-Type): a page, a part of one, or data.
IS: Final = 0b11000
IS_PAGE: Final = 0b01000
IS_ASSET: Final = 0b10000
IS_OTHER: Final = 0b11000

# `reason` when the origin's own answer was passed on.
ANSWERED = ""


class Row(NamedTuple):
    """One finished request (or one HTTPS connection that was passed through untouched).

    A NamedTuple because the proxy makes one for each request: it costs a tenth of a frozen
    dataclass. Text fields may hold anything a visitor sends; the journal bounds their length.

    :ivar time_us: when the request ended, as other servers' access logs have it; POSIX
        microseconds. So rows come in the order of their times, however long requests take.
    :ivar site_id: :attr:`watchducks.model.sites.Site.id`.
    :ivar kind: ``request``, or ``connection`` for a passed-through TLS connection, of which only
        host, client, bytes and duration are known.
    :ivar status: HTTP status sent to the visitor; 0 for a connection; 499 if the visitor left
        before an answer began.
    :ivar reason: why the answer is ours and not the origin's (``connect-timeout`` ...), or
        :data:`ANSWERED`.
    :ivar path: the path of the request target, without the query.
    :ivar client: the visitor's IP address; it never leaves this machine's spool as it is.
    :ivar request_bytes: body bytes received from the visitor.
    :ivar response_bytes: body bytes sent to the visitor.
    :ivar duration_us: first byte read to last byte written, microseconds.
    :ivar origin_us: request handed to the origin to first byte of its answer, microseconds; 0 if
        it never answered.
    :ivar query: what follows the path's "?"; it leaves the spool only as far as the site's owner
        wants it to.
    :ivar traits: of :data:`NO_TRACKING`, :data:`ASKS` and :data:`IS`.
    """

    time_us: int
    site_id: int
    kind: str
    scheme: str
    protocol: str
    method: str
    host: str
    path: str
    status: int
    reason: str
    client: str
    user_agent: str
    referrer: str
    request_bytes: int
    response_bytes: int
    duration_us: int
    origin_us: int
    query: str = ""
    traits: int = 0


class RowSink(Protocol):
    """Where the proxy leaves its rows."""

    def record(self, row: Row) -> None:
        """Take one row. Never blocks, never raises; called on the reactor's thread."""
