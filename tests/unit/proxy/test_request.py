"""From bytes to a request: heads in any pieces, and what is understood of them."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.fuzzing import mutate
from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.framing import CHUNKED
from watchducks.proxy.heads import AnswerHeadReader, BadHead, HeadProblem, RequestHeadReader
from watchducks.proxy.limits import Limits
from watchducks.proxy.request import RepeatedHead, Request, read_authority, read_request

HEAD = (
    b"POST /a%20b?c=%2F HTTP/1.1\r\nHost: WWW.Example.com.:8080\r\nX-Empty:\r\n"
    b"Connection: Keep-Alive, X-Hop\r\nUser-Agent: duck\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def new_head() -> RequestHeadReader:
    return RequestHeadReader(max_bytes=1000, max_fields=20, max_target_bytes=100)


def request_of(data: bytes) -> Request:
    head = new_head()
    assert head.feed(data) == b""
    return read_request(head)


@given(st.lists(st.integers(1, len(HEAD) - 1), unique=True, max_size=30), st.binary(max_size=9))
def test_a_head_is_the_same_however_it_is_cut(cuts: list[int], after: bytes) -> None:
    head, rest, at = new_head(), None, 0
    for end in [*sorted(cuts), len(HEAD + after)]:
        piece = (HEAD + after)[at:end]
        at = end
        rest = rest + piece if rest is not None else head.feed(piece)
    assert rest == after
    request = read_request(head)
    assert request.method == b"POST"
    assert request.target == b"/a%20b?c=%2F"
    assert request.path == b"/a%20b"
    assert request.host == "www.example.com"
    assert request.authority == b"WWW.Example.com.:8080"
    assert request.length == CHUNKED
    assert request.options == {b"keep-alive", b"x-hop"}
    assert request.user_agent == b"duck"
    assert (b"X-Empty", b"") in request.fields
    assert not request.replayable


def test_a_head_byte_by_byte_after_empty_lines() -> None:
    head = new_head()
    for byte in (b"\r\n\r\n" + HEAD)[:-1]:
        assert head.feed(bytes([byte])) is None
    assert head.feed(HEAD[-1:]) == b""
    assert read_request(head).host == "www.example.com"


@given(st.binary(max_size=300))
def test_bytes_are_a_head_or_not_but_never_anything_else(data: bytes) -> None:
    for head in (new_head(), AnswerHeadReader(1000, 20)):
        with suppress(BadHead):
            head.feed(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET /" + b"a" * 200, HeadProblem.TARGET_TOO_LONG),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 2000, HeadProblem.TOO_LARGE),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 21 + b"\r\n", HeadProblem.TOO_LARGE),
        (b"\r\n" * 600, HeadProblem.TOO_LARGE),
        (b"GET / HTTP/1.1\nHost: a", HeadProblem.SYNTAX),
        (b"GET  / HTTP/1.1\r\n\r\n", HeadProblem.SYNTAX),
        (b"GET / RTSP/1.0\r\n\r\n", HeadProblem.SYNTAX),
    ],
)
def test_what_is_wrong_with_a_head_is_named(data: bytes, problem: HeadProblem) -> None:
    with pytest.raises(BadHead) as raised:
        new_head().feed(data)
    assert raised.value.problem is problem


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"a.example", "a.example"),
        (b"A.Example.", "a.example"),
        (b"a.example:443", "a.example"),
        (b"a_b.example:", "a_b.example"),
        (b"192.0.2.1:80", "192.0.2.1"),
        (b"[2001:DB8::1]:80", "[2001:db8::1]"),
    ],
)
def test_authorities(authority: bytes, host: str) -> None:
    assert read_authority(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b".a",
        b"a..b",
        b"-a",
        b"a:b",
        b"a:1:2",
        b"a:65536",
        b"a b",
        b"a/b",
        b"a@b",
        b"a,b",
        b"a%62",
        b"[::1",
        b"::1",
        b"a" * 300,
        "é".encode(),
    ],
)
def test_what_is_no_authority(authority: bytes) -> None:
    with pytest.raises(Refusal):
        read_authority(authority)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET http://a.example HTTP/1.1", b"/"),
        (b"GET HTTPS://A.example:8/x?y HTTP/1.1", b"/x?y"),
        (b"GET http://a.example?y HTTP/1.1", b"/?y"),
        (b"OPTIONS http://a.example HTTP/1.1", b"*"),
        (b"OPTIONS * HTTP/1.1", b"*"),
        (b"GET //b/..;/%2e HTTP/1.1", b"//b/..;/%2e"),
    ],
)
def test_targets(line: bytes, target: bytes) -> None:
    assert request_of(line + b"\r\nHost: a.example\r\n\r\n").target == target


@pytest.mark.parametrize(
    ("fields", "keep_alive"),
    [
        (b"HTTP/1.1\r\nHost: a\r\n", True),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: , CLOSE\r\n", False),
        (b"HTTP/1.0\r\nHost: a\r\n", False),
        (b"HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n", False),
    ],
)
def test_who_may_send_another_request(fields: bytes, keep_alive: bool) -> None:
    assert request_of(b"GET / " + fields + b"\r\n").keep_alive is keep_alive


def test_connect_is_refused_before_anything_else() -> None:
    head = new_head()
    head.feed(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n")
    with pytest.raises(Refusal) as raised:
        read_request(head)
    assert raised.value.reason is Reason.METHOD_REFUSED


BROWSERS = b"Host: www.example.com\r\nUser-Agent: duck\r\nCookie: a=b\r\n\r\n"
LIMITS = Limits(head_bytes=1000, head_fields=20, target_bytes=100)


def repeated(line: bytes) -> RepeatedHead:
    head = line + b"\r\n" + BROWSERS
    known = RepeatedHead.of(head, request_of(head), LIMITS)
    assert known is not None
    return known


def test_a_head_with_another_target_is_the_request_that_it_would_be_anew() -> None:
    known = repeated(b"GET /first HTTP/1.1")
    for target in (b"/", b"/%20?a=b&c", b"/" + b"x" * 99, "/ü".encode(), b"//www.example.com/"):
        data = b"GET " + target + b" HTTP/1.1\r\n" + BROWSERS
        assert known.read(data) == request_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HEAD /first HTTP/1.1\r\n" + BROWSERS,
        b"PUT /first HTTP/1.1\r\n" + BROWSERS,
        b"GET /first HTTP/1.0\r\n" + BROWSERS,
        b"GET /first HTTP/1.1\r\nX: y\r\n" + BROWSERS,
        b"GET /first HTTP/1.1\r\n" + BROWSERS + b"G",
        b"GET /first HTTP/1.1\r\n" + BROWSERS + b"GET /next HTTP/1.1\r\n" + BROWSERS,
        (b"GET /first HTTP/1.1\r\n" + BROWSERS)[:-1],
        b"GET /a b HTTP/1.1\r\n" + BROWSERS,
        b"GET /a#b HTTP/1.1\r\n" + BROWSERS,
        b"GET /\x7f HTTP/1.1\r\n" + BROWSERS,
        b"GET /a\r\nb HTTP/1.1\r\n" + BROWSERS,
        b"GET  HTTP/1.1\r\n" + BROWSERS,
        b"GET HTTP/1.1\r\n" + BROWSERS,
        b"GET http://www.example.com/ HTTP/1.1\r\n" + BROWSERS,
        b"GET /" + b"x" * 100 + b" HTTP/1.1\r\n" + BROWSERS,
        b"\r\nGET /first HTTP/1.1\r\n" + BROWSERS,
        b"GET ",
        b" HTTP/1.1\r\n" + BROWSERS,
    ],
)
def test_whatever_else_differs_is_read_anew(data: bytes) -> None:
    assert repeated(b"GET /first HTTP/1.1").read(data) is None


@given(st.integers(0, 1 << 32))
def test_no_mutation_is_taken_for_the_last_head_unless_it_is_one(seed: int) -> None:
    chance = random.Random(seed)
    known = repeated(b"GET /first HTTP/1.1")
    data = mutate(chance, b"GET /second HTTP/1.1\r\n" + BROWSERS)
    read = known.read(data)
    assert read is None or read == request_of(data)


def test_a_head_that_would_be_too_long_is_read_anew() -> None:
    limits = replace(LIMITS, head_bytes=len(b"GET /first HTTP/1.1\r\n" + BROWSERS) + 3)
    head = b"GET /first HTTP/1.1\r\n" + BROWSERS
    known = RepeatedHead.of(head, request_of(head), limits)
    assert known is not None
    assert known.read(head.replace(b"/first", b"/firs123" + b"t")) is not None
    assert known.read(head.replace(b"/first", b"/firs1234t")) is None


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 4\r\n\r\n",
        b"GET http://www.example.com/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: www.example.com\r\nX: " + b"x" * 2048 + b"\r\n\r\n",
    ],
)
def test_heads_that_are_not_kept(head: bytes) -> None:
    reader = RequestHeadReader(max_bytes=5000, max_fields=20, max_target_bytes=100)
    assert reader.feed(head) == b""
    assert RepeatedHead.of(head, read_request(reader), LIMITS) is None
