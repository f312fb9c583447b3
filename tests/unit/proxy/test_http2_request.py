"""HTTP/2 field sections become requests, or are refused: none becomes two for an origin."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.framing import CHUNKED
from watchducks.proxy.headers import VisitorFields, origin_head
from watchducks.proxy.heads import RequestHeadReader
from watchducks.proxy.http2_request import (
    RequestReader,
    Section,
    read_request,
    read_trailers,
    salvage,
    trailer_section,
)
from watchducks.proxy.limits import Limits
from watchducks.proxy.request import Request

LIMITS = Limits()
BEGIN: Section = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"www.example.com"),
    (b":path", b"/"),
]


def read(section: Section, *, ended: bool = True) -> Request:
    return read_request(section, scheme=b"https", ended=ended, limits=LIMITS)


def with_(name: bytes, value: bytes) -> Section:
    """The usual section with one pseudo-field changed."""
    return [(key, value if key == name else old) for key, old in BEGIN]


def without(name: bytes) -> Section:
    return [field for field in BEGIN if field[0] != name]


REFUSED: dict[str, Section] = {
    "CR LF in a value": [*BEGIN, (b"x", b"a\r\nTransfer-Encoding: chunked")],
    "LF in a value": [*BEGIN, (b"x", b"a\nb: c")],
    "CR in a value": [*BEGIN, (b"x", b"a\rb")],
    "NUL in a value": [*BEGIN, (b"x", b"a\0b")],
    "DEL in a value": [*BEGIN, (b"x", b"a\x7fb")],
    "control byte in a value": [*BEGIN, (b"x", b"a\x01b")],
    "space before a value": [*BEGIN, (b"x", b" a")],
    "space after a value": [*BEGIN, (b"x", b"a ")],
    "tab after a value": [*BEGIN, (b"x", b"a\t")],
    "value of a space": [*BEGIN, (b"x", b" ")],
    "CR LF in a name": [*BEGIN, (b"x\r\ny", b"a")],
    "colon in a name": [*BEGIN, (b"transfer-encoding: chunked\r\nx", b"a")],
    "colon at the end of a name": [*BEGIN, (b"x:", b"a")],
    "space in a name": [*BEGIN, (b"x y", b"a")],
    "space after a name": [*BEGIN, (b"content-length ", b"1")],
    "NUL in a name": [*BEGIN, (b"x\0", b"a")],
    "8-bit byte in a name": [*BEGIN, (b"x\xe9", b"a")],
    "upper-case name": [*BEGIN, (b"X", b"a")],
    "one upper-case letter": [*BEGIN, (b"content-Length", b"0")],
    "empty name": [*BEGIN, (b"", b"a")],
    "connection": [*BEGIN, (b"connection", b"close")],
    "connection that names a field": [*BEGIN, (b"connection", b"x-forwarded-for")],
    "keep-alive": [*BEGIN, (b"keep-alive", b"timeout=5")],
    "proxy-connection": [*BEGIN, (b"proxy-connection", b"close")],
    "transfer-encoding": [*BEGIN, (b"transfer-encoding", b"chunked")],
    "upgrade": [*BEGIN, (b"upgrade", b"websocket")],
    "http2-settings": [*BEGIN, (b"http2-settings", b"AAMAAABkAAQ")],
    "te besides trailers": [*BEGIN, (b"te", b"gzip")],
    "te with more than trailers": [*BEGIN, (b"te", b"trailers, gzip")],
    "length in disguise": [*BEGIN, (b"content_length", b"4")],
    "coding in disguise": [*BEGIN, (b"transfer_encoding", b"chunked")],
    "our field in disguise": [*BEGIN, (b"x_forwarded-for", b"6.6.6.6")],
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "no authority": without(b":authority"),
    "two methods": [(b":method", b"GET"), *BEGIN],
    "two paths": [*BEGIN, (b":path", b"/smuggled")],
    "two authorities": [*BEGIN, (b":authority", b"other.example")],
    "pseudo-field after a field": [*without(b":path"), (b"x", b"a"), (b":path", b"/")],
    "unknown pseudo-field": [*BEGIN, (b":x", b"a")],
    "pseudo-field of an answer": [*BEGIN, (b":status", b"200")],
    "upper-case pseudo-field": [*without(b":path"), (b":Path", b"/")],
    "method with a space": with_(b":method", b"GET /smuggled HTTP/1.1\r\nx:"),
    "method with a tab": with_(b":method", b"GET\t"),
    "lower-case method": with_(b":method", b"get"),
    "empty method": with_(b":method", b""),
    "path with a space": with_(b":path", b"/ HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled"),
    "path with CR": with_(b":path", b"/\r"),
    "path with LF": with_(b":path", b"/\n"),
    "path with a tab": with_(b":path", b"/a\tb"),
    "path with NUL": with_(b":path", b"/\0"),
    "path with a fragment": with_(b":path", b"/#a"),
    "empty path": with_(b":path", b""),
    "path without a slash": with_(b":path", b"a"),
    "absolute path": with_(b":path", b"http://other.example/"),
    "asterisk for GET": with_(b":path", b"*"),
    "another scheme": with_(b":scheme", b"http"),
    "no known scheme": with_(b":scheme", b"ftp"),
    "scheme with a line end": with_(b":scheme", b"https\r\n"),
    "empty authority": with_(b":authority", b""),
    "authority with a user": with_(b":authority", b"u@www.example.com"),
    "authority with a path": with_(b":authority", b"www.example.com/x"),
    "authority with a space": with_(b":authority", b"www.example.com x"),
    "authority with a line end": with_(b":authority", b"www.example.com\r\nX: y"),
    "authority with a huge port": with_(b":authority", b"www.example.com:99999"),
    "another host": [*BEGIN, (b"host", b"other.example")],
    "two hosts": [*BEGIN, (b"host", b"www.example.com"), (b"host", b"www.example.com")],
    "two hosts alone": [*without(b":authority"), (b"host", b"a.example"), (b"host", b"b.example")],
    "length with a plus": [*BEGIN, (b"content-length", b"+0")],
    "length in hex": [*BEGIN, (b"content-length", b"0x0")],
    "empty length": [*BEGIN, (b"content-length", b"")],
    "length that overflows": [*BEGIN, (b"content-length", b"18446744073709551616")],
    "list of lengths": [*BEGIN, (b"content-length", b"0, 0")],
    "two lengths": [*BEGIN, (b"content-length", b"0"), (b"content-length", b"0")],
    "length of what does not come": [*BEGIN, (b"content-length", b"1")],
    "protocol without CONNECT": [*BEGIN, (b":protocol", b"websocket")],
    "CONNECT without a stream": [*with_(b":method", b"CONNECT"), (b":protocol", b"websocket")],
}


@pytest.mark.parametrize("section", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_understood_otherwise_is_refused(section: Section) -> None:
    with pytest.raises(Refusal) as refusal:
        read(section)
    assert refusal.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (with_(b":method", b"CONNECT"), Reason.METHOD_REFUSED),
        ([(b":method", b"CONNECT"), (b":authority", b"a:443")], Reason.METHOD_REFUSED),
        ([*with_(b":method", b"CONNECT"), (b":protocol", b"ftp")], Reason.METHOD_REFUSED),
        (with_(b":path", b"/" + b"a" * 8192), Reason.TARGET_TOO_LONG),
        ([*BEGIN, (b"x", b"a" * 40_000)], Reason.HEAD_TOO_LARGE),
        ([*BEGIN, *[(b"x", b"a")] * 97], Reason.HEAD_TOO_LARGE),
    ],
)
def test_what_we_do_not_carry_is_named(section: Section, reason: Reason) -> None:
    with pytest.raises(Refusal) as refusal:
        read(section)
    assert refusal.value.reason is reason


def test_a_request_is_what_was_sent() -> None:
    section = [
        *with_(b":path", b"/%00%ff//../a;b?c[]=d&&=%\xff"),
        (b"host", b"www.example.com"),
        (b"user-agent", b"duck"),
        (b"referer", b"https://a.example/"),
        (b"x_custom", b"caf\xe9\tx"),
        (b"empty", b""),
        (b"te", b"trailers"),
        (b"cdn-loop", b"other"),
    ]
    request = read(section)
    assert (request.method, request.target) == (b"GET", b"/%00%ff//../a;b?c[]=d&&=%\xff")
    assert (request.host, request.authority) == ("www.example.com", b"www.example.com")
    assert (request.user_agent, request.referrer) == (b"duck", b"https://a.example/")
    assert (request.length, request.trailers, request.looped) == (0, True, False)
    assert (b"x_custom", b"caf\xe9\tx") in request.fields
    assert read([*BEGIN, (b"cdn-loop", b"watchducks")]).looped


def test_crumbs_of_cookies_are_one_field() -> None:
    crumbs = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]
    fields = read([*BEGIN, *crumbs]).fields
    assert fields == [(b"x", b"y"), (b"cookie", b"a=1; b=2; c=3")]


def test_host_may_say_alone_whom_it_is_for() -> None:
    request = read([*without(b":authority"), (b"host", b"WWW.example.com.:443")])
    assert (request.host, request.authority) == ("www.example.com", b"WWW.example.com.:443")


def test_how_long_a_body_is() -> None:
    post = with_(b":method", b"POST")
    assert read(post).length == 0
    assert read(post, ended=False).length == CHUNKED
    assert read([*post, (b"content-length", b"12")], ended=False).length == 12
    assert read([*post, (b"content-length", b"0")]).length == 0


def test_a_websocket_is_a_get_that_asks_for_an_upgrade() -> None:
    section = [*with_(b":method", b"CONNECT"), (b":protocol", b"websocket")]
    request = read(section, ended=False)
    assert (request.method, request.upgrade, request.length) == (b"GET", b"websocket", 0)
    with pytest.raises(Refusal):
        read([*section, (b"content-length", b"5")], ended=False)


def test_asterisk_is_for_options() -> None:
    section = [
        (name, {b":method": b"OPTIONS", b":path": b"*"}.get(name, value)) for name, value in BEGIN
    ]
    assert read(section).target == b"*"


def test_trailers_are_fields_and_no_more() -> None:
    assert read_trailers([(b"x-sum", b"7")], LIMITS) == [(b"x-sum", b"7")]
    for bad in [(b":path", b"/"), (b"X", b"a"), (b"x", b"a\r\nb"), (b"connection", b"close")]:
        with pytest.raises(Refusal):
            read_trailers([bad], LIMITS)


def test_what_was_refused_can_still_be_counted() -> None:
    section = [*BEGIN, (b"Bad", b"x"), (b"accept-language", b"ko")]
    method, target, fields = salvage(section)
    assert (method, target) == (b"GET", b"/")
    assert fields[0] == (b"host", b"www.example.com")
    assert (b"accept-language", b"ko") in fields
    assert salvage([]) == (b"", b"", [])


def test_trailers_are_written_as_http_2_wants_them() -> None:
    assert trailer_section([(b"X-Sum", b"7 ")]) == [(b"x-sum", b"7")]


NAMES = st.one_of(
    st.sampled_from(
        b":method :scheme :authority :path :protocol host cookie te content-length"
        b" transfer-encoding connection expect x-forwarded-for".split()
    ),
    st.binary(max_size=8),
    st.from_regex(rb"[a-z_-]{1,8}", fullmatch=True),
)
VALUES = st.one_of(
    st.sampled_from([b"GET", b"POST", b"https", b"www.example.com", b"/", b"0", b"5", b"trailers"]),
    st.binary(max_size=12),
    st.from_regex(rb"[ -~\t\r\n]{0,12}", fullmatch=True),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


@given(
    section=st.one_of(
        FIELDS,
        FIELDS.map(lambda fields: [*BEGIN, *fields]),
        st.tuples(st.sampled_from([name for name, _ in BEGIN]), VALUES, FIELDS).map(
            lambda change: [*with_(change[0], change[1]), *change[2]]
        ),
    ),
    ended=st.booleans(),
)
def test_whatever_is_accepted_is_one_request_over_http_1(section: Section, ended: bool) -> None:
    try:
        request = read(section, ended=ended)
    except Refusal:
        return
    lines = request.lines(VisitorFields("192.0.2.1", "https"), "HTTP/2")
    head = origin_head(request.method, request.target, lines, b"id")
    reader = RequestHeadReader(100_000, 1000, 10_000)
    assert reader.feed(head) == b""
    assert (reader.method, reader.target) == (request.method, request.target)
    names = [name.lower() for name, _ in reader.fields]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    # Each of its fields is one of those that were sent, or one of ours.
    ours = b"host cookie connection upgrade te transfer-encoding content-length forwarded via"
    ours += b" x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id cdn-loop"
    sent = {(name, value) for name, value in section}
    for name, value in reader.fields:
        assert (name, value) in sent or name.lower() in ours.split()


FEW: list[Section] = [
    BEGIN,
    *[with_(b":path", path) for path in (b"/a?b", b"", b"a", b"/ b", b"*", b"/" + b"x" * 9000)],
    with_(b":method", b"HEAD"),
    with_(b":method", b"OPTIONS"),
    with_(b":authority", b"other.example"),
    with_(b":scheme", b"http"),
    [*without(b":path"), (b":path", b"/")],
    [(b":path", b"/"), *without(b":path")],
    [*BEGIN, (b"x", b"y")],
    [*BEGIN, (b"x", b"z")],
    [*BEGIN, (b"x", b"z ")],
    [*BEGIN, (b"cookie", b"a=1"), (b"cookie", b"b=2")],
    [*BEGIN, (b"x", b"y" * 3000)],
    [*with_(b":path", b"/long"), (b"x", b"y" * 3000)],
    [*BEGIN, (b"content-length", b"0")],
]


@pytest.mark.parametrize("first", FEW)
def test_requests_one_after_the_other_are_read_as_each_alone(first: Section) -> None:
    limits = Limits(head_bytes=4000)
    visitor = VisitorFields("192.0.2.1", "https")

    def outcome(reader: RequestReader, section: Section, *, ended: bool) -> object:
        try:
            request = reader.read(section, ended=ended)
        except Refusal as refusal:
            return refusal.reason
        return request, request.lines(visitor, "HTTP/2")

    for second, ended in product(FEW, (True, False)):
        reader = RequestReader(scheme=b"https", limits=limits)
        outcome(reader, first, ended=True)
        alone = RequestReader(scheme=b"https", limits=limits)
        assert outcome(reader, second, ended=ended) == outcome(alone, second, ended=ended)


def test_two_requests_at_a_time_are_not_one() -> None:
    reader = RequestReader(scheme=b"https", limits=LIMITS)
    first = reader.read(with_(b":path", b"/one"), ended=True)
    second = reader.read(with_(b":path", b"/two"), ended=True)
    assert (first.target, second.target) == (b"/one", b"/two")
