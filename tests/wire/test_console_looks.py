"""What would become of a site, shown on the form before it is registered, and on its page after."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.unit.console.driver import GOOD, HTML, Driver, Reply
from tests.unit.console.fakes import ADMIN
from watchducks.console.looks import AT_ONCE, KEPT_SECONDS, LOOKS_BURST
from watchducks.console.shown_dns import MAX_LISTED
from watchducks.model.prospects import Prospect, Reached
from watchducks.model.scans import KeptScan, NameServer, Note, Scan
from watchducks.model.sites import SiteState
from watchducks.model.zones import Record

SCAN = Scan(
    records=(
        Record(b"", 1, 300, b"\xcb\x00\x71\x07"),
        Record(b"", 15, 300, b"\x00\x0a\x04mail\x04host\x07example\x00"),
        *(Record(b"\x03h%02d" % n, 16, 300, b"\x05<bad>") for n in range(MAX_LISTED)),
    ),
    servers=(NameServer("ns1.old.example"),),
    ds=("12345 13 2 abcd",),
    notes=(Note("server", "A name server did not answer well: {reason}.", {"reason": "<late>"}),),
)
FOUND = Prospect(
    "",
    (
        Reached("http", 80, 404),
        Reached("https", 443, 200, trouble=Note("x", "the certificate of your server has expired")),
    ),
    None,
    SCAN,
)


@pytest.fixture
def driver() -> Driver:
    found = Driver()
    found.looking.prospect = FOUND
    return found


def look(driver: Driver, language: str = "en", **fields: str) -> Reply:
    csrf = driver.csrf(f"/register?lang={language}")
    return driver.submit({**csrf, **GOOD, **fields}, "/register/look")


def begin(driver: Driver, fields: dict[str, str]) -> None:
    """Send a form whose answer has to be waited for."""
    body = urlencode(fields).encode()
    cookies = "; ".join(f"{name}={value}" for name, value in driver.cookies.items())
    protocol, _ = driver.connect()
    protocol.dataReceived(
        b"POST /register/look HTTP/1.1\r\nHost: console.example:8000\r\nAccept: text/html\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        + f"Cookie: {cookies}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_form_shows_what_was_found_and_keeps_what_was_typed(
    driver: Driver, language: str
) -> None:
    page = look(driver, language, email="not yet")
    assert page.status == 200
    assert driver.looking.asked == [("ducks.example", "ducks.example", "203.0.113.7")]
    for shown in (
        'value="ducks.example"',
        'value="not yet"',
        "mail.host.example",
        "ns1.old.example",
        "TXT \N{MULTIPLICATION SIGN} 40",
        "&lt;bad&gt;",
        "&lt;late&gt;",
        "http, 80",
        "404",
    ):
        assert shown in page.text, shown
    expected = {
        "en": ("Mail goes to", "has expired", "And 2 more.", "is signed with DNSSEC"),
        "ko": ("메일 서버:", "만료", "외 2개", "DNSSEC"),
    }
    for words in expected[language]:
        assert words in page.text, words
    assert driver.sites.by_key == {}


def test_what_cannot_be_registered_is_told_and_nobody_is_asked(driver: Driver) -> None:
    for fields, words in (
        ({"origin": "10.0.0.7"}, "private address"),
        ({"origin": "127.0.0.1"}, "loopback address"),
        ({"origin": "[::ffff:169.254.169.254]:80"}, "metadata"),
        ({"origin": "198.51.100.1"}, "our own address"),
        ({"origin": "www.ducks.example"}, "will lead to our proxies"),
        ({"domain": "com"}, "no dot"),
        ({"domain": "", "origin": ""}, "Correct the marked fields"),
    ):
        page = look(driver, **fields)
        assert (page.status, words in page.text) == (422, True), words
    driver.api("POST", "/api/v1/blocks", {"what": "ducks.example", "reason": "x"}, ADMIN)
    assert look(driver).status == 403
    assert driver.submit({**GOOD}, "/register/look").status == 403  # no form of ours
    assert driver.ask("GET", "/register/look", headers=HTML).status == 405
    assert driver.looking.asked == []


def test_looks_are_few_and_the_same_one_is_kept(driver: Driver) -> None:
    for _ in range(3):
        assert look(driver).status == 200
    assert len(driver.looking.asked) == 1
    driver.clock.advance(KEPT_SECONDS)
    assert look(driver).status == 200
    assert len(driver.looking.asked) == 2
    statuses = [look(driver, domain=f"d{n}.example").status for n in range(LOOKS_BURST + 1)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert len(driver.looking.asked) <= LOOKS_BURST + 4
    driver.address = "203.0.113.99"
    assert look(driver, domain="other.example").status == 200


def test_no_more_than_some_are_under_way(driver: Driver) -> None:
    driver.looking.hang = Deferred()
    csrf = driver.csrf()
    for number in range(AT_ONCE):
        begin(driver, {**csrf, **GOOD, "domain": f"d{number}.example"})
    driver.settle()
    assert len(driver.looking.asked) == AT_ONCE
    refused = driver.submit({**csrf, **GOOD}, "/register/look")
    assert (refused.status, refused.headers["retry-after"]) == (503, "10")
    waiting, driver.looking.hang = driver.looking.hang, None
    waiting.callback(None)
    assert driver.submit({**csrf, **GOOD}, "/register/look").status == 200


@pytest_twisted.ensureDeferred
async def test_the_sites_page_shows_its_owner_the_same_until_it_is_delegated(
    driver: Driver,
) -> None:
    token = await driver.add()
    site = driver.sites.by_key["ducks"]
    driver.scans.kept[site.id] = KeptScan(1_795_300_000, SCAN)
    assert "mail.host.example" not in driver.get("/sites/ducks").text
    fields = {**driver.csrf("/sites/ducks/settings"), "token": token}
    assert driver.submit(fields, "/sites/ducks/settings/unlock").status == 303
    assert "mail.host.example" in driver.get("/sites/ducks").text
    driver.sites.by_key["ducks"] = replace(site, state=SiteState.ACTIVE)
    assert "mail.host.example" not in driver.get("/sites/ducks").text
