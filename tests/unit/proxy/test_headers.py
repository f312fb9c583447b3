"""Which header fields go where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.framing import CHUNKED, UNTIL_CLOSE
from watchducks.proxy.headers import (
    VisitorFields,
    connection_options,
    interim_to_visitor,
    origin_head,
    request_id_line,
    to_origin,
    to_visitor,
)
from watchducks.proxy.heads import Fields

# Written out here, so that a name that is lost there is missed here.
HOP_BY_HOP = frozenset(
    b"connection http2-settings keep-alive proxy-authenticate proxy-authorization proxy-connection"
    b" te trailer transfer-encoding upgrade".split()
)
OURS = frozenset(
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip"
    b" x-request-id".split()
)
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

tokens = st.lists(st.sampled_from(list(TOKEN)), min_size=1, max_size=12).map(bytes)
special = st.sampled_from(sorted(HOP_BY_HOP | OURS | {b"host", b"content-length", b"via"}))
cased = st.tuples(special, st.booleans()).map(lambda pair: pair[0].title() if pair[1] else pair[0])
VISIBLE = {9, *range(32, 127), *range(128, 256)}
values = st.binary(max_size=20).map(lambda b: bytes(c for c in b if c in VISIBLE))
plain = st.lists(st.tuples(tokens | cased, values), max_size=12)


@st.composite
def messages(draw: st.DrawFn) -> Fields:
    """Fields with Connection fields that name some of them."""
    fields = draw(plain)
    names = [name for name, _ in fields] + [b"close", b"keep-alive", b"X-Absent"]
    options = draw(st.lists(st.sampled_from(names), max_size=4))
    joiner = draw(st.sampled_from([b",", b", ", b" ,\t,"]))
    for option in [joiner.join(options)] if draw(st.booleans()) else options:
        at = draw(st.integers(0, len(fields)))
        fields.insert(at, (draw(st.sampled_from([b"Connection", b"connection"])), option))
    return fields


def options_of(fields: Fields) -> frozenset[bytes]:
    return connection_options(v for n, v in fields if n.lower() == b"connection")


def names_of(lines: bytes) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in lines.split(b"\r\n") if line]


VISITOR = VisitorFields("192.0.2.7", "https")


def head_of(
    fields: Fields, length: int = 0, method: bytes = b"GET", protocol: str = "HTTP/1.1"
) -> bytes:
    lines = to_origin(
        method,
        b"Example.com:8080",
        fields,
        protocol=protocol,
        options=options_of(fields),
        length=length,
        visitor=VISITOR,
    )
    return origin_head(method, b"/", lines, b"id-1")


@given(messages(), st.sampled_from([0, 5, CHUNKED]))
def test_no_hop_by_hop_field_reaches_the_origin(fields: Fields, length: int) -> None:
    head = head_of(fields, length)
    names = names_of(head.split(b"\r\n", 1)[1])
    framing = [b"transfer-encoding"] if length == CHUNKED else []
    # What announces the trailers of a chunked body passes as they do.
    of_the_hop = HOP_BY_HOP - {b"trailer"} if length == CHUNKED else HOP_BY_HOP
    assert [n for n in names if n in of_the_hop] == framing
    assert names.count(b"host") == 1
    assert names.count(b"content-length") == (1 if length > 0 else 0)
    for name in OURS:
        assert names.count(name) == (name not in (b"x-forwarded-port", b"x-real-ip"))
    assert b"\r\nX-Forwarded-For: 192.0.2.7\r\n" in head
    named = options_of(fields) - {b"host", b"content-length", b"via"} - OURS - HOP_BY_HOP
    assert not named & set(names) - {b"via"}


@given(messages(), st.sampled_from([0, 5, CHUNKED, UNTIL_CLOSE]), st.sampled_from([200, 204, 304]))
def test_no_hop_by_hop_field_reaches_the_visitor(fields: Fields, length: int, status: int) -> None:
    options = options_of(fields)
    lines = to_visitor(fields, minor=1, options=options, length=length, status=status)
    names = names_of(lines + request_id_line(b"id-1"))
    assert not HOP_BY_HOP & set(names)
    assert not (options - {b"content-length", b"via", b"x-request-id"}) & set(names)
    assert names.count(b"x-request-id") == 1
    assert names[-2:] == [b"via", b"x-request-id"]
    if length < 0 or status == 204:
        assert b"content-length" not in names


@given(messages())
def test_what_is_left_keeps_its_order_and_spelling(fields: Fields) -> None:
    options = options_of(fields)
    lines = interim_to_visitor(fields, options)
    kept = iter(fields)
    for line in lines:
        assert any(line == b"%b: %b\r\n" % field for field in kept)
    dropped = HOP_BY_HOP | options | {b"x-request-id", b"content-length"}
    assert len(lines) == sum(name.lower() not in dropped for name, _ in fields)


def test_the_origin_is_told_about_an_ipv6_visitor_as_rfc_7239_says() -> None:
    lines = VisitorFields("2001:db8::7", "http").of_request(b"a.example")
    assert lines == (
        b"X-Forwarded-For: 2001:db8::7\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: a.example\r\n"
        b'Forwarded: for="[2001:db8::7]";proto=http;host="a.example"\r\n'
    )


@pytest.mark.parametrize(
    ("protocol", "version"), [("HTTP/1.0", b"1.0"), ("HTTP/1.1", b"1.1"), ("HTTP/2", b"2.0")]
)
def test_via_is_appended_and_says_the_version_that_was_received(
    protocol: str, version: bytes
) -> None:
    head = head_of([(b"Via", b"1.1 other")], protocol=protocol)
    after = head.partition(b"\r\nVia: 1.1 other")[2]
    assert b"\r\nVia: %b watchducks\r\n" % version in after


def test_expect_is_not_passed_for_a_visitor_who_cannot_be_told_to_continue() -> None:
    expect = [(b"Expect", b"100-continue")]
    assert b"Expect" in head_of(expect, 5, b"POST")
    assert b"Expect" not in head_of(expect, 5, b"POST", "HTTP/1.0")


def test_a_post_without_a_body_says_so() -> None:
    assert b"\r\nContent-Length: 0\r\n" in head_of([], 0, b"POST")
    assert b"Content-Length" not in head_of([], 0, b"GET")
