"""The pages on which an owner changes his site: token, records, zone files, settings."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from dns import rdata, rdataclass

from tests.unit.console.driver import GOOD, NAMESERVERS, Driver, Reply
from watchducks.background import Overloaded
from watchducks.console.app import CHECKS_BURST
from watchducks.console.owners import MAX_OWNERS, Owners
from watchducks.console.sessions import Session
from watchducks.lookups.found import owner_of_host
from watchducks.model.scans import KeptScan, NameServer, Note, Scan
from watchducks.model.zones import Record
from watchducks.registry.records import document_of, in_order

RECORDS = "/sites/ducks/records"
SETTINGS = "/sites/ducks/settings"
MX = {"owner": "@", "type": "MX", "ttl": "300", "value": "10 mail", "save": "record"}


class Owner:
    """A browser whose person knows the token."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.token = self.driver.api("POST", "/api/v1/sites", GOOD).json["token"]

    def unlock(self, page: str = RECORDS, token: str = "") -> Reply:
        fields = {**self.driver.csrf(page), "token": token or f" {self.token} "}
        return self.driver.submit(fields, f"{page}/unlock")

    def send(self, page: str = RECORDS, /, **fields: str) -> Reply:
        now = self.driver.sites.by_key["ducks"].revision
        hidden = {
            **self.driver.csrf("/".join(page.split("/")[:4])),
            "revision": str(now),
        }
        return self.driver.submit({**hidden, **fields}, page)

    def records(self) -> list[tuple[str, ...]]:
        contents = self.driver.sites.by_key["ducks"].contents
        return [
            tuple(str(value) for value in document_of(record).values())
            for record in in_order(contents.records)
        ]


@pytest.fixture
def owner() -> Owner:
    """One who has shown his token."""
    owner = Owner()
    assert owner.unlock().status == 303
    return owner


@pytest.mark.parametrize("page", [RECORDS, SETTINGS])
def test_everybody_reads_and_only_the_token_gives_the_forms(page: str) -> None:
    owner = Owner()
    text = owner.driver.get(page).text
    assert 'name="token"' in text
    assert 'name="save"' not in text
    assert 'name="hsts_seconds"' not in text
    wrong = owner.unlock(page, "wd_no")
    assert (wrong.status, "not good for this site" in wrong.text) == (403, True)
    reply = owner.unlock(page)
    assert (reply.status, reply.headers["location"]) == (303, page)
    text = owner.driver.get(page).text
    assert 'name="token"' not in text
    assert owner.token not in text
    # Another site, or another browser, gains nothing by it.
    assert owner.driver.get("/sites/geese/records").status == 404
    owner.driver.api("POST", "/api/v1/sites", {**GOOD, "name": "geese", "domain": "geese.example"})
    assert 'name="token"' in owner.driver.get("/sites/geese/records").text
    owner.driver.cookies.clear()
    assert 'name="token"' in owner.driver.get(page).text


@pytest.mark.parametrize("page", [RECORDS, f"{RECORDS}/import", SETTINGS])
def test_who_has_not_shown_the_token_changes_nothing(page: str) -> None:
    owner = Owner()
    before = owner.driver.sites.by_key["ducks"]
    assert (
        owner.send(page, **MX, zonefile="@ 1 TXT x", confirm="yes", origin="9.9.9.9").status == 403
    )
    assert owner.driver.sites.by_key["ducks"] == before


def test_forms_need_their_csrf_token(owner: Owner) -> None:
    owner.driver.csrf(RECORDS)
    for page in (RECORDS, f"{RECORDS}/import", SETTINGS, f"{RECORDS}/unlock"):
        assert owner.driver.submit({**MX, "revision": "1"}, page).status == 403
    assert owner.records() == []


def test_a_revoked_token_stops_working(owner: Owner) -> None:
    owner.driver.sites.tokens["ducks"] = "wd_another"
    assert owner.send(**MX).status == 403
    assert 'name="token"' in owner.driver.get(RECORDS).text


def test_guessing_tokens_is_slowed_down() -> None:
    owner = Owner()
    statuses = [owner.unlock(token=f"wd_{number}").status for number in range(CHECKS_BURST + 1)]
    assert statuses == [403] * CHECKS_BURST + [429]


