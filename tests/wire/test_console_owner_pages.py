"""The pages on which an owner changes his site: token, records, zone files, settings."""

from __future__ import annotations

from html import unescape

import pytest

from tests.unit.console.driver import GOOD, Driver, Reply
from watchducks.console.app import CHECKS_BURST
from watchducks.console.owners import MAX_OWNERS, Owners
from watchducks.console.sessions import Session
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
            **self.driver.csrf(page.removesuffix("/import")),
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
    # A box that is not checked is not sent; the pin goes with "pinned".
    del fields["redirect_to_https"]
    owner.send(SETTINGS, **fields, origin_tls="verify", origin_pin=pin)
    site = owner.driver.sites.by_key["ducks"]
    assert (site.choices.origin_pin, site.choices.redirect_to_https) == ("", False)


def test_wrong_settings_are_said_beside_their_fields(owner: Owner) -> None:
    reply = owner.send(SETTINGS, origin="10.0.0.1", origin_tls="pinned", hsts_seconds="-1")
    assert reply.status == 422
    for field in ("origin", "hsts_seconds"):
        message = reply.text[reply.text.index(f'id="{field}-error"') :][:80]
        assert "></p>" not in message, message
    assert owner.driver.sites.by_key["ducks"].choices.origin_tls == "verify"
    reply = owner.send(SETTINGS, origin="203.0.113.7", origin_tls="pinned", hsts_seconds="0")
    assert "needs a pin" in reply.text


def test_the_pages_are_korean_too(owner: Owner) -> None:
    for page in (RECORDS, SETTINGS):
        text = owner.driver.get(page, **{"Accept-Language": "ko"}).text
        assert '<html lang="ko">' in text
        assert "설정" in text


def test_owners_who_are_remembered_are_bounded() -> None:
    owner = Owner()
    owners = Owners(owner.driver.sites)
    for number in range(MAX_OWNERS + 1):
        owners.remember(Session(str(number), isConfidential=False), 1, owner.token)
    assert len(owners._tokens) == MAX_OWNERS
