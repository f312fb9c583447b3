"""From bytes to a request: heads in any pieces, and what is understood of them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.framing import CHUNKED
from watchducks.proxy.heads import AnswerHeadReader, BadHead, HeadProblem, RequestHeadReader
from watchducks.proxy.request import Request, read_authority, read_request

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