def test_registering_is_showing_the_token() -> None:
    driver = Driver()
    assert driver.submit({**driver.csrf(), **GOOD}).status == 303
    assert 'name="save"' in driver.get(RECORDS).text


def test_records_are_added_changed_and_removed(owner: Owner) -> None:
    reply = owner.send(**MX)
    assert (reply.status, reply.headers["location"]) == (303, f"{RECORDS}?kept=yes")
    owner.send(owner="오리", type="TXT", ttl="60", value="<b>hello</b>", save="record")
    assert owner.records() == [
        ("@", "MX", "300", "10 mail.ducks.example."),
        ("xn--oy2b11u", "TXT", "60", '"<b>hello</b>"'),
    ]
    page = owner.driver.get(f"{RECORDS}?change=1").text
    assert "<b>hello" not in page
    assert 'value="&#34;&lt;b&gt;hello' in page
    assert 'name="change" value="1"' in page
    owner.send(change="1", owner="a", type="A", ttl="60", value="203.0.113.9", save="record")
    assert owner.records()[1] == ("a", "A", "60", "203.0.113.9")
    owner.send(remove="0")
    assert owner.records() == [("a", "A", "60", "203.0.113.9")]
    # A row that there is not changes nothing.
    owner.send(remove="9")
    assert len(owner.records()) == 1


