"""Requests that two parsers could read differently: refused with 400, the connection closed.

Each is followed by a second request that must never reach the origin: not as one of its own, and
not inside the first.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.wire.proxying import running
from watchducks.proxy.limits import Limits

HOST = b"Host: www.example.com\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def get(fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n"


CL4 = b"Content-Length: 4\r\n"
TE = b"Transfer-Encoding: chunked\r\n"

REFUSED: dict[str, bytes] = {
    "length and coding": post(CL4 + TE, b"0\r\n\r\n"),
    "coding and length": post(TE + CL4, b"0\r\n\r\n"),
    "two equal lengths": post(CL4 + CL4, b"abcd"),
    "two different lengths": post(CL4 + b"Content-Length: 0\r\n", b"abcd"),
    "a list of lengths": post(b"Content-Length: 4, 4\r\n", b"abcd"),
    "length with a plus": post(b"Content-Length: +4\r\n", b"abcd"),
    "length with a minus": post(b"Content-Length: -4\r\n", b"abcd"),
    "length in hex": post(b"Content-Length: 0x4\r\n", b"abcd"),
    "length with a space inside": post(b"Content-Length: 4 4\r\n", b"abcd"),
    "empty length": post(b"Content-Length: \r\n"),
    "length with a fraction": post(b"Content-Length: 4.0\r\n", b"abcd"),
    "length that overflows": post(b"Content-Length: 18446744073709551620\r\n", b"abcd"),
    "length with other digits": post("Content-Length: ٤\r\n".encode(), b"abcd"),
    "two codings": post(TE + TE, b"0\r\n\r\n"),
    "unknown coding": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "chunked not last": post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "a coding before chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n"),
    "coding after a tab and VT": post(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"),
    "coding in quotes": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "empty coding": post(b"Transfer-Encoding:\r\n"),
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + TE + b"\r\n0\r\n\r\n",
    "space before the colon": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "tab before the colon": post(b"Content-Length\t: 4\r\n", b"abcd"),
    "folded line": post(b"X: a\r\n Transfer-Encoding: chunked\r\n"),
    "folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "space before the first field": b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "bare LF after the start line": b"GET / HTTP/1.1\nHost: www.example.com\r\n\r\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nX: y\nHost: www.example.com\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\n",
    "bare CR in a value": get(b"X: a\rTransfer-Encoding: chunked\r\n"),
    "bare CR at the end of a value": get(b"X: a\r\r\n"),
    "NUL in a value": get(b"X: a\0b\r\n"),
    "NUL in a name": get(b"X\0: a\r\n"),
    "control byte in a name": get(b"X\x01: a\r\n"),
    "8-bit byte in a name": get(b"X\xe9: a\r\n"),
    "empty name": get(b": a\r\n"),
    "no colon": get(b"X\r\n"),
    "length in disguise": post(b"Content_Length: 4\r\n"),
    "coding in disguise": post(b"Transfer_Encoding: chunked\r\n"),
    "our field in disguise": get(b"X_Forwarded-For: 6.6.6.6\r\n"),
    "chunk size with a prefix": post(TE, b"0x4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a plus": post(TE, b"+4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a space": post(TE, b"4 \r\nabcd\r\n0\r\n\r\n"),
    "chunk size that overflows": post(TE, b"10000000000000004\r\nabcd\r\n0\r\n\r\n"),
    "empty chunk size": post(TE, b"\r\nabcd\r\n0\r\n\r\n"),
    "chunk size before bare LF": post(TE, b"4\nabcd\r\n0\r\n\r\n"),
    "extension with bare CR": post(TE, b"4;a\rb\r\nabcd\r\n0\r\n\r\n"),
    "extension with bare LF": post(TE, b"4;a\nabcd\r\n0\r\n\r\n"),
    "endless extension": post(TE, b"4;" + b"a" * 5000 + b"\r\nabcd\r\n0\r\n\r\n"),
    "chunk longer than it says": post(TE, b"4\r\nabcdef\r\n0\r\n\r\n"),
    "chunk without its end": post(TE, b"4\r\nabcd0\r\n\r\n"),
    "trailer that is folded": post(TE, b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer that is a request": post(TE, b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    "endless trailers": post(TE, b"0\r\n" + b"A: bcdefgh\r\n" * 5000 + b"\r\n"),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "no Host in HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "two Hosts": get(b"Host: www.example.com\r\n"),
    "two different Hosts": get(b"Host: other.example\r\n"),
    "empty Host": b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: www.example.com/x\r\n\r\n",
    "Host with a user": b"GET / HTTP/1.1\r\nHost: u@www.example.com\r\n\r\n",
    "Host with a space": b"GET / HTTP/1.1\r\nHost: www.example.com x\r\n\r\n",
    "Host with two ports": b"GET / HTTP/1.1\r\nHost: www.example.com:1:2\r\n\r\n",
    "Host with a huge port": b"GET / HTTP/1.1\r\nHost: www.example.com:99999\r\n\r\n",
    "Host list": b"GET / HTTP/1.1\r\nHost: www.example.com, other.example\r\n\r\n",
    "target of another host": b"GET http://other.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a user": b"GET http://u@www.example.com/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a space": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with a tab": b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with NUL": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with an 8-bit byte": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "target without a slash": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk for GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces in the start line": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the start line": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space after the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": b"GET / RTSP/1.0\r\n" + HOST + b"\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n",
    "lower-case version": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "lower-case method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
@pytest_twisted.ensureDeferred
async def test_it_is_refused_and_nothing_is_smuggled(sent: bytes, split: bool) -> None:
    async with running(lambda _side, _head: None, limits=Limits(linger_seconds=0.1)) as run:
        visitor = await run.visit()
        if split and len(sent) < 400:
            for byte in sent + SMUGGLED:
                visitor.send(bytes([byte]))
        else:
            visitor.send(sent + SMUGGLED)
        data = await visitor.until_closed()
        assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n"), data[:200]
        assert data.count(b"HTTP/1.1 ") == 1
        assert b"\r\nConnection: close\r\n" in data
        # A head may have gone out before a bad body was seen; a second one never.
        assert len(run.origin.heads) <= 1
        assert not any(b"smuggled" in head for head in run.origin.heads)
        assert not any(b"smuggled" in side.extra for side in run.origin.connections)
        # What began and failed is a row; what was no request is none.
        assert [row.reason for row in run.rows] in ([], ["bad-request"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 60_000, 414),
        (get(b"X: " + b"a" * 40_000 + b"\r\n"), 431),
        (get(b"X: " + b"a" * 40_000), 431),
        (get(b"X: a\r\n" * 100), 431),
        (b"\r\n" * 20_000, 431),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_too_large_is_named(sent: bytes, status: int) -> None:
    async with running(limits=Limits(linger_seconds=0.1)) as run:
        visitor = await run.visit(sent)
        data = await visitor.until_closed()
        assert data.startswith(b"HTTP/1.1 %d " % status), data[:100]
        assert not run.origin.heads


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n" + get(b""),
        get(b"X:\r\nY: \t \r\n"),
        get(b"X: caf\xe9 \x80\r\n"),
        get(b"x_custom_field: a\r\n"),
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /%00%ff//../a;b?c[]=d&&=% HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nhOST:www.EXAMPLE.com.:80  \r\n\r\n",
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_unusual_but_clear_passes(sent: bytes) -> None:
    async with running() as run:
        visitor = await run.visit(sent)
        await visitor.until_has(b"hello")
        (head,) = run.origin.heads
        assert head.split(b"\r\n")[0] == sent.strip().split(b"\r\n")[0]
