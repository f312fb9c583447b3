"""Which names are worth a question to the old name servers."""

from __future__ import annotations

from dns.message import make_query
from twisted.internet.task import Clock

from tests.unit.nameserver.fakes import PROXY4, FixedVerdicts, contents, site, zone_table
from watchducks.nameserver.misses import (
    AGAIN_SECONDS,
    MAX_NAMES,
    MAX_NAMES_PER_ZONE,
    REST_SECONDS,
    Misses,
)
from watchducks.nameserver.responder import Responder

APEX = b"\4pond\7example\0"


def wire(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + APEX


def noted(*moments: float) -> list[tuple[str, str]]:
    clock = Clock()
    misses = Misses(clock=clock)
    for moment in moments:
        clock.advance(moment - clock.seconds())
        misses.note(APEX, wire(b"mail"))
    return misses.take(10)


def test_a_name_counts_when_it_is_asked_for_again_after_a_while() -> None:
    assert noted(0) == []
    assert noted(0, 1, AGAIN_SECONDS - 1) == []
    assert noted(0, AGAIN_SECONDS) == [("pond.example", "mail")]
    assert noted(0, AGAIN_SECONDS, 2 * AGAIN_SECONDS) == [("pond.example", "mail")]


def test_each_name_is_taken_once_a_day() -> None:
    clock = Clock()
    misses = Misses(clock=clock)
    taken = []
    for _ in range(2 * 24 * 6):
        misses.note(APEX, wire(b"selector7", b"_domainkey"))
        taken += misses.take(10)
        clock.advance(600)
    assert taken == [("pond.example", "selector7._domainkey")] * 2
    assert REST_SECONDS == 24 * 600 * 6


def test_what_does_not_look_like_a_name_of_records_is_left_alone() -> None:
    clock = Clock()
    misses = Misses(clock=clock)
    names = [
        wire(b"x" * 63, b"y"),
        wire(b"a", b"b", b"c", b"d", b"e", b"f"),
        wire(b"a.b"),
        wire(b"\xff\0"),
        wire(b"a b"),
        APEX,
        wire(b"real"),
    ]
    for _ in range(2):
        for name in names:
            misses.note(APEX, name)
        clock.advance(AGAIN_SECONDS)
    assert misses.take(10) == [("pond.example", "real")]


def test_random_names_fill_nothing_and_push_out_nothing_that_counts() -> None:
    clock = Clock()
    misses = Misses(clock=clock)
    misses.note(APEX, wire(b"real"))
    clock.advance(AGAIN_SECONDS)
    misses.note(APEX, wire(b"real"))
    for number in range(100 * MAX_NAMES_PER_ZONE):
        misses.note(APEX, wire(b"r%d" % number))
    assert misses.names == MAX_NAMES_PER_ZONE
    assert misses.take(10) == [("pond.example", "real")]
    # After the flood there is room for others.
    for _ in range(2):
        misses.note(APEX, wire(b"another"))
        clock.advance(AGAIN_SECONDS)
    assert misses.take(10) == [("pond.example", "another")]


def test_a_zone_whose_places_all_count_takes_no_more_until_they_are_old() -> None:
    clock = Clock()
    misses = Misses(clock=clock)
    for _ in range(2):
        for number in range(MAX_NAMES_PER_ZONE):
            misses.note(APEX, wire(b"r%d" % number))
        clock.advance(AGAIN_SECONDS)
    for _ in range(2):
        misses.note(APEX, wire(b"late"))
        clock.advance(AGAIN_SECONDS)
    assert len(misses.take(1000)) == MAX_NAMES_PER_ZONE
    clock.advance(REST_SECONDS)
    for _ in range(2):
        misses.note(APEX, wire(b"late"))
        clock.advance(AGAIN_SECONDS)
    assert misses.take(1000) == [("pond.example", "late")]


def test_all_zones_together_are_bounded() -> None:
    misses = Misses(clock=Clock())
    for number in range(MAX_NAMES + 500):
        apex = b"\7z%06d\7example\0" % number
        misses.note(apex, b"\1a" + apex)
    assert misses.names == MAX_NAMES


def test_the_responder_notes_what_does_not_exist() -> None:
    clock = Clock()
    misses = Misses(clock=clock)
    held = contents("pond.example", "$TTL 60\nalias CNAME lost\ntext TXT x\n*.wild TXT x\n")
    zones = zone_table(site("pond.example", held=held))
    for _ in range(2):
        responder = Responder(zones, FixedVerdicts(PROXY4), clock=clock, misses=misses)
        for name in ("mail.POND.example", "alias.pond.example", "www.pond.example"):
            responder.respond(make_query(name, "A").to_wire(), datagram=True)
        for name in ("text.pond.example", "any.wild.pond.example", "elsewhere.example"):
            responder.respond(make_query(name, "A").to_wire(), datagram=True)
        clock.advance(AGAIN_SECONDS)
    # Of the alias it is the target that is missing.
    assert misses.take(10) == [("pond.example", "mail"), ("pond.example", "lost")]
