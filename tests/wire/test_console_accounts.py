"""Signing in, tokens, visibility and the trail, on the pages and through the API."""

from __future__ import annotations

import re

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.unit.console.driver import GOOD, Driver, Reply
from watchducks.console.account_pages import LINKS_BURST, MAILS_BURST
from watchducks.console.app import CHECKS_BURST
from watchducks.console.registrations import ADDRESS_BURST, NETWORK_BURST
from watchducks.model.accounts import Actor

OWNER = "owner@ducks.example"


class Browser:
    """A person in front of a console with one site."""

    def __init__(self, **console: str) -> None:
        self.driver = Driver(**console)
        self.token = ""

    async def fill(self) -> None:
        self.token = await self.driver.add(email=OWNER)

    def send(self, path: str, page: str = "/sign-in", **fields: str) -> Reply:
        return self.driver.submit({**self.driver.csrf(page), **fields}, path)

    def sign_in(self) -> Reply:
        assert self.send("/sign-in", email=OWNER).status == 303
        (secret,) = self.driver.accounts.links
        return self.send(f"/sign-in/{secret}", f"/sign-in/{secret}")


@pytest.fixture
def browser() -> Browser:
    found = Browser()
    pytest_twisted.blockon(Deferred.fromCoroutine(found.fill()))
    return found


def test_a_link_signs_in_by_its_button_and_once(browser: Browser) -> None:
    assert browser.driver.get("/account").headers["location"] == "/sign-in"
    assert browser.send("/sign-in", email=OWNER.upper()).headers["location"] == "/sign-in?sent=yes"
    (secret,) = browser.driver.accounts.links
    for _ in range(2):  # a mail program that opens it uses nothing up
        page = browser.driver.get(f"/sign-in/{secret}")
        assert OWNER in page.text
        assert page.headers["cache-control"] == "no-store"
    fields = browser.driver.csrf(f"/sign-in/{secret}")
    signed_in = browser.driver.submit(fields, f"/sign-in/{secret}")
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/account")
    (cookie,) = [one for one in signed_in.cookies if one.startswith("sign_in=")]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    again = browser.driver.submit(fields, f"/sign-in/{secret}")
    assert again.status == 403
    assert "used already" in again.text
    page = browser.driver.get("/account")
    assert 'href="/sites/ducks"' in page.text
    assert OWNER in page.text
    assert ">My sites</a>" in browser.driver.get("/").text


def test_the_answer_tells_nobody_who_has_an_account(browser: Browser) -> None:
    replies = [browser.send("/sign-in", email=email) for email in (OWNER, "nobody@ducks.example")]
    assert [(one.status, one.headers["location"], one.body) for one in replies] == [
        (303, "/sign-in?sent=yes", b"")
    ] * 2
    assert len(browser.driver.accounts.links) == 1
    assert browser.send("/sign-in", email="no address").status == 422


def test_asking_for_links_is_limited_by_address_and_by_network(browser: Browser) -> None:
    for _ in range(LINKS_BURST):
        assert browser.send("/sign-in", email=OWNER).status == 303
    assert len(browser.driver.accounts.links) == MAILS_BURST
    refused = browser.send("/sign-in", email=OWNER)
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    browser.driver.clock.advance(30)
    assert browser.send("/sign-in", email=OWNER).status == 303


