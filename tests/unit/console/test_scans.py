"""What a zone held before it was ours, in the API: for its owner, in his language."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from dns import rdata, rdataclass

from tests.unit.console.driver import GOOD, NAMESERVERS, Driver
from watchducks.background import Overloaded
from watchducks.console.figures import rfc3339
from watchducks.lookups.found import owner_of_host
from watchducks.model.scans import KeptScan, NameServer, Note, Scan, hindrance
from watchducks.model.sites import SiteState
from watchducks.model.zones import Record

SITE = "/api/v1/sites/ducks"
DS = f"12345 13 2 {'ab' * 32}"
MADE = 1_795_000_000


def record(host: str, type_: str, value: str) -> Record:
    made = rdata.from_text(rdataclass.IN, type_, value)
    return Record(owner_of_host(host), int(made.rdtype), 3600, made.to_digestable())


SCAN = Scan(
    records=(
        record("mail", "A", "192.0.2.25"),
        record("@", "MX", "10 mail.ducks.example."),
        record("www", "CNAME", "ducks.example."),
    ),
    whole=True,
    servers=(NameServer("ns1.old.example", (ipaddress.ip_address("192.0.2.1"),)),),
    served="ducks.example",
    ds=(DS,),
    notes=(Note("server", "A name server did not answer well: {reason}.", {"reason": "quack"}),),
)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def token(driver: Driver) -> str:
    return str(driver.api("POST", "/api/v1/sites", GOOD).json["token"])


def test_before_the_scan_is_made(driver: Driver, token: str) -> None:
    empty = {"site": "ducks", "zone": "ducks.example"}
    assert driver.api("GET", f"{SITE}/scan", token=token).json == {**empty, "made": None}
    offers = driver.api("GET", f"{SITE}/records/offers", token=token).json
    assert offers == {**empty, "records": []}


def test_what_was_found_and_what_would_change(driver: Driver, token: str) -> None:
    driver.scans.kept[1] = KeptScan(MADE, SCAN)
    document = driver.api("GET", f"{SITE}/scan", token=token).json
    differences = document.pop("differences")
    blocked = document.pop("blocked_by")
    assert document == {
        "site": "ducks",
        "zone": "ducks.example",
        "made": rfc3339(MADE),
        "whole": True,
        "records": [
            {"name": "@", "type": "MX", "ttl": 3600, "value": "10 mail.ducks.example."},
            {"name": "mail", "type": "A", "ttl": 3600, "value": "192.0.2.25"},
            {"name": "www", "type": "CNAME", "ttl": 3600, "value": "ducks.example."},
        ],
        "servers": [{"name": "ns1.old.example", "addresses": ["192.0.2.1"]}],
        "ds": [DS],
        "notes": [{"code": "server", "message": "A name server did not answer well: quack."}],
    }
    assert [(one["name"], one["type"]) for one in differences["removed"]] == [
        ("@", "MX"),
        ("mail", "A"),
    ]
    assert [(one["name"], one["old"], one["new"]) for one in differences["expected"]] == [
        ("@", ["ns1.old.example."], sorted(f"{name}." for name in NAMESERVERS)),
        ("@", [], ["198.51.100.1"]),
        ("www", [], ["198.51.100.1"]),
        ("www", ["ducks.example."], []),
    ]
    assert blocked["code"] == "ds-present"
    assert "ducks.example is signed with DNSSEC at its present" in blocked["message"]
    # The site says it to everybody, as long as its name servers are to be changed.
    assert driver.api("GET", SITE).json["blocked_by"] == blocked
    driver.sites.by_key["ducks"] = replace(driver.sites.by_key["ducks"], state=SiteState.DELEGATED)
    assert driver.api("GET", SITE).json["blocked_by"] is None


def test_notes_are_in_the_language_of_the_reader(driver: Driver, token: str) -> None:
    driver.scans.kept[1] = KeptScan(MADE, SCAN)
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "ko"}
    reply = driver.ask("GET", f"{SITE}/scan", headers=headers)
    assert reply.json["notes"][0]["message"] == "네임서버 하나가 제대로 응답하지 않았습니다: quack."


def test_without_a_ds_nothing_is_blocked(driver: Driver, token: str) -> None:
    driver.scans.kept[1] = KeptScan(MADE, Scan())
    document = driver.api("GET", f"{SITE}/scan", token=token).json
    assert (document["blocked_by"], document["ds"]) == (None, [])


def test_a_ds_of_our_own_key_hinders_nothing() -> None:
    assert hindrance("ducks.example", [DS], [DS.upper()]) is None
    assert hindrance("ducks.example", [f"12345  13 2 {'AB' * 16} {'AB' * 16}"], []) is not None
    assert hindrance("ducks.example", [], [DS]) is None


def test_offers_are_what_the_zone_still_lacks(driver: Driver, token: str) -> None:
    offered = (record("shop", "A", "192.0.2.9"), record("www", "TXT", '"ours"'))
    driver.scans.kept[1] = KeptScan(MADE, Scan(), offered)
    reply = driver.api("GET", f"{SITE}/records/offers", token=token)
    assert reply.json["records"] == [
        {"name": "shop", "type": "A", "ttl": 3600, "value": "192.0.2.9"}
    ]


def test_a_scan_on_request(driver: Driver, token: str) -> None:
    assert driver.api("POST", f"{SITE}/scan", {}, token).status == 202
    assert driver.scans.requested == [(1, "ducks.example")]
    driver.scans.problem = Overloaded("too many")
    assert driver.api("POST", f"{SITE}/scan", {}, token).status == 503


@pytest.mark.parametrize("path", ["scan", "records/offers"])
def test_only_the_owner_sees_it(driver: Driver, token: str, path: str) -> None:
    assert driver.api("GET", f"{SITE}/{path}").status == 401
    assert driver.api("GET", f"{SITE}/{path}", token="wd_no").status == 403
    assert driver.api("POST", f"{SITE}/scan", {}).status == 401
    assert driver.scans.requested == []


def test_a_ds_of_any_key_of_ours_blocks_nothing(driver: Driver, token: str) -> None:
    """A parent that was asked again while keys change, or after DNSSEC was switched off."""
    driver.sites.now = driver.clock.seconds() - 86_400
    driver.api("PATCH", SITE, {"dnssec": True}, token)
    driver.sites.now = driver.clock.seconds()
    (ds,) = driver.api("GET", f"{SITE}/dnssec").json["ds"]
    driver.scans.kept[1] = KeptScan(MADE, replace(SCAN, ds=(ds.lower(),)))
    driver.api("PATCH", SITE, {"dnssec": False}, token)
    assert driver.api("GET", f"{SITE}/dnssec").json["ds"] == []
    assert driver.api("GET", f"{SITE}/scan", token=token).json["blocked_by"] is None


def test_a_later_scan_forgets_nothing_that_it_could_not_ask_for() -> None:
    unknown = Note("ds-unknown", "unknown")
    assert Scan(servers=SCAN.servers, notes=(unknown,)).following(SCAN).ds == SCAN.ds
    assert Scan(servers=SCAN.servers).following(SCAN).ds == ()
    # Once the name servers are ours, the old ones are known from before alone.
    ours = Note("ours-already", "ours")
    assert Scan(notes=(ours,)).following(SCAN) == replace(SCAN, ds=(), notes=(ours,))
    assert Scan(notes=(ours,)).following(Scan()) == Scan(notes=(ours,))
