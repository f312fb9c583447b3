"""Heads that come again, octet for octet: each message is still its own."""

from __future__ import annotations

import re

import pytest

from tests.wire.world import World
from watchducks.model.rows import ASKS_PAGE, IS_PAGE, NO_TRACKING, Row

FIELDS = b" HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: duck\r\n\r\n"
WISHES = b"Sec-Fetch-Dest: document\r\nDNT: 1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def exchange(world: World, request: bytes, *answer: bytes) -> tuple[bytes, bytes]:
    """Return what one exchange sends to the origin and to the visitor."""
    world.receive(request)
    protocol, transport = world.origins[-1]
    for part in answer:
        protocol.dataReceived(part)
    sent, got = transport.value(), world.transport.value()
    transport.clear()
    world.transport.clear()
    return sent, got


def ids_of(data: bytes) -> list[bytes]:
    return re.findall(rb"X-Request-Id: (\S+)", data)


def test_each_of_many_has_its_target_its_id_its_answer_and_its_row() -> None:
    world = World()
    seen: list[bytes] = []
    for number in range(3):
        target, body = b"/%d?q=%d" % (number, number), b"body%d" % number
        sent, got = exchange(world, b"GET " + target + FIELDS, ANSWER + body)
        assert sent.startswith(b"GET " + target + b" HTTP/1.1\r\nHost: www.example.com\r\n")
        assert sent.endswith(b"\r\n\r\n")
        assert sent.count(b"\r\n\r\n") == 1
        assert got.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
        assert got.endswith(b"\r\n\r\n" + body)
        assert got.count(b"\r\n\r\n") == 1
        assert len(ids_of(sent)) == 1
        assert ids_of(sent) == ids_of(got)
        seen += ids_of(sent)
    assert len(set(seen)) == 3
    assert [row.path for row in world.rows] == ["/0", "/1", "/2"]
    assert len(world.origins) == 1


def test_repeated_heads_and_answers_say_the_same_for_their_rows() -> None:
    world = World()
    asked = FIELDS[:-2] + WISHES
    page = ANSWER[:-2] + b"Content-Type: text/html; charset=utf-8\r\n\r\n"
    for number in range(2):
        exchange(world, b"GET /%d?a=%d" % (number, number) + asked, page + b"hello")
    # The head of an answer that comes in pieces is another way.
    exchange(world, b"GET /2?a=2" + asked, page[:30], page[30:], b"hel", b"lo")
    exchange(world, b"GET /3" + FIELDS, ANSWER + b"hello")
    traits = NO_TRACKING | ASKS_PAGE | IS_PAGE
    assert [(row.query, row.traits) for row in world.rows] == [
        ("a=0", traits),
        ("a=1", traits),
        ("a=2", traits),
        ("", 0),
    ]


def test_the_same_head_answers_head_and_get_with_different_lengths() -> None:
    world = World()
    for _ in range(2):
        assert exchange(world, b"HEAD /" + FIELDS, ANSWER)[1].endswith(b"\r\n\r\n")
        assert exchange(world, b"GET /" + FIELDS, ANSWER + b"hello")[1].endswith(b"\r\n\r\nhello")
    assert [(row.method, row.response_bytes) for row in world.rows] == [("HEAD", 0), ("GET", 5)] * 2


@pytest.mark.parametrize("cut", [3, len(ANSWER), len(ANSWER) + 2])
def test_an_answer_that_comes_again_in_pieces(cut: int) -> None:
    world = World()
    whole = ANSWER + b"hello"
    for parts in ((whole,), (whole[:cut], whole[cut:]), (whole,)):
        assert exchange(world, b"GET /" + FIELDS, *parts)[1].endswith(b"\r\n\r\nhello")
    assert len(world.origins) == 1


def test_an_answer_that_comes_again_is_told_to_each_as_he_asked() -> None:
    world = World()
    answer = ANSWER.replace(b"\r\n\r\n", b"\r\nTrailer: Expires\r\n\r\n") + b"hello"
    with_trailers = FIELDS.replace(b"duck\r\n", b"duck\r\nTE: trailers\r\nConnection: TE\r\n")
    for _ in range(2):
        assert b"Trailer: " not in exchange(world, b"GET /" + FIELDS, answer)[1]
        assert b"Trailer: Expires\r\n" in exchange(world, b"GET /" + with_trailers, answer)[1]


def test_bytes_after_an_answer_that_comes_again_end_the_connection() -> None:
    world = World()
    exchange(world, b"GET /" + FIELDS, ANSWER + b"hello")
    _, got = exchange(world, b"GET /" + FIELDS, ANSWER + b"hello" + ANSWER + b"other")
    assert got.endswith(b"\r\n\r\nhello")
    assert world.origins[0][1].disconnecting
    exchange(world, b"GET /" + FIELDS, ANSWER + b"third")
    assert len(world.origins) == 2


def test_requests_after_one_that_comes_again_wait_for_their_turn() -> None:
    world = World()
    exchange(world, b"GET /1" + FIELDS, ANSWER + b"hello")
    sent, _ = exchange(world, b"GET /2" + FIELDS + b"GET /3" + FIELDS)
    assert sent.startswith(b"GET /2 ")
    assert b"/3" not in sent
    sent, got = exchange(world, b"", ANSWER + b"hello", ANSWER + b"other")
    assert sent.startswith(b"GET /3 ")
    assert got.endswith(b"other")
    sent, _ = exchange(world, b"GET /4" + FIELDS)
    early, _ = exchange(world, b"GET /5" + FIELDS)  # before the answer to the one before
    assert (sent[:7], early) == (b"GET /4 ", b"")
    sent, got = exchange(world, b"", ANSWER + b"four!", ANSWER + b"five!")
    assert sent.startswith(b"GET /5 ")
    assert got.index(b"four!") < got.index(b"five!")


def test_a_body_between_two_requests_that_are_alike() -> None:
    world = World()
    exchange(world, b"GET /1" + FIELDS, ANSWER + b"hello")
    post = b"POST /2 HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 3\r\n\r\n"
    sent, _ = exchange(world, post + b"GET", ANSWER + b"hello")
    assert sent.endswith(b"\r\n\r\nGET")
    assert exchange(world, b"GET /3" + FIELDS, ANSWER + b"hello")[1].endswith(b"hello")
    rows: list[Row] = world.rows
    assert [(row.path, row.request_bytes) for row in rows] == [("/1", 0), ("/2", 3), ("/3", 0)]


def test_another_version_between_two_requests_that_are_alike() -> None:
    world = World()
    exchange(world, b"GET /1" + FIELDS, ANSWER + b"hello")
    old = b"POST /2 HTTP/1.0\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    old += b"Content-Length: 1\r\n\r\nx"  # with a body, it does not replace what is kept
    assert b"\r\nConnection: keep-alive\r\n" in exchange(world, old, ANSWER + b"hello")[1]
    sent, got = exchange(world, b"GET /3" + FIELDS, ANSWER + b"hello")
    assert b"\r\nVia: 1.1 watchducks\r\n" in sent
    assert b"\r\nConnection: " not in got
    assert [row.protocol for row in world.rows] == ["HTTP/1.1", "HTTP/1.0", "HTTP/1.1"]