@pytest_twisted.ensureDeferred
async def test_by_https_the_session_is_for_this_host_and_secure() -> None:
    browser = Browser(url="https://console.example:8000")
    await browser.fill()
    (cookie,) = [one for one in browser.sign_in().cookies if "sign_in=" in one]
    assert cookie.startswith("__Host-sign_in=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert browser.driver.get("/account").status == 200
    # A cookie that a neighbouring name could have set is none.
    browser.driver.cookies["sign_in"] = browser.driver.cookies.pop("__Host-sign_in")
    assert browser.driver.get("/account").status == 303


def test_every_form_needs_its_csrf_token(browser: Browser) -> None:
    browser.sign_in()
    for path in (
        "/sign-in",
        "/sign-in/anything",
        "/sign-out",
        "/account/tokens",
        "/account/tokens/revoke",
        "/sites/ducks/settings/visibility",
        "/sites/ducks/settings/share",
    ):
        browser.driver.csrf("/sign-in")
        assert browser.driver.submit({"__csrf_protection__": "wrong"}, path).status == 403, path
    assert len(browser.driver.accounts.sessions) == 1


def test_signing_out_ends_the_session_and_what_was_unlocked(browser: Browser) -> None:
    browser.sign_in()
    browser.send("/sites/ducks/settings/unlock", token=browser.token)
    assert browser.send("/sign-out", everywhere="yes").status == 303
    assert browser.driver.accounts.sessions == {}
    assert browser.driver.get("/account").status == 303
    assert 'name="hsts_seconds"' not in browser.driver.get("/sites/ducks/settings").text


@pytest_twisted.ensureDeferred
async def test_who_is_signed_in_changes_his_sites_and_no_others(browser: Browser) -> None:
    await browser.driver.add(name="geese", domain="geese.example", email="other@geese.example")
    browser.sign_in()
    settings = "/sites/ducks/settings"
    assert browser.send(f"{settings}/visibility", visibility="unlisted").status == 303
    page = browser.driver.get(settings).text
    link = re.search(r"http://console\.example:8000/sites/ducks\?share=[\w-]+", page)
    assert link
    assert browser.send(f"{settings}/share").status == 303
    assert link[0] + "<" not in browser.driver.get(settings).text
    assert browser.send(f"{settings}/visibility", visibility="secret").status == 422
    theirs = browser.send("/sites/geese/settings/visibility", visibility="private")
    assert theirs.status == 403
    assert browser.driver.sites.entries[-1].actor == Actor(OWNER, "192.0.2.0/24")
    history = browser.driver.get("/sites/ducks/history")
    assert OWNER in history.text
    assert "192.0.2.0/24" in history.text
    assert browser.driver.get("/sites/geese/history").status == 403


def test_a_token_is_shown_once_used_and_revoked(browser: Browser) -> None:
    browser.sign_in()
    wrong = browser.send("/account/tokens", label="", scope="all", site="geese")
    assert wrong.status == 422
    made = browser.send("/account/tokens", label="backup <b>", scope="write", site="ducks")
    assert made.headers["location"] == "/account/tokens?made=yes"
    text = re.search(r"wd_made-\d", browser.driver.get("/account/tokens?made=yes").text)
    assert text
    page = browser.driver.get("/account/tokens?made=yes").text
    assert text[0] not in page
    assert "backup &lt;b&gt;" in page
    change = {"cohort": "second"}
    assert browser.driver.api("PATCH", "/api/v1/sites/ducks", change, text[0]).status == 200
    browser.send("/account/tokens/revoke", number="no number")
    browser.send("/account/tokens/revoke", number="1")
    assert browser.driver.api("PATCH", "/api/v1/sites/ducks", change, text[0]).status == 403


def test_the_api_makes_lists_and_revokes_tokens(browser: Browser) -> None:
    api = browser.driver.api
    assert api("GET", "/api/v1/tokens").status == 401
    assert api("GET", "/api/v1/tokens", token=browser.token).status == 403
    browser.sign_in()
    browser.send("/account/tokens", label="first", scope="write", site="")
    first = "wd_made-1"
    made = api("POST", "/api/v1/tokens", {"label": "second", "scope": "read"}, first)
    assert made.status == 201
    assert made.headers["cache-control"] == "no-store"
    reader = made.json["token"]
    assert [one["label"] for one in api("GET", "/api/v1/tokens", token=reader).json["tokens"]] == [
        "first", "second"
    ]  # fmt: skip
    for method, path, body in (
        ("POST", "/api/v1/tokens", {"label": "third", "scope": "read"}),
        ("DELETE", "/api/v1/tokens/1", None),
    ):
        assert api(method, path, body, reader).status == 403
    limited = api(
        "POST", "/api/v1/tokens", {"label": "x", "scope": "write", "site": "ducks"}, first
    ).json["token"]
    assert api("POST", "/api/v1/tokens", {"label": "y", "scope": "read"}, limited).status == 403
    wrong = api("POST", "/api/v1/tokens", {"label": 5, "scope": "all", "site": "geese"}, first)
    assert (wrong.status, set(wrong.json["errors"])) == (422, {"label", "scope", "site"})
    assert api("DELETE", "/api/v1/tokens/2", token=first).status == 204
    assert api("DELETE", "/api/v1/tokens/2", token=first).status == 404
    assert api("GET", "/api/v1/tokens", token=reader).status == 403


@pytest_twisted.ensureDeferred
async def test_the_trail_is_the_owners_and_the_admins(browser: Browser) -> None:
    api = browser.driver.api
    await browser.driver.add(name="geese", domain="geese.example", email="other@geese.example")
    api("PATCH", "/api/v1/sites/ducks", {"cohort": "second"}, browser.token)
    assert api("GET", "/api/v1/sites/ducks/trail").status == 401
    found = api("GET", "/api/v1/sites/ducks/trail", token=browser.token).json["entries"]
    assert [one["act"] for one in found] == ["changed", "registered"]
    assert (found[0]["actor"], found[0]["network"]) == ("owner token", "192.0.2.0/24")
    older = f"/api/v1/sites/ducks/trail?before={found[0]['number']}"
    assert [one["act"] for one in api("GET", older, token=browser.token).json["entries"]] == [
        "registered"
    ]
    assert api("GET", "/api/v1/sites/geese/trail", token=browser.token).status == 403
    assert api("GET", "/api/v1/trail", token=browser.token).status == 403
    browser.sign_in()
    assert browser.driver.get("/account/trail").status == 403
    browser.driver.accounts.admins.add(OWNER)
    page = browser.driver.get("/account/trail").text
    assert "ducks" in page
    assert "geese" in page
    assert browser.driver.get("/sites/geese/history").status == 200


def test_the_pages_are_korean_too(browser: Browser) -> None:
    browser.sign_in()
    for path in ("/sign-in", "/account", "/account/tokens", "/sites/ducks/history"):
        page = browser.driver.get(path, **{"Accept-Language": "ko"}).text
        assert '<html lang="ko"' in page
        assert "내 사이트" in page


def test_an_outage_is_told(browser: Browser) -> None:
    browser.sign_in()
    browser.driver.sites.away = True
    assert browser.driver.get("/account").status == 503
    assert browser.driver.get("/sign-in").status == 200


def test_registrations_are_limited_by_network_and_by_address(browser: Browser) -> None:
    statuses = []
    for number in range(ADDRESS_BURST + 1):
        fields = {**GOOD, "name": f"site{number}", "domain": f"site{number}.example"}
        statuses.append(browser.driver.api("POST", "/api/v1/sites", fields).status)
    assert statuses == [201] * ADDRESS_BURST + [429]
    page = browser.send(
        "/register", "/register", **{**GOOD, "name": "last", "domain": "last.example"}
    )
    assert page.status == 429
    other = {**GOOD, "name": "other", "domain": "other.example", "email": "other@ducks.example"}
    assert browser.driver.api("POST", "/api/v1/sites", other).status == 201


def test_a_network_registers_so_many_sites_and_this_host_any_number(browser: Browser) -> None:
    def register(number: int) -> int:
        name = f"site{number}"
        fields = {**GOOD, "name": name, "domain": f"{name}.example", "email": f"o@{name}.example"}
        return browser.driver.api("POST", "/api/v1/sites", fields).status

    statuses = [register(number) for number in range(NETWORK_BURST + 1)]
    assert statuses == [201] * NETWORK_BURST + [429]
    browser.driver.address = "192.0.2.200"  # its neighbour
    assert register(50) == 429
    browser.driver.address = "203.0.113.1"
    assert register(51) == 201
    browser.driver.address = "127.0.0.1"
    assert [register(100 + number) for number in range(NETWORK_BURST + 1)] == [201] * (
        NETWORK_BURST + 1
    )


def test_who_types_is_answered_as_fast_as_he_can_and_no_faster(browser: Browser) -> None:
    checks = [
        browser.driver.get("/register/check?field=name&value=x").status
        for _ in range(CHECKS_BURST + 1)
    ]
    assert checks == [200] * CHECKS_BURST + [429]
    browser.driver.clock.advance(1)
    assert browser.driver.get("/register/check?field=name&value=x").status == 200
