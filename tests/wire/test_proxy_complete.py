"""What HTTP/1.1 has besides plain requests and answers: it passes, and is told rightly."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from tests.wire.proxying import HOST, route_to
from tests.wire.world import GET, OK, World
from watchducks.model.routing import Route
from watchducks.model.sites import SiteChoices
from watchducks.proxy.limits import Limits
from watchducks.proxy.peers import Peer

ODD_TARGET = b"//a/../b;c=%2f%zz?d=%&&[]{}|\"<>\\^`'"
HOST_LINE = b"Host: www.example.com\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n5\r\nhello\r\n"


def get(fields: bytes = b"", target: bytes = b"/", method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, HOST_LINE, fields)


def with_choices(world: World, choices: SiteChoices) -> None:
    routes = world.context.routes.routes  # type: ignore[attr-defined]
    routes[HOST] = replace(routes[HOST], choices=choices)


def over_https(world: World) -> None:
    world.visitor.scheme = "https"


# --- trailers ---


def test_trailers_of_an_answer_pass_to_a_visitor_who_takes_them() -> None:
    world = World()
    world.receive(get(b"TE: trailers\r\nConnection: TE\r\n"))
    origin, transport = world.origins[0]
    assert b"\r\nTE: trailers\r\n" in transport.value()
    assert b"\r\nConnection: TE\r\n" in transport.value()
    origin.dataReceived(CHUNKED)
    origin.dataReceived(
        b"0\r\nDigest: abc\r\nContent-Length: 7\r\nSet-Cookie: a=b\r\nTransfer_Encoding: x\r\n\r\n"
    )
    assert world.transport.value().endswith(b"hello\r\n0\r\nDigest: abc\r\n\r\n")
    assert b"\r\nTrailer: Digest\r\n" in world.transport.value()
    assert [row.response_bytes for row in world.rows] == [5]


@pytest.mark.parametrize("fields", [b"", b"TE: trailers\r\n", b"TE: gzip\r\nConnection: TE\r\n"])
def test_trailers_of_an_answer_do_not_pass_unasked(fields: bytes) -> None:
    world = World()
    world.receive(get(fields))
    origin, transport = world.origins[0]
    assert b"\r\nTE:" not in transport.value()
    origin.dataReceived(CHUNKED + b"0\r\nDigest: abc\r\n\r\n")
    assert world.transport.value().endswith(b"hello\r\n0\r\n\r\n")
    assert b"Trailer" not in world.transport.value()


def test_trailers_of_a_request_pass_but_for_those_that_change_its_meaning() -> None:
    world = World()
    world.receive(
        b"POST / HTTP/1.1\r\n"
        + HOST_LINE
        + b"Transfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n"
        b"3\r\nabc\r\n0\r\nDigest: x\r\nHost: other.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
        + GET
    )
    origin, transport = world.origins[0]
    assert b"\r\nTrailer: Digest\r\n" in transport.value()
    assert transport.value().endswith(b"3\r\nabc\r\n0\r\nDigest: x\r\n\r\n")
    origin.dataReceived(OK)
    assert transport.value().count(b" HTTP/1.1\r\n") == 2


# --- targets, methods, fields ---


@pytest.mark.parametrize(
    ("method", "target", "sent"),
    [
        (b"OPTIONS", b"*", b"*"),
        (b"OPTIONS", b"http://www.example.com", b"*"),
        (b"GET", b"http://WWW.example.com/a?b", b"/a?b"),
        (b"GET", b"https://www.example.com:443?b", b"/?b"),
        (b"PROPFIND", ODD_TARGET, ODD_TARGET),
        (b"BREW", b"/\xff\xc3\xa9?\x80", b"/\xff\xc3\xa9?\x80"),
    ],
)  # fmt: skip
def test_methods_and_targets_pass_byte_for_byte(method: bytes, target: bytes, sent: bytes) -> None:
    world = World()
    world.receive(get(target=target, method=method))
    assert world.sent_to_origins().startswith(method + b" " + sent + b" HTTP/1.1\r\n")


@pytest.mark.parametrize("authority", [b"www.example.com:8080", b"WWW.EXAMPLE.com.:80"])
def test_host_with_a_port_passes_as_it_was_sent(authority: bytes) -> None:
    world = World()
    world.receive(b"GET / HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n")
    head = world.sent_to_origins()
    assert b"\r\nHost: " + authority + b"\r\n" in head
    assert b"\r\nX-Forwarded-Host: " + authority + b"\r\n" in head
    world.origins[0][0].dataReceived(OK)
    assert world.rows[0].host == HOST


def test_range_and_conditional_requests_and_their_answers_pass() -> None:
    world = World()
    fields = (
        b'Range: bytes=0-4\r\nIf-Range: "e"\r\nIf-None-Match: W/"x", "y"\r\n'
        b"If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    )
    world.receive(get(fields))
    assert fields in world.sent_to_origins()
    origin, _ = world.origins[0]
    origin.dataReceived(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n"
        b"\r\nhello"
    )
    assert world.transport.value().startswith(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n"
    )
    world.receive(get(fields))
    origin.dataReceived(b'HTTP/1.1 304 Not Modified\r\nETag: "y"\r\nContent-Length: 9\r\n\r\n')
    assert [row.status for row in world.rows] == [206, 304]
    assert world.transport.value().count(b"Content-Length: 9") == 1


def test_many_cookies_stay_apart_and_in_order() -> None:
    world = World()
    world.receive(get(b"Cookie: a=1\r\nCookie: b=2\r\n"))
    assert b"Cookie: a=1\r\nCookie: b=2\r\n" in world.sent_to_origins()
    cookies = b"".join(b"Set-Cookie: c%d=%d, x; Path=/\r\n" % (n, n) for n in range(60))
    origin, _ = world.origins[0]
    origin.dataReceived(b"HTTP/1.1 200 OK\r\n" + cookies + b"Content-Length: 0\r\n\r\n")
    assert cookies in world.transport.value()


# --- loops ---


@pytest.mark.parametrize(
    "value", [b"watchducks", b"other, WatchDucks;v=1", b"a;b=c,watchducks ;d", b"\twatchducks"]
)
def test_a_request_that_comes_back_to_us_is_508_with_a_row(value: bytes) -> None:
    world = World()
    # Connection cannot take the mark away.
    world.receive(get(b"CDN-Loop: " + value + b"\r\nConnection: CDN-Loop\r\n"))
    assert world.transport.value().startswith(b"HTTP/1.1 508 Loop Detected\r\n")
    assert [(row.status, row.reason) for row in world.rows] == [(508, "loop")]
    assert not world.origins


def test_others_in_the_chain_are_kept_and_we_are_added() -> None:
    world = World()
    world.receive(get(b"CDN-Loop: other; a=b\r\nConnection: CDN-Loop\r\nVia: 1.1 other\r\n"))
    head = world.sent_to_origins()
    assert re.findall(rb"\r\nCDN-Loop: (.*)\r", head) == [b"other; a=b", b"watchducks"]
    assert re.findall(rb"\r\nVia: (.*)\r", head) == [b"1.1 other", b"1.1 watchducks"]


def test_what_we_send_is_recognised_when_it_comes_back() -> None:
    world, again = World(), World()
    world.receive(GET)
    again.receive(world.sent_to_origins())
    assert again.transport.value().startswith(b"HTTP/1.1 508 ")


# --- choices of the site ---


@pytest.mark.parametrize(
    ("method", "target", "status", "location"),
    [
        (b"GET", b"/a?b=%20", 301, b"https://www.example.com/a?b=%20"),
        (b"HEAD", b"//evil.example/", 301, b"https://www.example.com//evil.example/"),
        (b"POST", b"/\xff", 308, b"https://www.example.com/%FF"),
        (b"GET", b"http://www.example.com:8080/x", 301, b"https://www.example.com/x"),
    ],
)
def test_http_is_redirected_to_https_if_the_site_wants_that(
    method: bytes, target: bytes, status: int, location: bytes
) -> None:
    world = World()
    with_choices(world, SiteChoices(redirect_to_https=True, hsts_seconds=600))
    world.receive(get(target=target, method=method))
    data = world.transport.value()
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nLocation: " + location + b"\r\n" in data
    assert b"Strict-Transport-Security" not in data  # by http it says nothing (RFC 6797)
    assert [(row.status, row.reason) for row in world.rows] == [(status, "redirect-to-https")]
    assert not world.origins
    world.receive(get())
    assert world.transport.value().count(b"HTTP/1.1 ") == 2


def test_tokens_of_a_ca_and_https_itself_are_never_redirected() -> None:
    world = World()
    with_choices(world, SiteChoices(redirect_to_https=True))
    world.receive(get(target=b"/.well-known/acme-challenge/unknown"))
    assert world.sent_to_origins().startswith(b"GET /.well-known/acme-challenge/unknown HTTP/1.1")
    secure = World()
    with_choices(secure, SiteChoices(redirect_to_https=True))
    over_https(secure)
    secure.receive(GET)
    assert secure.origins


def test_hsts_is_said_by_https_in_place_of_what_the_origin_says() -> None:
    world = World()
    with_choices(world, SiteChoices(hsts_seconds=600))
    over_https(world)
    world.receive(GET)
    origin, _ = world.origins[0]
    origin.dataReceived(
        b"HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=1\r\nContent-Length: 0\r\n\r\n"
    )
    found = re.findall(rb"(?i)strict-transport-security: (.*)\r", world.transport.value())
    assert found == [b"max-age=600"]
    world.receive(get(method=b"TRACE"))  # our own pages say it as well
    assert world.transport.value().count(b"Strict-Transport-Security: max-age=600\r\n") == 2


def test_hsts_is_not_said_by_http() -> None:
    world = World()
    with_choices(world, SiteChoices(hsts_seconds=600))
    world.receive(GET)
    world.origins[0][0].dataReceived(OK)
    assert b"hello" in world.transport.value()
    assert b"Strict-Transport-Security" not in world.transport.value()


def test_without_a_choice_the_origins_word_stands() -> None:
    world = World()
    over_https(world)
    world.receive(GET)
    world.origins[0][0].dataReceived(
        b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n"
    )
    assert world.transport.value().count(b"Strict-Transport-Security: max-age=1\r\n") == 1


# --- rows of what was refused ---


@pytest.mark.parametrize(
    ("sent", "status", "reason", "path"),
    [
        (get(b"X : y\r\n", b"/a?b"), 400, "bad-request", "/a"),
        (get(b"Content-Length: x\r\n", b"/a"), 400, "bad-request", "/a"),
        (get(method=b"CONNECT", target=b"/a"), 405, "method-refused", "/a"),
        (get(target=b"/" + b"a" * 9000), 414, "target-too-long", "/" + "a" * 9000),
        (get(b"X: y\r\n" * 200), 431, "head-too-large", "/"),
        (get(b"X: y\r\n" * 9000), 431, "head-too-large", "/"),
    ],
)
def test_a_refused_request_that_names_a_site_leaves_one_row(
    sent: bytes, status: int, reason: str, path: str
) -> None:
    world = World()
    world.receive(sent.replace(HOST_LINE, HOST_LINE + b"User-Agent: duck\r\n"))
    (row,) = world.rows
    assert (row.status, row.reason, row.path) == (status, reason, path)
    assert (row.host, row.site_id, row.user_agent) == (HOST, 7, "duck")
    assert row.client == "192.0.2.9"
    assert row.response_bytes == len(world.transport.value().partition(b"\r\n\r\n")[2]) > 0
    assert not world.origins


def test_a_head_that_never_ends_leaves_one_row_if_it_got_to_its_host() -> None:
    world = World(Limits(head_seconds=5))
    world.receive(get()[:-2])
    world.turn(6)
    assert [(row.status, row.reason) for row in world.rows] == [(408, "head-timeout")]
    nameless = World(Limits(head_seconds=5))
    nameless.receive(b"GET / HTTP/1.1\r\n")
    nameless.turn(6)
    assert nameless.transport.value().startswith(b"HTTP/1.1 408 ")
    assert not nameless.rows


@pytest.mark.parametrize("found", [True, False])
def test_a_refused_request_for_a_host_that_must_be_looked_up(found: bool) -> None:
    world = World()
    answer: Deferred[Route | None] = Deferred()
    world.context.routes.slow["slow.example"] = answer  # type: ignore[attr-defined]
    world.receive(b"GET  / HTTP/1.1\r\nHost: slow.example\r\n\r\n")
    assert world.transport.value().startswith(b"HTTP/1.1 400 ")
    assert not world.rows
    answer.callback(route_to(1, site_id=9) if found else None)
    assert [row.site_id for row in world.rows] == ([9] if found else [])


# --- who asks ---


def test_a_trusted_peer_says_for_whom_each_request_is() -> None:
    world = World(peer=Peer("192.0.2.9", trusted=True))
    world.context.trusted_networks = (ipaddress.ip_network("192.0.2.0/24"),)
    world.receive(GET)
    origin, transport = world.origins[0]
    origin.dataReceived(OK)
    assert world.rows[-1].client == "192.0.2.9"
    for forwarded, client in ((b"198.51.100.7", "198.51.100.7"), (b"2001:db8::1", "2001:db8::1")):
        world.receive(get(b"X-Forwarded-For: 6.6.6.6, " + forwarded + b"\r\n"))
        assert b"\r\nX-Forwarded-For: %b\r\n" % forwarded in transport.value()
        assert b"6.6.6.6" not in transport.value()
        origin.dataReceived(OK)
        assert world.rows[-1].client == client
    world.receive(GET)
    origin.dataReceived(OK)
    assert world.rows[-1].client == "192.0.2.9"


def test_a_stranger_says_nothing_about_himself() -> None:
    world = World(peer=Peer("192.0.2.9", trusted=False))
    world.receive(get(b"X-Forwarded-For: 198.51.100.7\r\nForwarded: for=198.51.100.7\r\n"))
    assert b"198.51.100.7" not in world.sent_to_origins()
    world.origins[0][0].dataReceived(OK)
    assert world.rows[0].client == "192.0.2.9"


def test_who_is_cut_off_when_the_proxy_stops_leaves_a_row_that_says_so() -> None:
    world = World()
    world.receive(GET)
    world.visitor.abort()
    assert [(row.status, row.reason) for row in world.rows] == [(499, "stopping")]
    assert world.origins[0][1].disconnected


# --- answers as strict as requests ---


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n X: folded at once\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_an_answer_that_can_be_read_in_two_ways_is_502(answer: bytes, bytewise: bool) -> None:
    world = World()
    world.receive(GET)
    origin, transport = world.origins[0]
    for piece in [answer[n : n + 1] for n in range(len(answer))] if bytewise else [answer]:
        if not transport.disconnected:
            origin.dataReceived(piece)
    assert world.transport.value().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert [(row.status, row.reason) for row in world.rows] == [(502, "bad-answer")]
    assert transport.disconnected
    assert world.context.pools.idle == 0


def test_an_answer_without_a_phrase_or_with_8_bit_bytes_passes() -> None:
    world = World()
    for answer in (
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 Tr\xe8s bien\r\nX: \xff\r\nContent-Length: 0\r\n\r\n",
    ):
        world.transport.clear()
        world.receive(GET)
        world.origins[0][0].dataReceived(answer)
        assert world.transport.value().startswith(b"HTTP/1.1 200 ")
    assert b"\r\nX: \xff\r\n" in world.transport.value()


# --- what lasts ---


def test_an_event_stream_lives_as_long_as_something_comes() -> None:
    world = World(Limits(answer_idle_seconds=300))
    world.receive(GET)
    origin, _ = world.origins[0]
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    for _ in range(20):
        world.turn(200)
        before = len(world.transport.value())
        origin.dataReceived(b"data: 1\n\n")
        assert world.transport.value()[before:] == b"9\r\ndata: 1\n\n\r\n"  # at once
    assert not world.rows
    world.turn(301)
    assert [(row.status, row.reason) for row in world.rows] == [(200, "answer-timeout")]
    assert world.rows[0].response_bytes == 180
    assert world.rows[0].duration_us >= 4_300_000_000


def test_a_long_poll_of_a_minute_is_answered() -> None:
    world = World()
    world.receive(GET)
    world.turn(65)
    world.origins[0][0].dataReceived(OK)
    assert [(row.status, row.reason) for row in world.rows] == [(200, "")]
