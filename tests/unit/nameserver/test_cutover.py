"""What a site's state means for the answers about its zone."""

from __future__ import annotations

import dns.rcode
import pytest

from tests.unit.nameserver.fakes import (
    PROXY4,
    Asker,
    FixedVerdicts,
    changed,
    contents,
    site,
    zone_table,
)
from watchducks.model.cutover import CutoverRules
from watchducks.model.sites import Site, SiteState

STRICT = CutoverRules(require_delegation=True)
ACME = CutoverRules(require_delegation=True, acme=True)
ORIGIN, STRANGER = "198.51.100.7", "192.0.2.66"


def asker(*sites: Site, rules: CutoverRules = STRICT) -> Asker:
    return Asker(zone_table(*sites, rules=rules), FixedVerdicts(PROXY4))


def addresses(asked: Asker, name: str) -> list[str]:
    response = asked.ask(name)
    assert response.rcode() == dns.rcode.NOERROR
    return [str(item) for rrset in response.answer for item in rrset]


@pytest.mark.parametrize(
    ("rules", "to_origin"),
    [
        (CutoverRules(), set()),
        (CutoverRules(acme=True), {"registered", "delegated"}),
        (STRICT, {"registered", "moved"}),
        (ACME, {"registered", "delegated", "moved"}),
    ],
)
def test_visitors_are_led_to_the_proxies_when_the_site_is_ready(
    rules: CutoverRules, to_origin: set[str]
) -> None:
    for state in SiteState:
        asked = asker(site("example.com", state=state), rules=rules)
        expected = ORIGIN if state in to_origin else str(PROXY4)
        assert addresses(asked, "example.com") == [expected], state
        assert addresses(asked, "www.example.com") == [expected], state


def test_a_new_state_is_answered_at_once() -> None:
    asked = asker(site("example.com"))
    states = (SiteState.DELEGATED, SiteState.MOVED, SiteState.DELEGATED)
    for state, expected in zip(states, (str(PROXY4), ORIGIN, str(PROXY4)), strict=True):
        asked.ask("example.com")
        asked.zones.apply(changed([site("example.com", state=state)]))
        assert addresses(asked, "example.com") == [expected]


def test_an_unproven_zone_takes_no_name_from_one_that_is_somebodys() -> None:
    mail = contents("example.com", "mail 60 A 192.0.2.25\nwww.mail 60 A 192.0.2.26")
    owners = site("example.com", held=mail, state=SiteState.ACTIVE)
    for state in (SiteState.REGISTERED, SiteState.MOVED):
        squats = [
            site(zone, STRANGER, state=state)
            for zone in ("www.example.com", "mail.example.com", "deep.example.com")
        ]
        asked = asker(*squats, owners, *squats)
        assert addresses(asked, "www.example.com") == [str(PROXY4)]
        assert addresses(asked, "mail.example.com") == ["192.0.2.25"]
        assert addresses(asked, "www.mail.example.com") == ["192.0.2.26"]
        # And it is no cut: the owner's zone says itself what there is.
        assert asked.ask("deep.example.com").rcode() == dns.rcode.NXDOMAIN
        assert asked.zones.apexes() == (b"\7example\3com\0",)
        # With the owner's word it is.
        asked.zones.apply(changed([site("deep.example.com", STRANGER, state=SiteState.ACTIVE)]))
        assert addresses(asked, "deep.example.com") == [str(PROXY4)]


def test_a_zone_that_was_delegated_and_is_no_more_gives_way() -> None:
    asked = asker(
        site("example.com", state=SiteState.ACTIVE),
        site("shop.example.com", STRANGER, state=SiteState.ACTIVE),
    )
    assert addresses(asked, "shop.example.com") == [str(PROXY4)]
    asked.zones.apply(changed([site("shop.example.com", STRANGER, state=SiteState.MOVED)]))
    assert asked.ask("shop.example.com").rcode() == dns.rcode.NXDOMAIN


def test_an_unproven_zone_is_forgotten_as_any() -> None:
    asked = asker(site("example.com"))
    asked.zones.apply(changed(removed=["example.com"]))
    assert asked.ask("example.com").rcode() == dns.rcode.REFUSED
