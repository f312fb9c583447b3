"""The table of zones: found by any name below them, following the registry, small."""

from __future__ import annotations

import ipaddress
import tracemalloc
from dataclasses import replace

import pytest
from twisted.names import dns as types

from tests.unit.nameserver.fakes import ADDRESSES, changed, contents, site, zone_table
from watchducks.model.zones import DEFAULT_CONTENTS
from watchducks.nameserver.records import wire_name
from watchducks.nameserver.zones import ZoneTable, host_addresses


def found(table: ZoneTable, name: str) -> tuple[bytes, bytes] | None:
    result = table.find(wire_name(name))
    return None if result is None else (result[0].apex, result[1])


def test_the_closest_zone_around_a_name_is_found() -> None:
    table = zone_table(site("example.com"), site("shop.example.com"))
    com, shop = wire_name("example.com"), wire_name("shop.example.com")
    assert found(table, "example.com") == (com, b"")
    assert found(table, "a.b.example.com") == (com, b"\x01a\x01b")
    assert found(table, "www.shop.example.com") == (shop, b"\x03www")
    assert found(table, "com") is None
    assert found(table, "anotherexample.com") is None


def test_changes_are_followed_and_counted() -> None:
    table = zone_table(site("example.com"))
    before = table.revision
    table.apply(changed([site("example.com", "198.51.100.8", 9), site("example.org")]))
    assert table.revision == before + 1
    result = table.find(wire_name("example.com"))
    assert result is not None
    assert (str(result[0].origin), result[0].revision) == ("198.51.100.8", 9)
    table.apply(changed(removed=["example.com"]))
    assert found(table, "www.example.com") is None
    assert len(table) == 1
    assert table.revision == before + 2
    table.apply(changed())
    assert table.revision == before + 2


def test_a_zone_removed_and_registered_again_in_one_change_is_there() -> None:
    table = zone_table(site("example.com"))
    table.apply(changed([site("example.com", "198.51.100.9")], removed=["example.com"]))
    assert found(table, "example.com") is not None


def test_a_zone_that_is_not_a_name_does_not_stop_the_others() -> None:
    table = zone_table(site("a" * 64 + ".example"), site("example.com"))
    assert len(table) == 1
    table.apply(changed(removed=["a" * 64 + ".example", "never.example"]))
    assert len(table) == 1


def test_our_hosts_are_found_without_a_zone_and_within_one() -> None:
    name, apex = wire_name("ns1.watchducks.example"), wire_name("watchducks.example")
    assert found(zone_table(), "ns1.watchducks.example") == (name, b"")
    around = zone_table(site("watchducks.example"))
    assert found(around, "ns1.watchducks.example") == (apex, b"\x03ns1")
    result = around.find(name)
    assert result is not None
    assert types.A in result[0].nodes.owners[result[1]]


def test_names_between_a_host_and_its_zone_exist_without_records() -> None:
    table = zone_table(site("example.com"), names=("ns1.dns.example.com",))
    result = table.find(wire_name("dns.example.com"))
    assert result is not None
    assert result[0].nodes.owners[result[1]] == {}


def test_the_serial_grows_with_either_revision_and_wraps() -> None:
    table = zone_table(site("example.com", revision=7))
    result = table.find(wire_name("example.com"))
    assert result is not None

    def serial(verdict_revision: int) -> int:
        rdata = table.start_of_authority(result[0], verdict_revision).rdatas[0]
        return int.from_bytes(rdata[-20:-16], "big")

    assert (serial(100), serial(101)) == (107, 108)
    assert serial(2**32) == 7


def test_addresses_are_dealt_out_family_by_family() -> None:
    one, two = wire_name("ns1.example"), wire_name("ns2.example")
    assert host_addresses([one, two], ADDRESSES) == {
        one: [ADDRESSES[0], ADDRESSES[2]],
        two: [ADDRESSES[1]],
    }
    single = ipaddress.ip_address("203.0.113.1")
    assert host_addresses([one, two], [single, single]) == {one: [single], two: [single]}
    assert host_addresses([one, two], [single]) == {one: [single], two: [single]}
    assert host_addresses([one], []) == {one: []}


def test_a_table_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        zone_table(names=())


def test_a_hundred_thousand_zones_are_affordable() -> None:
    table = zone_table()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(10_000):
            table.apply(changed([site(f"ducks-and-geese-{number:06}.example.com")]))
        octets = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # 100,000 zones within 57 MB, the address and name that each has of its own included.
    assert octets / 10_000 < 570, f"{octets / 10_000:.0f} octets a zone"


def test_a_hundred_thousand_zones_that_were_asked_for_are_affordable() -> None:
    """Seven of ten hold nothing of their own, the others eight records, as imports find them."""
    text = """$TTL 60
@ MX 1 mail
@ TXT "v=spf1 mx -all"
@ CAA 0 issue "ca.example"
mail A 192.0.2.1
ftp CNAME mail
_dmarc TXT "v=DMARC1; p=none"
s1._domainkey TXT "v=DKIM1"
blog CNAME elsewhere.example."""
    sites = [
        site(zone, held=contents(zone, text) if number % 10 >= 7 else DEFAULT_CONTENTS)
        for number in range(2_000)
        for zone in [f"ducks-and-geese-{number:06}.com"]
    ]
    table = zone_table()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        table.apply(changed(sites))
        for one in sites:
            assert table.find(wire_name(one.zone)) is not None
        octets = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # 100,000 of them within 150 MB, beside the sites themselves.
    assert octets / 2_000 < 1_500, f"{octets / 2_000:.0f} octets a zone"


def test_alike_zones_share_their_nodes() -> None:
    table = zone_table(site("one.com"), site("two.com"))
    one, two = (table.find(wire_name(name)) for name in ("one.com", "two.com"))
    assert one is not None
    assert two is not None
    assert one[0].nodes is two[0].nodes


def test_a_drill_leads_to_the_origin_and_ends_by_the_clock() -> None:
    now = 100.0
    drilled = replace(site("example.com"), drill_until=200)
    table = zone_table(drilled, site("example.net"), now=lambda: now)

    def direct(name: bytes = b"\x07example\x03com\0") -> bool:
        found = table.find(name)
        assert found is not None
        return found[0].direct

    assert direct()
    assert not direct(b"\x07example\x03net\0")
    revision = table.revision
    table.end_drills()
    assert table.revision == revision
    now = 200.0
    table.end_drills()
    assert table.revision == revision + 1  # what was answered is forgotten
    assert not direct()
    table.apply(changed([replace(drilled, drill_until=500)]))
    assert direct()
    table.apply(changed([replace(drilled, drill_until=0)]))
    assert not direct()
    table.apply(changed([drilled]))  # from before a restart
    assert not direct()


def test_a_suspended_site_is_answered_for_with_its_origin() -> None:
    table = zone_table(replace(site("example.com"), suspended=True))

    def direct() -> bool:
        found = table.find(b"\x07example\x03com\0")
        assert found is not None
        return found[0].direct

    assert direct()
    table.apply(changed([site("example.com")]))
    assert not direct()
