"""The HTTP door: whatever a stranger sends, the proxy answers properly, and stays.

Hypothesis makes the bytes; a real proxy on loopback takes them. After each the proxy must still
serve, no traceback may have been logged, and what reached the origin must be well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from tests.wire.origin import OK, OriginSide
from tests.wire.proxying import RawVisitor, running
from watchducks.proxy.limits import Limits

LIMITS = Limits(head_seconds=0.1, request_body_idle_seconds=0.1, linger_seconds=0.1)
GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
STATUSES = {200, 400, 404, 405, 408, 414, 431}

PIECES = [
    b"GET ", b"POST ", b"HEAD ", b"TRACE ", b"CONNECT ", b"/", b"*", b"http://www.example.com/",
    b"?", b"#", b"%00", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9.9", b"\r\n", b"\r\n\r\n", b"\n",
    b"\r", b"Host: www.example.com\r\n", b"Host: nobody.example\r\n", b"Host:\r\n",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"3\r\nabc\r\n", b"0\r\n",
    b"Connection: close\r\n", b"Connection: host, x\r\n", b"Upgrade: h2c\r\n", b" ", b"\t", b":",
    b"X: y\r\n", b"X : y\r\n", b"Expect: 100-continue\r\n", b"abc", b"\0", b"\xff", b"a" * 9000,
]  # fmt: skip

structured = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)
request_like = st.tuples(
    st.sampled_from([b"GET / HTTP/1.1\r\nHost: www.example.com\r\n", b"POST /x HTTP/1.1\r\n"]),
    structured,
).map(b"".join)
mutated = st.tuples(st.integers(0, len(GET)), st.binary(max_size=3)).map(
    lambda change: GET[: change[0]] + change[1] + GET[change[0] + 1 :]
)
hostile = st.binary(max_size=200) | structured | request_like | mutated


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """What was logged as a failure: nothing a stranger sends may end there."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if "log_failure" in event:
            lines.append(str(event["log_failure"]))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def answer(side: OriginSide, head: bytes) -> None:
    assert re.match(
        rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ (/|\*)\S* HTTP/1\.1\r\nHost: [^\r\n]+\r\n", head
    ), head
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert b"upgrade" not in names
    side.send(OK.replace(b"hello", b"") if head.startswith(b"HEAD ") else OK)


@pytest_twisted.ensureDeferred
async def test_any_bytes_get_a_proper_answer(failures: list[str]) -> None:
    sent: list[bytes] = []

    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(hostile)
    def collect(data: bytes) -> None:
        sent.append(data)

    collect()
    async with running(answer, limits=LIMITS) as run:
        # All at once: most of them are waited for until their time is up.
        visitors = [(data, await run.visit(data)) for data in sent]
        for data, visitor in visitors:
            await visitor.until(done_or_answered)
            statuses = {int(s) for s in re.findall(rb"^HTTP/1\.1 (\d+)", visitor.data, re.M)}
            assert statuses <= STATUSES, (data, visitor.data)
            assert visitor.data.startswith(b"HTTP/1.1 ") or not visitor.data
            assert b"Traceback" not in visitor.data
        assert not failures
        after = await run.visit(GET)
        await after.until_has(b"hello")
        for row in run.rows:
            assert row.status in STATUSES
            assert row.host == "www.example.com"


def done_or_answered(visitor: RawVisitor) -> bool:
    """Closed, or answered: what follows a complete request may be waited for by both sides."""
    return visitor.closed or b"\r\n\r\n" in visitor.data
