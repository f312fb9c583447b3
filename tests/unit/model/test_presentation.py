"""Records as people write them become records as we keep them, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.model.presentation import (
    ACCEPTED_TYPES,
    MAX_TTL,
    is_accepted,
    owner_of,
    owner_text,
    rdata_of,
    ttl_of,
    type_of,
    type_text,
    value_text,
)
from watchducks.model.problems import Problem
from watchducks.model.zones import ALIAS, Record

ZONE = "ducks.example"
DIGEST = "ab" * 32


def shown(type_: str, value: str) -> str:
    number = type_of(type_)
    return value_text(Record(b"", number, 300, rdata_of(number, value, ZONE)))


@pytest.mark.parametrize(
    ("text", "owner", "printed"),
    [
        ("@", b"", "@"),
        ("", b"", "@"),
        ("ducks.example", b"", "@"),
        ("Ducks.Example.", b"", "@"),
        ("WWW", b"\x03www", "www"),
        ("www.ducks.example", b"\x03www", "www"),
        ("a.b", b"\x01a\x01b", "a.b"),
        ("*", b"\x01*", "*"),
        ("*.shop", b"\x01*\x04shop", "*.shop"),
        ("_dmarc", b"\x06_dmarc", "_dmarc"),
        ("오리", b"\x0bxn--oy2b11u", "xn--oy2b11u"),
        # It ends with the zone's name, but not at a label.
        ("xducks.example", b"\x06xducks\x07example", "xducks.example"),
    ],
)
def test_owners(text: str, owner: bytes, printed: str) -> None:
    assert owner_of(text, ZONE) == owner
    assert owner_text(owner) == printed


@pytest.mark.parametrize(
    "text",
    ["a b", "a..b", ".", "a.*", "**", "-a", "a-", "x.other.example.", "a" * 64, "a." * 127, "\x00"],
)
def test_what_is_no_owner(text: str) -> None:
    with pytest.raises(Problem):
        owner_of(text, ZONE)


@pytest.mark.parametrize("text", ["*", "*.shop", "_dmarc"])
def test_what_is_no_host(text: str) -> None:
    owner_of(text, ZONE)
    with pytest.raises(Problem, match="not a host name"):
        owner_of(text, ZONE, host=True)


@pytest.mark.parametrize(
    ("type_", "value", "printed"),
    [
        ("A", "203.0.113.7", "203.0.113.7"),
        ("aaaa", "2001:DB8::7", "2001:db8::7"),
        ("ALIAS", "Host.Provider.example", "host.provider.example."),
        ("CNAME", "shop", "shop.ducks.example."),
        ("CNAME", "@", "ducks.example."),
        # A name with a dot in it is a whole one: nobody means mail.ducks.example.ducks.example.
        ("MX", "10 mail.ducks.example", "10 mail.ducks.example."),
        ("MX", "10  mail", "10 mail.ducks.example."),
        ("MX", "0 .", "0 ."),
        ("MX", "10 메일.한국", "10 xn--h32bq4v.xn--3e0b707e."),
        ("TXT", "v=spf1 mx -all; it's", '"v=spf1 mx -all; it\'s"'),
        ("TXT", '"a\\"b" c', '"a\\"b" "c"'),
        ("TXT", "x" * 256, f'"{"x" * 255}" "x"'),
        ("TXT", f'"{"x" * 256}"', f'"{"x" * 255}" "x"'),
        ("TXT", "", '""'),
        ("TXT", "é", '"\\195\\169"'),
        ("CAA", '0 issue "ca.example"', '0 issue "ca.example"'),
        ("SRV", "10 5 5060 sip.ducks.example", "10 5 5060 sip.ducks.example."),
        ("SRV", "5 5 5 5", "5 5 5 5.ducks.example."),
        ("NS", "ns1.other.example.", "ns1.other.example."),
        ("PTR", "host", "host.ducks.example."),
        ("TLSA", f"3 1 1 {DIGEST}", f"3 1 1 {DIGEST}"),
        ("SSHFP", f"4 2 {DIGEST}", f"4 2 {DIGEST}"),
        ("HTTPS", "1 . alpn=h2", '1 . alpn="h2"'),
        ("SVCB", "1 dns.other.example port=853", '1 dns.other.example. port="853"'),
        (
            "NAPTR",
            '100 10 "S" "SIP+D2U" "" _sip._udp.other.example',
            '100 10 "S" "SIP+D2U" "" _sip._udp.other.example.',
        ),
        ("DS", f"12345 13 2 {DIGEST}", f"12345 13 2 {DIGEST}"),
        ("LOC", "37 33 59 N 126 58 40 E 38m", "37 33 59.000 N 126 58 40.000 E 38.00m"),
        ("URI", '10 1 "https://a.example/"', '10 1 "https://a.example/"'),
        ("SMIMEA", f"3 1 1 {DIGEST}", f"3 1 1 {DIGEST}"),
        ("OPENPGPKEY", "AAEC", "AAEC"),
        ("TYPE65280", r"\# 2 abcd", r"\# 2 abcd"),
        ("A", r"\# 4 cb007107", "203.0.113.7"),
    ],
)
def test_values(type_: str, value: str, printed: str) -> None:
    assert shown(type_, value) == printed
    # What we print is read again as the same.
    assert shown(type_, printed) == printed


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("A", "203.0.113"),
        ("A", "203.0.113.7 5"),
        ("A", "203.0.113.7\n203.0.113.8"),
        ("AAAA", "203.0.113.7"),
        ("MX", "mail"),
        ("MX", "10 mail..example"),
        ("TXT", '"not closed'),
        ("CAA", "issue"),
        ("TYPE65280", "abcd"),
        ("A", r"\# 3 cb0071"),
        ("CNAME", ""),
        ("CNAME", "x" * 64),
        ("TXT", "x" * 16_385),
        ("TXT", "\ud800"),
    ],
)
def test_what_is_no_value(type_: str, value: str) -> None:
    with pytest.raises(Problem) as caught:
        shown(type_, value)
    str(caught.value).encode()


@given(type_=st.sampled_from(ACCEPTED_TYPES), value=st.text(max_size=60))
def test_any_value_is_read_or_is_a_problem(type_: str, value: str) -> None:
    try:
        printed = shown(type_, value)
    except Problem as problem:
        str(problem).encode()
    else:
        assert shown(type_, printed) == printed


@pytest.mark.parametrize("word", ["SOA", "RRSIG", "ANY", "AXFR", "TYPE0", "TYPE200", "Ä", ""])
def test_types_that_are_not_kept(word: str) -> None:
    with pytest.raises(Problem, match="accepted are A, AAAA, ALIAS"):
        type_of(word)


def test_why_a_dname_is_not_kept() -> None:
    with pytest.raises(Problem, match="one by one, as CNAME"):
        type_of("dname")


def test_types_have_names() -> None:
    assert [type_text(type_of(word)) for word in ACCEPTED_TYPES] == list(ACCEPTED_TYPES)
    assert type_of("TYPE65401") == ALIAS
    assert not is_accepted(6)


@pytest.mark.parametrize("value", [0, 300, "300", MAX_TTL])
def test_ttls(value: object) -> None:
    assert ttl_of(value) == int(str(value))


@pytest.mark.parametrize("value", [-1, MAX_TTL + 1, "1h", "9" * 5000, True, 1.5, None, "³"])
def test_what_is_no_ttl(value: object) -> None:
    with pytest.raises(Problem, match="604800"):
        ttl_of(value)


def test_rdata_that_no_type_has_is_shown_as_octets() -> None:
    assert value_text(Record(b"", 1, 300, b"\x01\x02")) == r"\# 2 0102"
