"""What a zone's contents become: nodes by owner, shared where zones are alike."""

from __future__ import annotations

import pytest
from twisted.names import dns as types

from tests.unit.nameserver.fakes import contents
from watchducks.model.zones import DEFAULT_CONTENTS, Record, ZoneContents
from watchducks.nameserver.nodes import (
    DS,
    EMPTY,
    HTTPS,
    PROXIED,
    Alias,
    Derived,
    Node,
    build_nodes,
    default_nodes,
)
from watchducks.nameserver.records import RRset, wire_name

NS = RRset(types.NS, 3_600, (wire_name("ns1.watchducks.example"),))
APEX: Node = {types.SOA: Derived.START_OF_AUTHORITY, types.NS: NS}


def test_what_every_zone_holds() -> None:
    nodes = default_nodes(APEX)
    assert nodes.owners == {b"": {**PROXIED, **APEX}, b"\x03www": PROXIED}
    assert nodes.owners[b"\x03www"] is PROXIED
    assert nodes == build_nodes(DEFAULT_CONTENTS, APEX, {})


def test_records_of_one_name_and_type_are_one_set_with_the_lowest_ttl() -> None:
    records = (
        Record(b"\x01a", types.A, 60, b"\xc0\x00\x02\x01"),
        Record(b"\x01a", types.TXT, 90, b"\x01x"),
        Record(b"\x01a", types.A, 30, b"\xc0\x00\x02\x02"),
        Record(b"\x01a", types.A, 40, b"\xc0\x00\x02\x03"),
    )
    node = build_nodes(ZoneContents((), records), APEX, {}).owners[b"\x01a"]
    assert node == {
        types.A: RRset(types.A, 30, tuple(b"\xc0\x00\x02" + bytes((n,)) for n in (1, 2, 3))),
        types.TXT: RRset(types.TXT, 90, (b"\x01x",)),
    }


def test_our_soa_and_ns_stand_whatever_the_contents_say() -> None:
    text = "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n@ NS elsewhere.example.\n@ TXT kept"
    apex = build_nodes(contents("example.com", text, ()), APEX, {}).owners[b""]
    assert apex[types.SOA] is Derived.START_OF_AUTHORITY
    assert apex[types.NS] == NS
    assert types.TXT in apex


def test_names_between_are_one_empty_node() -> None:
    owners = build_nodes(contents("example.com", "a.b.c 60 TXT x", ()), APEX, {}).owners
    assert set(owners) == {b"", b"\x01c", b"\x01b\x01c", b"\x01a\x01b\x01c"}
    assert owners[b"\x01c"] is owners[b"\x01b\x01c"] is EMPTY


def test_a_cut_keeps_its_own_and_gives_glue_away() -> None:
    lines = [
        "$TTL 60",
        "shop NS ns.shop",
        f"shop DS 1 13 2 {'00' * 32}",
        "shop A 192.0.2.1",
        "shop TXT gone",
        "ns.shop A 192.0.2.2",
        "ns.shop MX 1 gone",
        "in.shop NS gone",
    ]
    nodes = build_nodes(contents("example.com", "\n".join(lines), ()), APEX, {})
    assert set(nodes.owners) == {b"", b"\x04shop"}
    assert set(nodes.owners[b"\x04shop"]) == {types.NS, DS}
    assert {owner: set(node) for owner, node in nodes.glue.items()} == {
        b"\x04shop": {types.A},
        b"\x02ns\x04shop": {types.A},
    }


def test_our_own_host_wins_over_what_the_owner_says() -> None:
    own: Node = {types.A: RRset(types.A, 3_600, (b"\xcb\x00\x71\x35",))}
    for text, proxied in (
        ("ns1 60 CNAME a", ()),
        ("ns1 60 NS b", ()),
        ("ns1 60 AAAA ::1", ("ns1",)),
    ):
        held = contents("example.com", text, proxied)
        nodes = build_nodes(held, APEX, {b"\x03ns1": own})
        assert nodes.owners[b"\x03ns1"] == own


def test_an_alias_stands_in_for_addresses_that_there_are_not() -> None:
    target = wire_name("back.host.net")
    text = f"$TTL 60\na TYPE65401 \\# {len(target)} {target.hex()}\na A 192.0.2.1"
    node = build_nodes(contents("example.com", text, ()), APEX, {}).owners[b"\x01a"]
    assert node == {
        types.A: RRset(types.A, 60, (b"\xc0\x00\x02\x01",)),
        types.AAAA: Alias(target),
    }


def test_an_https_record_leads_nobody_past_us_and_stays_elsewhere() -> None:
    text = (
        "@ 60 HTTPS 1 . alpn=h2 ipv4hint=198.51.100.7\n"
        "www 60 HTTPS 0 elsewhere.example.\n"
        "www 60 TXT kept\n"
        "shop 60 HTTPS 1 . ipv4hint=198.51.100.8\n"
    )
    owners = build_nodes(contents("example.com", text), APEX, {}).owners
    assert owners[b""].keys() == {types.A, types.AAAA, types.SOA, types.NS}
    assert owners[b"\x03www"].keys() == {types.A, types.AAAA, types.TXT}
    assert owners[b"\x04shop"].keys() == {HTTPS}


def test_a_proxied_host_that_is_not_a_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="too long"):
        build_nodes(ZoneContents(("x" * 64,)), APEX, {})
