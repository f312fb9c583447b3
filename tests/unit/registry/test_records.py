"""What a zone may hold: record by record, and all of them together."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.registry.examples import example_site
from watchducks.model.origins import parse_origin
from watchducks.model.presentation import owner_text, type_text
from watchducks.model.problems import InvalidFields
from watchducks.model.zones import (
    DEFAULT_CONTENTS,
    MAX_PROXIED_HOSTS,
    MAX_ZONE_RECORDS,
    ZoneContents,
)
from watchducks.registry.assembly import MAX_PROBLEMS, Assembled, Candidate, assemble, pin_problems
from watchducks.registry.records import (
    difference,
    document_of,
    in_order,
    merged,
    record_of,
    validate_contents,
)

SITE = example_site("ducks.example")
DS = f"DS 12345 13 2 {'ab' * 32}"


def item(line: str) -> dict[str, Any]:
    """Return "www 300 A 203.0.113.7" as the API has it."""
    name, ttl, type_, value = line.split(" ", 3)
    return {"name": name, "ttl": int(ttl), "type": type_, "value": value}


def wanted(*lines: str, **fields: Any) -> Assembled:
    return validate_contents({"records": [item(line) for line in lines], **fields}, SITE)


def imported(*lines: str, proxied: tuple[str, ...] = ("@", "www")) -> Assembled:
    candidates = [
        Candidate(f"line {number}", record_of(item(line), SITE.zone))
        for number, line in enumerate(lines, 1)
    ]
    return assemble(candidates, proxied, SITE, lenient=True)


def written(contents: ZoneContents) -> list[str]:
    return [
        "{name} {ttl} {type} {value}".format(**document_of(record))
        for record in in_order(contents.records)
    ]


GOOD = (
    "@ 300 MX 10 mail.ducks.example.",
    '@ 300 TXT "v=spf1 mx -all"',
    "*.shop 60 A 203.0.113.9",
    '_dmarc 3600 TXT "v=DMARC1; p=none"',
    "host 300 ALIAS host.provider.example.",
    f"sub 3600 {DS}",
    "sub 3600 NS ns1.sub.ducks.example.",
    "ns1.sub 3600 A 203.0.113.10",
    "mail 300 A 203.0.113.8",
    "mail 300 AAAA 2001:db8::8",
)


def test_a_good_zone_is_kept_and_printed_as_it_was_given() -> None:
    assembled = wanted(*GOOD)
    assert sorted(written(assembled.contents)) == sorted(GOOD)
    assert assembled.contents.proxied == ("@", "www")
    assert assembled.notes == ()
    assert ZoneContents.unpack(assembled.contents.pack()) == assembled.contents
    assert wanted().contents is DEFAULT_CONTENTS


def test_each_wrong_field_is_named() -> None:
    records: list[Any] = [
        5,
        {"name": "a b", "type": "A", "ttl": 1, "value": "203.0.113.7"},
        {"name": "a", "type": "SOA", "value": "x"},
        {"name": "a", "type": "A", "ttl": -1, "value": "203.0.113.7"},
        {"name": "a", "type": "A", "value": "203.0.113"},
        {"name": "a", "type": "A"},
        {"name": "a", "type": 1, "value": "203.0.113.7"},
        {"name": "a", "type": "A", "value": "203.0.113.7", "prio": 5},
        {"name": "a", "type": "A", "value": "203.0.113.7"},
    ]
    with pytest.raises(InvalidFields) as caught:
        validate_contents({"records": records, "proxied": ["*"], "x": 1}, SITE)
    codes = {field: problem.code for field, problem in caught.value.problems.items()}
    assert codes == {
        "x": "unknown-field",
        "proxied": "host-name",
        "records[0]": "record",
        "records[1].name": "record-name",
        "records[2].type": "record-type",
        "records[3].ttl": "ttl",
        "records[4].value": "record-value",
        "records[5].value": "missing",
        "records[6].type": "type",
        "records[7]": "record",
    }
    with pytest.raises(InvalidFields) as caught:
        validate_contents({"records": [0] * 500}, SITE)
    assert len(caught.value.problems) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({}, "records", "records"),
        ({"records": {}}, "records", "records"),
        ({"records": [0] * (MAX_ZONE_RECORDS + 1)}, "records", "too-many-records"),
        ({"records": [], "proxied": "www"}, "proxied", "proxied"),
        ({"records": [], "proxied": [5]}, "proxied", "proxied"),
        ({"records": [], "proxied": ["a.other.example."]}, "proxied", "outside-zone"),
        (
            {"records": [], "proxied": ["a"] * (MAX_PROXIED_HOSTS + 1)},
            "proxied",
            "too-many-hosts",
        ),
        ({"records": [], "zone": "geese.example"}, "zone", "unchangeable"),
    ],
)
def test_wrong_documents(fields: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        validate_contents(fields, SITE)
    assert {name: problem.code for name, problem in caught.value.problems.items()} == {field: code}


def test_proxied_hosts_are_relative_and_named_once() -> None:
    contents = wanted(proxied=["Shop", "ducks.example", "shop.ducks.example.", "오리"]).contents
    assert contents.proxied == ("shop", "@", "xn--oy2b11u")
    assert wanted(proxied=[]).contents.proxied == ()


@pytest.mark.parametrize(
    ("lines", "place", "code"),
    [
        (["@ 1 CNAME a.example."], "records[0] (@)", "proxied-host"),
        (["www 1 CNAME a.example."], "records[0] (www)", "proxied-host"),
        (["www 1 NS a.example."], "records[0] (www)", "proxied-host"),
        (["www 1 ALIAS a.example."], "records[0] (www)", "proxied-host"),
        (["@ 1 NS a.example.", "x 1 A 203.0.113.9"], "records[0] (@)", "proxied-host"),
        ([f"@ 1 {DS}"], "records[0] (@)", "apex-delegation"),
        (["*.a 1 NS a.example."], "records[0] (*.a)", "wildcard-delegation"),
        (["a 1 CNAME a.example.", "a 1 TXT x"], "records[0] (a)", "cname-alone"),
        (["a 1 A 203.0.113.9", "a 1 ALIAS a.example."], "records[1] (a)", "alias-alone"),
        ([f"a 1 {DS}"], "records[0] (a)", "ds-alone"),
        (["a 1 NS b.example.", "a 1 TXT x"], "records[1] (a)", "delegated"),
        (["a 1 NS b.example.", "x.a 1 A 203.0.113.9"], "records[1] (x.a)", "delegated"),
        (["a 1 NS b.a", "b.a 1 TXT x"], "records[1] (b.a)", "delegated"),
        (["a 1 NS b.example.", "x.a 1 NS c.example."], "records[1] (x.a)", "delegated"),
    ],
)
def test_records_that_do_not_fit_together(lines: list[str], place: str, code: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        wanted(*lines)
    assert {name: problem.code for name, problem in caught.value.problems.items()} == {place: code}
    # In an import they are left out, and what is right stays.
    assembled = imported(*lines)
    notes = [(note.place, note.problem.code) for note in assembled.notes]
    assert notes == [(place.replace("records[0]", "line 1").replace("records[1]", "line 2"), code)]
    assert len(assembled.contents.records) == len(lines) - 1


def test_several_cnames_are_none() -> None:
    with pytest.raises(InvalidFields) as caught:
        wanted("a 1 CNAME b.example.", "a 1 CNAME c.example.")
    assert len(caught.value.problems) == 2
    assert len(wanted("a 1 CNAME b.example.", "a 1 CNAME b.example.").contents.records) == 1


def test_a_domain_that_is_not_proxied_may_have_an_alias() -> None:
    fields = {"proxied": ["www"]}
    contents = wanted("@ 1 ALIAS a.example.", "@ 1 MX 1 mail", **fields).contents
    assert [type_text(record.type) for record in in_order(contents.records)] == ["MX", "ALIAS"]
    with pytest.raises(InvalidFields, match="use ALIAS"):
        wanted("@ 1 CNAME a.example.", **fields)


def test_a_delegated_host_cannot_be_proxied() -> None:
    with pytest.raises(InvalidFields) as caught:
        wanted("a 1 NS b.example.", proxied=["@", "x.a"])
    assert caught.value.problems["proxied"].code == "delegated-host"


def test_addresses_of_proxied_hosts_are_ours() -> None:
    assembled = wanted("@ 1 A 203.0.113.7", "www 1 A 203.0.113.9", "www 1 AAAA 2001:db8::7")
    assert assembled.contents is DEFAULT_CONTENTS
    # The origin's own is what is expected; the others may be a second server that would be lost.
    assert [(note.place, note.problem.code) for note in assembled.notes] == [
        ("records[1] (www)", "made-by-us"),
        ("records[2] (www)", "made-by-us"),
    ]


def test_an_https_record_of_a_proxied_host_is_not_kept_and_the_owner_is_told() -> None:
    lines = ("@ 1 HTTPS 1 . ipv4hint=203.0.113.7", "shop 1 HTTPS 1 . ipv4hint=203.0.113.7")
    for assembled in (wanted(*lines), imported(*lines)):
        assert [owner_text(record.owner) for record in assembled.contents.records] == ["shop"]
        ((note),) = assembled.notes
        assert note.problem.code == "made-by-us"
        assert "HTTPS" in str(note.problem)


def test_an_import_leaves_out_what_leads_to_the_same_place() -> None:
    assembled = imported(
        "@ 1 A 203.0.113.7", "www 1 CNAME ducks.example.", "shop 1 CNAME ducks.example."
    )
    assert assembled.notes == ()
    assert [owner_text(record.owner) for record in assembled.contents.records] == ["shop"]
    assert [note.problem.code for note in imported("www 1 CNAME other.example.").notes] == [
        "proxied-host"
    ]


def test_an_rrset_has_one_ttl_and_no_record_twice() -> None:
    assembled = wanted(
        "a 300 A 203.0.113.1", "a 60 A 203.0.113.2", "a 90 A 203.0.113.1", "a 5 TXT x"
    )
    assert written(assembled.contents) == [
        "a 60 A 203.0.113.1",
        "a 60 A 203.0.113.2",
        'a 5 TXT "x"',
    ]
    assert [(note.place, note.problem.code) for note in assembled.notes] == [
        ("records[1] (a)", "ttls")
    ]


def test_a_mail_server_that_is_an_alias_is_warned_of() -> None:
    assembled = wanted("@ 1 MX 1 mail", "@ 1 MX 2 mail2", "mail 1 CNAME a.example.")
    assert [(note.place, note.problem.code) for note in assembled.notes] == [
        ("records[0] (@)", "target-cname")
    ]
    assert len(assembled.contents.records) == 3


def test_sizes_are_bounded() -> None:
    long = "x" * 10_000
    with pytest.raises(InvalidFields, match="do not fit into one answer"):
        wanted(*(f"a 1 TXT {number}{long}" for number in range(7)))
    with pytest.raises(InvalidFields, match="at most 262144"):
        wanted(*(f"a{number} 1 TXT {long}" for number in range(27)))


def test_an_import_replaces_what_it_brings() -> None:
    before = wanted(
        "@ 1 MX 1 old", "@ 1 TXT x", "a 1 A 203.0.113.1", "b 1 CNAME c", "d 1 TXT y"
    ).contents
    fresh = wanted("@ 1 MX 2 new", "a 1 CNAME c", "b 1 A 203.0.113.2", "e 1 TXT z").contents
    after = merged(before, fresh)
    assert written(after) == [
        "@ 1 MX 2 new.ducks.example.",
        '@ 1 TXT "x"',
        "a 1 CNAME c.ducks.example.",
        "b 1 A 203.0.113.2",
        'd 1 TXT "y"',
        'e 1 TXT "z"',
    ]
    added, removed = difference(before, after)
    assert [owner_text(record.owner) for record in added] == ["@", "a", "b", "e"]
    assert [owner_text(record.owner) for record in removed] == ["@", "a", "b"]


def test_the_origins_name_is_not_proxied() -> None:
    behind = replace(SITE, origin=parse_origin("https://origin.ducks.example"))
    hosts = {"records": [], "proxied": ["@", "origin"]}
    with pytest.raises(InvalidFields) as caught:
        validate_contents(hosts, behind)
    assert {field: problem.code for field, problem in caught.value.problems.items()} == {
        "proxied": "own-host"
    }
    assert validate_contents({**hosts, "proxied": ["@", "www"]}, behind).notes == ()


def test_the_addresses_of_the_origins_name_are_expected_at_a_proxied_host() -> None:
    found = [ipaddress.ip_address(f"203.0.113.{last}") for last in (1, 2)]
    behind = replace(SITE, origin=parse_origin("origin.ducks.example").at(found))
    lines = [item(f"@ 300 A {address}") for address in found]
    assert validate_contents({"records": lines}, behind).notes == ()


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (f"_443._tcp 60 TLSA 3 1 1 {'ab' * 32}", "@"),
        (f"_443._tcp.www 60 TLSA 3 1 1 {'ab' * 32}", "www"),
        (f"_443._tcp.mail 60 TLSA 3 1 1 {'ab' * 32}", ""),
        (f"_25._tcp 60 TLSA 3 1 1 {'ab' * 32}", ""),
        ("_443._tcp.www 60 TXT text", ""),
    ],
)
def test_a_tlsa_record_of_a_proxied_host_names_the_wrong_certificate(line: str, host: str) -> None:
    for assembled in (wanted(line), imported(line)):
        found = [(note.problem.code, note.problem.parameters["host"]) for note in assembled.notes]
        assert found == ([("tlsa-proxied", host)] if host else [])
        # It is the owner's to decide.
        assert len(assembled.contents.records) == 1
        problems = pin_problems(replace(SITE, contents=assembled.contents))
        assert [problem.parameters["host"] for problem in problems] == ([host] if host else [])
