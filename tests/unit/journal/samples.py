"""Rows for the journal's tests, and work that is done at once instead of in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from hypothesis import strategies as st

from watchducks.journal.encoder import Encoder
from watchducks.journal.records import FILE_HEADER, ROW, decode
from watchducks.journal.sources import Knowledge
from watchducks.model.rows import Row

P = ParamSpec("P")
T = TypeVar("T")

# Made once: it takes 0.1 s.
KNOWLEDGE = Knowledge()

U63 = st.integers(0, 2**63 - 1)
# Whatever a visitor sends, lone surrogates (bytes that are no UTF-8) included.
TEXT = st.text(st.characters(codec=None), max_size=30)

ROWS = st.builds(
    Row,
    time_us=st.integers(0, (2**32 - 1) * 1_000_000),
    site_id=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["request", "connection"]),
    scheme=TEXT,
    protocol=TEXT,
    method=TEXT,
    host=TEXT,
    path=TEXT.map(lambda text: text.replace("?", "")),
    status=st.integers(0, 65535),
    reason=TEXT,
    client=TEXT,
    user_agent=TEXT,
    referrer=TEXT,
    request_bytes=U63,
    response_bytes=U63,
    duration_us=U63,
    origin_us=U63,
    query=TEXT,
    traits=st.integers(0, 65535),
)


def row(number: int = 0, **changes: Any) -> Row:
    """A request told apart from others by its path."""
    return Row(
        1_764_000_000_000_000 + number,
        1,
        "request",
        "https",
        "HTTP/1.1",
        "GET",
        "www.example.test",
        f"/{number}",
        200,
        "",
        "192.0.2.1",
        "Mozilla/5.0",
        "",
        0,
        1000,
        20_000,
        15_000,
    )._replace(**changes)


def file_of(*rows: Row, encoder: Encoder | None = None) -> bytes:
    """A segment file with one frame."""
    return FILE_HEADER + (encoder or Encoder()).encode(rows).content


def read(content: bytes) -> tuple[list[Row], int]:
    """The rows of a segment file, and how many bytes of it are lost."""
    decoded = decode(content)
    rows = []
    for packed in ROW.iter_unpack(decoded.rows):
        time_us, duration_us, origin_us, request_bytes, response_bytes = packed[:5]
        seconds, source_at, target_at, referrer_at, status, traits = packed[5:]
        assert seconds == time_us // 1_000_000
        source = decoded.sources[source_at]
        path, _, query = decoded.targets[target_at].partition("?")
        rows.append(
            Row(
                time_us,
                source.site_id,
                source.kind,
                source.scheme,
                source.protocol,
                source.method,
                source.host,
                path,
                status,
                source.reason,
                source.client,
                source.user_agent,
                decoded.referrers[referrer_at],
                request_bytes,
                response_bytes,
                duration_us,
                origin_us,
                query,
                traits,
            )
        )
    return rows, decoded.lost_bytes


class AtOnce:
    """A runner without threads, for a shipper on a Clock."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)
