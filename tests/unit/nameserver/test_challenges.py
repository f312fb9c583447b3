"""Challenges of certificate authorities: answered beside what the owner has, for a time."""

from __future__ import annotations

import dns.rcode

from tests.unit.nameserver.fakes import (
    PROXY4,
    Asker,
    FixedVerdicts,
    contents,
    rdatas,
    site,
    zone_table,
)

NAME = "_acme-challenge.example.com"


def texts(asker: Asker, name: str = NAME) -> list[str]:
    return sorted(line.partition(" IN TXT ")[2] for line in rdatas(asker.ask(name, "TXT").answer))


def asker_with(records: str = "") -> Asker:
    zones = zone_table(site("example.com", held=contents("example.com", records)))
    return Asker(zones, FixedVerdicts(PROXY4))


def test_several_values_and_then_none() -> None:
    asker = asker_with()
    assert asker.ask(NAME, "TXT").rcode() == dns.rcode.NXDOMAIN
    asker.zones.answer_challenges({"example.com": ("one", "two"), "www.example.com": ("three",)})
    assert texts(asker) == ['"one"', '"two"']
    assert texts(asker, "_acme-challenge.www.example.com") == ['"three"']
    assert asker.ask(NAME, "A").rcode() == dns.rcode.NOERROR
    asker.zones.answer_challenges({})
    assert asker.ask(NAME, "TXT").rcode() == dns.rcode.NXDOMAIN


def test_an_owners_own_text_stays() -> None:
    asker = asker_with('_acme-challenge 60 IN TXT "mine"')
    asker.zones.answer_challenges({"example.com": ("one",)})
    assert texts(asker) == ['"mine"', '"one"']


def test_an_owners_cname_or_cut_is_hidden() -> None:
    for record in ("CNAME elsewhere.example.", "NS ns.elsewhere.example."):
        asker = asker_with(f"_acme-challenge 60 IN {record}")
        asker.zones.answer_challenges({"example.com": ("one",)})
        assert texts(asker) == ['"one"']
        asker.zones.answer_challenges({})
        assert '"one"' not in texts(asker)


def test_outside_our_zones_nothing_is_answered() -> None:
    asker = asker_with()
    asker.zones.answer_challenges({"example.org": ("one",), "a" * 63 + ".b" * 94: ("x",)})
    assert asker.ask("_acme-challenge.example.org", "TXT").rcode() == dns.rcode.REFUSED


def test_the_same_again_forgets_no_answers() -> None:
    asker = asker_with()
    asker.zones.answer_challenges({"example.com": ("one",)})
    before = asker.zones.revision
    asker.zones.answer_challenges({"example.com": ("one",)})
    assert asker.zones.revision == before
