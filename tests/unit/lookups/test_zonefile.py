"""Zone files as other name servers are fed with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.lookups.zonefile import (
    MAX_FILE_CHARACTERS,
    MAX_FILE_RECORDS,
    MAX_NOTES,
    read_zone_file,
)
from watchducks.model.presentation import owner_text, type_text, value_text
from watchducks.model.problems import Problem

ZONE = "ducks.example"
FILE = """\
$ORIGIN ducks.example.
$TTL 1h
@ IN SOA ns1.old.example. hostmaster (
     2026112300 2h 30m
     2w 300 ) ; the serial
@      NS    ns1.old.example.
@  300 IN A  203.0.113.7
WWW    CNAME @
@      MX    10 mail
       TXT   ( "v=spf1 mx"
               " -all" )
$ORIGIN shop.ducks.example.
*   60 A     203.0.113.1
$TTL 30d
sub    NS    ns1.sub
; a comment
tab\tHINFO "a" "b"
other.example. A 203.0.113.9
x      TYPE65280 \\# 3 abcdef
오리   A     203.0.113.2
a\\032b  A    203.0.113.3
"""
KEPT = [
    (7, "@", "A", 300, "203.0.113.7"),
    (8, "www", "CNAME", 3600, "ducks.example."),
    (9, "@", "MX", 3600, "10 mail.ducks.example."),
    (10, "@", "TXT", 3600, '"v=spf1 mx" " -all"'),
    (13, "*.shop", "A", 60, "203.0.113.1"),
    (15, "sub.shop", "NS", 604_800, "ns1.sub.shop.ducks.example."),
    (19, "x.shop", "TYPE65280", 604_800, "\\# 3 abcdef"),
    (20, "xn--oy2b11u.shop", "A", 604_800, "203.0.113.2"),
]
NOTED = [
    (3, "server-made"),
    (6, "server-made"),
    (15, "ttl-shortened"),
    (17, "record-type"),
    (18, "outside-zone"),
    (19, "ttl-shortened"),
    (20, "ttl-shortened"),
    (21, "record-name"),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_zone_file_is_read(ending: str, mark: str) -> None:
    found = read_zone_file(mark + FILE.replace("\n", ending), ZONE)
    assert [
        (number, owner_text(record.owner), type_text(record.type), record.ttl, value_text(record))
        for number, record in found.lines
    ] == KEPT
    assert [(number, problem.code) for number, problem in found.notes] == NOTED


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("@ 300 A 203.0.113\n", 1),
        ("@ 300 A 203.0.113.7\n\n; c\nx 300 MX mail\ny 300 A 203.0.113.7\n", 4),
        ("$ORIGIN ducks.example.\n$INCLUDE /etc/passwd\n", 2),
        ("$GENERATE 1-999999999 a$ 300 A 203.0.113.7\n", 1),
        ('@ 300 TXT "abc\n', 1),
        ("@ 300 TXT ( a\nb\n", 1),
        ("@ A 203.0.113.7\n", 1),
        ("\n@ 300 CH A 203.0.113.7\n", 2),
        ("@ 300 NOTYPE x\n", 1),
        ("\xff 300 A 203.0.113.7\n\x00\xff 300 A 203.0.113.7\n", 2),
        ("x\n", 1),
    ],
)
def test_an_error_names_its_line(text: str, line: int) -> None:
    with pytest.raises(Problem, match=f"^Line {line} ") as caught:
        read_zone_file(text, ZONE)
    assert caught.value.code == "zone-file"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_relative_names_belong_to_the_zone() -> None:
    # Pasted parts of a zone file often have no $ORIGIN.
    found = read_zone_file("www 300 A 203.0.113.7\nducks.example. 300 MX 5 mail\n", ZONE)
    assert [owner_text(record.owner) for _, record in found.lines] == ["www", "@"]
    assert value_text(found.lines[1].record) == "5 mail.ducks.example."


def test_size_is_bounded() -> None:
    with pytest.raises(Problem, match="longer than"):
        read_zone_file(";" * (MAX_FILE_CHARACTERS + 1), ZONE)
    line = "x 300 HINFO a b\n"
    assert len(read_zone_file(line * MAX_FILE_RECORDS, ZONE).notes) == MAX_NOTES
    with pytest.raises(Problem, match="more than"):
        read_zone_file(line * (MAX_FILE_RECORDS + 1), ZONE)


@given(text=st.text(alphabet='$@ATXCNM 13.;()"\\\n\tw', max_size=80))
def test_any_text_is_read_or_is_a_problem(text: str) -> None:
    try:
        read_zone_file(f"$TTL 5\n{text}", ZONE)
    except Problem as problem:
        str(problem).encode()
