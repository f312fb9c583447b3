"""What would change, said for people."""

from __future__ import annotations

import ipaddress

from dns import rdata, rdataclass

from watchducks.lookups.compare import Change, change_of_servers, compare
from watchducks.lookups.found import owner_of_host
from watchducks.model.zones import APEX, Record, ZoneContents

PROXIES = tuple(map(ipaddress.ip_address, ("203.0.113.10", "2001:db8::10")))


def record(host: str, ttl: int, type_: str, value: str) -> Record:
    made = rdata.from_text(rdataclass.IN, type_, value)
    return Record(owner_of_host(host), int(made.rdtype), ttl, made.to_digestable())


def test_nothing_is_lost() -> None:
    old = (
        record(APEX, 3600, "A", "192.0.2.80"),
        record("www", 3600, "CNAME", "pond.test."),
        record(APEX, 3600, "MX", "10 mail.pond.test."),
        record("mail", 3600, "A", "192.0.2.25"),
    )
    kept = tuple(one._replace(ttl=60) for one in old[2:])
    found = compare(old, ZoneContents(records=kept), PROXIES, ttl=30)
    assert found.harmless
    assert (found.added, found.changed, found.removed) == ((), (), ())
    assert found.expected == (
        Change(APEX, "A", ("192.0.2.80",), ("203.0.113.10",), 3600, 30),
        Change(APEX, "AAAA", (), ("2001:db8::10",), None, 30),
        Change("www", "A", (), ("203.0.113.10",), None, 30),
        Change("www", "CNAME", ("pond.test.",), (), 3600, None),
        Change("www", "AAAA", (), ("2001:db8::10",), None, 30),
    )


def test_what_is_added_changed_and_removed() -> None:
    old = (
        record(APEX, 3600, "MX", "10 mail.pond.test."),
        record(APEX, 3600, "MX", "20 backup.pond.test."),
        record("_dmarc", 3600, "TXT", '"v=DMARC1"'),
        record("blog", 3600, "A", "192.0.2.1"),
    )
    new = (
        record(APEX, 60, "MX", "10 mail.pond.test."),
        record("api", 60, "A", "192.0.2.2"),
        record("blog", 60, "A", "192.0.2.1"),
    )
    found = compare(old, ZoneContents((), new), PROXIES, ttl=30)
    assert not found.harmless
    assert found.added == (Change("api", "A", (), ("192.0.2.2",), None, 60),)
    assert found.changed == (
        Change(
            APEX,
            "MX",
            ("10 mail.pond.test.", "20 backup.pond.test."),
            ("10 mail.pond.test.",),
            3600,
            60,
        ),
    )
    assert found.removed == (Change("_dmarc", "TXT", ('"v=DMARC1"',), (), 3600, None),)
    assert found.expected == ()


def test_a_proxied_host_keeps_its_other_records() -> None:
    old = (record("shop", 60, "TXT", '"kept"'), record("shop", 60, "A", "192.0.2.1"))
    found = compare(old, ZoneContents(("shop",)), PROXIES[:1], ttl=30)
    assert [change.type for change in found.removed] == ["TXT"]
    assert [change.type for change in found.expected] == ["A"]


def test_an_https_record_of_a_proxied_host_is_expected_to_go() -> None:
    hosts = ("www", "shop")
    old = tuple(record(host, 60, "HTTPS", "1 . ipv4hint=192.0.2.1") for host in hosts)
    found = compare(old, ZoneContents(("www",)), (), ttl=30)
    assert [change.name for change in found.expected] == ["www"]
    assert [change.name for change in found.removed] == ["shop"]


def test_while_there_is_no_proxy_nothing_is_expected_to_stay() -> None:
    old = (record(APEX, 60, "A", "192.0.2.1"),)
    found = compare(old, ZoneContents((APEX,)), (), ttl=30)
    assert found.expected == (Change(APEX, "A", ("192.0.2.1",), (), 60, None),)


def test_name_servers_change_on_purpose_if_they_change() -> None:
    servers = change_of_servers(["ns2.Old.test", "ns1.old.test"], ["ns1.ducks.test"])
    assert servers == Change(APEX, "NS", ("ns1.old.test.", "ns2.old.test."), ("ns1.ducks.test.",))
    found = compare((), ZoneContents(()), (), ttl=30, servers=servers)
    assert found.expected == (servers,)
    assert change_of_servers(["NS1.ducks.test"], ["ns1.ducks.test"]) is None
