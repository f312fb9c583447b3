"""Rows: what is left of one request. One row a request, exactly."""

from __future__ import annotations

from typing import NamedTuple, Protocol

# `reason` when the origin's own answer was passed on.
ANSWERED = ""


class Row(NamedTuple):
    """One finished request (or one HTTPS connection that was passed through untouched).

    A NamedTuple because the proxy makes one for each request: it costs a tenth of a frozen
    dataclass. Text fields may hold anything a visitor sends; the journal bounds their length.

    :ivar time_us: when the request's first byte was read; POSIX microseconds.
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


class RowSink(Protocol):
    """Where the proxy leaves its rows."""

    def record(self, row: Row) -> None:
        """Take one row. Never blocks, never raises; called on the reactor's thread."""
