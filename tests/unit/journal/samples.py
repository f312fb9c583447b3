"""Rows for the journal's tests, and work that is done at once instead of in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from hypothesis import strategies as st

from watchducks.model.rows import Row

P = ParamSpec("P")
T = TypeVar("T")

U63 = st.integers(0, 2**63 - 1)
# Whatever a visitor sends, lone surrogates (bytes that are no UTF-8) included.
TEXT = st.text(st.characters(codec=None), max_size=30)

ROWS = st.builds(
    Row,
    time_us=U63,
    site_id=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["request", "connection"]),
    scheme=TEXT,
    protocol=TEXT,
    method=TEXT,
    host=TEXT,
    path=TEXT,
    status=st.integers(0, 65535),
    reason=TEXT,
    client=TEXT,
    user_agent=TEXT,
    referrer=TEXT,
    request_bytes=U63,
    response_bytes=U63,
    duration_us=U63,
    origin_us=U63,
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


class AtOnce:
    """A runner without threads, for a shipper on a Clock."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)