@pytest.mark.parametrize(
    ("fields", "place", "message"),
    [
        ({"value": "mail"}, "value-error", "cannot be the value of a record of type MX"),
        ({"ttl": "1h"}, "ttl-error", "from 0 to 604800"),
        ({"owner": "a b"}, "owner-error", "is not a name"),
        ({"type": "SOA"}, "type-error", "cannot be kept"),
        ({"type": "CNAME", "value": "a.example."}, "record", "is proxied and cannot have a CNAME"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    owner: Owner, fields: dict[str, str], place: str, message: str
) -> None:
    reply = owner.send(**{**MX, **fields})
    assert reply.status == 422
    text = unescape(reply.text)
    assert message in text[text.index(f'id="{place}"') :][:600]
    # What was typed is still there.
    assert f'value="{fields.get("value", "10 mail")}"' in text
    assert owner.records() == []


def test_a_change_of_somebody_else_meanwhile_is_not_undone(owner: Owner) -> None:
    owner.send(**MX)
    for page, fields in (
        (RECORDS, {"remove": "0"}),
        (f"{RECORDS}/import", {"zonefile": "", "replace": "yes", "confirm": "yes"}),
    ):
        reply = owner.send(page, revision="1", **fields)
        assert (reply.status, "has changed since" in reply.text) == (412, True)
    assert len(owner.records()) == 1


def test_proxied_hosts_are_chosen(owner: Owner) -> None:
    owner.send(save="hosts", hosts="@, shop  www")
    assert owner.driver.sites.by_key["ducks"].contents.proxied == ("@", "shop", "www")
    reply = owner.send(save="hosts", hosts="*")
    assert (reply.status, "is not a host name" in reply.text) == (422, True)


def test_a_zone_file_is_shown_before_it_is_kept(owner: Owner) -> None:
    owner.send(**MX)
    file = "@ 300 MX 5 new\n@ 300 SOA a b 1 2 3 4 5\n"
    reply = owner.send(f"{RECORDS}/import", zonefile=file)
    assert reply.status == 200
    assert "- @ 300 MX 10 mail.ducks.example." in reply.text
    assert "+ @ 300 MX 5 new.ducks.example." in reply.text
    assert "line 2: SOA" in reply.text
    assert len(owner.records()) == 1
    owner.send(f"{RECORDS}/import", zonefile=file, confirm="yes")
    assert owner.records() == [("@", "MX", "300", "5 new.ducks.example.")]
    owner.send(f"{RECORDS}/import", zonefile="", replace="yes", confirm="yes")
    assert owner.records() == []
    bad = owner.send(f"{RECORDS}/import", zonefile="x\r\n@ 300 A 203.0.113.9")
    assert (bad.status, "Line 1 cannot be read" in bad.text) == (422, True)


def test_settings_are_changed(owner: Owner) -> None:
    pin = "ab" * 32
    fields = {"origin": "https://203.0.113.9", "hsts_seconds": "300", "redirect_to_https": "on"}
    reply = owner.send(SETTINGS, **fields, origin_tls="pinned", origin_pin=pin)
    assert (reply.status, reply.headers["location"]) == (303, f"{SETTINGS}?kept=yes")
    site = owner.driver.sites.by_key["ducks"]
    assert str(site.origin) == "https://203.0.113.9"
    assert (site.choices.origin_tls, site.choices.origin_pin) == ("pinned", pin)
    assert (site.choices.redirect_to_https, site.choices.hsts_seconds) == (True, 300)
    assert not site.choices.ranked
    # A box that is not checked is not sent; the pin goes with "pinned".
    del fields["redirect_to_https"]
    owner.send(SETTINGS, **fields, origin_tls="verify", origin_pin=pin)
    site = owner.driver.sites.by_key["ducks"]
    assert (site.choices.origin_pin, site.choices.redirect_to_https) == ("", False)


def test_an_owner_says_what_shall_be_known_of_visitors(owner: Owner) -> None:
    fields = {"origin": "203.0.113.7", "origin_tls": "verify", "hsts_seconds": "0"}
    kept = {"keep_networks": "on", "honour_gpc": "on", "query_parameters": "page, q"}
    assert owner.send(SETTINGS, **fields, **kept).status == 303
    choices = owner.driver.sites.by_key["ducks"].choices
    assert (choices.keep_networks, choices.honour_gpc, choices.ranked) == (True, True, False)
    assert choices.query_parameters == "page q"
    page = owner.driver.ask("GET", SETTINGS).text
    assert 'value="page q"' in page
    assert owner.send(SETTINGS, **fields, query_parameters="a=b").status == 422


def test_wrong_settings_are_said_beside_their_fields(owner: Owner) -> None:
    reply = owner.send(SETTINGS, origin="10.0.0.1", origin_tls="pinned", hsts_seconds="-1")
    assert reply.status == 422
    for field in ("origin", "hsts_seconds"):
        message = reply.text[reply.text.index(f'id="{field}-error"') :][:80]
        assert "></p>" not in message, message
    assert owner.driver.sites.by_key["ducks"].choices.origin_tls == "verify"
    reply = owner.send(SETTINGS, origin="203.0.113.7", origin_tls="pinned", hsts_seconds="0")
    assert "needs a pin" in reply.text


def test_a_drill_is_begun_and_ended(owner: Owner) -> None:
    driver = owner.driver
    driver.sites.now = driver.clock.seconds()
    reply = owner.send(f"{SETTINGS}/drill", drill="on")
    assert (reply.status, reply.headers["location"]) == (303, f"{SETTINGS}?kept=yes#drill")
    assert driver.api("GET", "/api/v1/sites/ducks").json["drill_until"]
    assert "A drill is under way" in driver.get(SETTINGS).text
    owner.send(f"{SETTINGS}/drill", drill="off")
    assert driver.api("GET", "/api/v1/sites/ducks").json["drill_until"] is None
    assert "A drill is under way" not in driver.get(SETTINGS).text


def test_dnssec_is_switched_on_and_its_key_changed_and_off_again(owner: Owner) -> None:
    """The way through all phases, as an owner goes it on the page."""
    driver = owner.driver
    day = 86_400

    def later(seconds: int) -> None:
        driver.clock.advance(seconds)
        driver.sites.now = driver.clock.seconds()
        assert owner.unlock(SETTINGS).status == 303  # the session does not last that long

    def step(wanted: str) -> Reply:
        return owner.send(f"{SETTINGS}/dnssec", step=wanted)

    def offered() -> list[str]:
        return re.findall(r'name="step" value="(\w+)"', driver.get(SETTINGS).text)

    later(0)
    assert offered() == ["on"]
    reply = step("on")
    assert (reply.status, reply.headers["location"]) == (303, f"{SETTINGS}?kept=yes#dnssec")
    text = driver.get(SETTINGS).text
    assert "the DS record for your registrar appears here" in text
    assert "Nov 22 01:26</time>" in text  # three hours from now
    assert "data-copy" not in text
    later(3 * 3600)
    (first,) = driver.api("GET", "/api/v1/sites/ducks/dnssec").json["ds"]
    text = driver.get(SETTINGS).text
    assert f'data-copy="{first}"' in text
    assert "Enter the DS record only when the name servers" in text
    assert offered() == ["roll", "off"]

    assert step("roll").status == 303
    assert (offered(), f'data-copy="{first}"' in driver.get(SETTINGS).text) == (["off"], True)
    later(3 * 3600)
    (second,) = driver.api("GET", "/api/v1/sites/ducks/dnssec").json["ds"]
    assert offered() == ["confirm", "off"]
    driver.parents.ds = [first]
    reply = step("confirm")
    assert (reply.status, f"The parent has: {first}." in reply.text) == (422, True)
    driver.parents.ds = [second]
    assert step("confirm").status == 303
    assert "At the time below the old key is removed" in driver.get(SETTINGS).text
    later(3 * day)
    assert offered() == ["roll", "off"]

    step("off")
    assert "Remove the DS record at the registrar" in driver.get(SETTINGS).text
    assert offered() == ["confirm", "on"]
    driver.parents.ds = []
    step("confirm")
    assert "answers are no longer signed" in driver.get(SETTINGS).text
    later(3 * day)
    assert offered() == ["on"]
    for wrong in ("roll", "confirm", "leap", ""):
        reply = step(wrong)
        assert (reply.status, 'class="notice bad" role="alert"' in reply.text) == (422, True)


def test_everybody_sees_how_a_zone_is_signed_and_only_its_owner_changes_that() -> None:
    owner = Owner()
    page = owner.driver.get(SETTINGS).text
    assert "Off: answers are not signed." in page
    assert 'name="step"' not in page
    assert owner.send(f"{SETTINGS}/dnssec", step="on").status == 403
    assert owner.driver.submit({"step": "on"}, f"{SETTINGS}/dnssec").status == 403
    assert not owner.driver.sites.by_key["ducks"].signing.wanted


def found(host: str, type_: str, value: str) -> Record:
    made = rdata.from_text(rdataclass.IN, type_, value)
    return Record(owner_of_host(host), int(made.rdtype), 300, made.to_digestable())


def test_what_the_present_name_servers_have_is_brought_with_two_clicks(owner: Owner) -> None:
    driver = owner.driver
    assert "They are being asked what they have" in driver.get(RECORDS).text
    scan = Scan(
        (found("@", "MX", "10 mx.old.example."), found("www", "CNAME", "ducks.example.")),
        ds=(f"1 13 2 {'ab' * 32}",),
        notes=(Note("server", "A name server did not answer well: {reason}.", {"reason": "<i>"}),),
    )
    offers = (found("shop", "TXT", '"a < b"'), found("@", "TXT", "chosen"))
    driver.scans.kept[1] = KeptScan(1_795_000_000, scan, offers)
    page = unescape(driver.get(RECORDS).text)
    assert "ducks.example is signed with DNSSEC at its present provider" in page
    assert "A name server did not answer well: <i>." in page
    # What is proxied is ours, and what is at a name that the zone has was left out by its owner.
    fields = re.findall(r'name="zonefile" rows="2"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert fields == ['shop 300 TXT "a < b"', "@ 300 MX 10 mx.old.example."]
    for text in fields:
        assert f"+ {text}" in unescape(owner.send(f"{RECORDS}/import", zonefile=text).text)
        owner.send(f"{RECORDS}/import", zonefile=text, confirm="yes")
    assert owner.records() == [
        ("@", "MX", "300", "10 mx.old.example."),
        ("shop", "TXT", "300", '"a < b"'),
    ]
    assert "Nobody will miss anything" in driver.get(RECORDS).text
    # Strangers see the warning, and not what visitors miss.
    driver.cookies.clear()
    page = driver.get(RECORDS).text
    assert "is signed with DNSSEC at its present provider" in page
    assert "At your present name servers" not in page
    assert "is signed with DNSSEC at its present provider" in driver.get("/sites/ducks").text


def rows(page: str) -> list[str]:
    """Return the text of each row of the comparison, its cells with blanks between them."""
    table = re.search(r'<table class="compare".*?</table>', page, re.DOTALL)
    assert table
    found = re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in found[1:]]


def test_the_owner_sees_the_whole_difference_before_he_switches(owner: Owner) -> None:
    driver = owner.driver
    owner.send(owner="api", type="A", ttl="60", value="192.0.2.9", save="record")
    owner.send(**MX)
    scan = Scan(
        (
            found("@", "A", "192.0.2.80"),
            found("@", "MX", "10 mx.old.example."),
            found("_dmarc", "TXT", '"<b>"'),
            found("www", "CNAME", "ducks.example."),
        ),
        servers=(NameServer("NS1.old.example"), NameServer("ns2.old.example")),
    )
    driver.scans.kept[1] = KeptScan(1_795_000_000, scan)
    page = driver.get(RECORDS).text
    assert rows(page) == [
        "Missing here",
        '_dmarc TXT "<b>" TTL 300 nothing',
        "Different here",
        "@ MX 10 mx.old.example. TTL 300 10 mail.ducks.example. TTL 300",
        "New here",
        "api A nothing 192.0.2.9 TTL 60",
        "Changes on purpose",
        "@ NS ns1.old.example. ns2.old.example. " + " ".join(f"{name}." for name in NAMESERVERS),
        "@ A 192.0.2.80 TTL 300 198.51.100.1 TTL 30",
        "www A nothing 198.51.100.1 TTL 30",
        "www CNAME ducks.example. TTL 300 nothing",
    ]
    assert "gave no complete list" in page
    assert "get the address of your own server" in page
    assert "Look at the first rows" in page
    driver.scans.kept[1] = KeptScan(1_795_000_000, replace(scan, whole=True))
    assert "gave no complete list" not in driver.get(RECORDS).text
    assert "의도된 변경" in driver.get(RECORDS, **{"Accept-Language": "ko"}).text
    driver.cookies.clear()
    assert 'class="compare"' not in driver.get(RECORDS).text


def test_a_tlsa_record_of_a_proxied_host_is_warned_of_until_it_is_gone(owner: Owner) -> None:
    tlsa = {"owner": "_443._tcp.www", "type": "TLSA", "ttl": "60", "value": f"3 1 1 {'ab' * 32}"}
    assert owner.send(**tlsa, save="record").status == 303
    warning = "but www is proxied and shows ours"
    assert warning in owner.driver.get(RECORDS).text
    owner.send(remove="0")
    assert owner.records() == []
    assert warning not in owner.driver.get(RECORDS).text


def test_the_present_name_servers_are_asked_again(owner: Owner) -> None:
    reply = owner.send(f"{RECORDS}/scan")
    assert (reply.status, reply.headers["location"]) == (303, f"{RECORDS}?looking=yes")
    assert owner.driver.scans.requested == [(1, "ducks.example")]
    assert "They are being asked again" in owner.driver.get(f"{RECORDS}?looking=yes").text
    owner.driver.scans.problem = Overloaded("more than 100 scans wait already")
    assert owner.send(f"{RECORDS}/scan").status == 503
    stranger = Owner()
    assert stranger.send(f"{RECORDS}/scan").status == 403
    assert stranger.driver.scans.requested == []


def test_the_pages_are_korean_too(owner: Owner) -> None:
    for page in (RECORDS, SETTINGS):
        text = owner.driver.get(page, **{"Accept-Language": "ko"}).text
        assert '<html lang="ko"' in text
        assert "설정" in text


def test_owners_who_are_remembered_are_bounded() -> None:
    owner = Owner()
    owners = Owners(owner.driver.sites)
    for number in range(MAX_OWNERS + 1):
        owners.remember(Session(str(number), isConfidential=False), 1, owner.token)
    assert len(owners._tokens) == MAX_OWNERS


def test_an_owner_has_the_name_servers_looked_at(owner: Owner) -> None:
    page = owner.driver.get(SETTINGS).text
    assert 'aria-current="step"' in page
    assert "Enter our name servers at your registrar" in page
    asked = owner.send(f"{SETTINGS}/check")
    assert (asked.status, asked.headers["location"]) == (303, f"{SETTINGS}#progress")
    again = owner.send(f"{SETTINGS}/check")
    assert again.status == 429
    assert "We have looked just now" in again.text


def test_only_an_owner_may_have_them_looked_at() -> None:
    stranger = Owner()
    assert stranger.send(f"{SETTINGS}/check").status == 403
    assert stranger.driver.sites.progress == {}
