"""The console's pages: overview, registration, a site, in two languages and without script."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import pytest_twisted

from tests.unit.console.driver import GOOD, NAMESERVERS, Driver
from watchducks.model.cutover import Finding, Progress
from watchducks.model.scans import Note
from watchducks.model.sites import SiteState
from watchducks.model.verdicts import OriginReport


@pytest.fixture
def driver() -> Driver:
    return Driver()


# --- overview -----------------------------------------------------------------------------------


def test_an_empty_console_invites_to_register(driver: Driver) -> None:
    page = driver.get("/")
    assert page.status == 200
    assert "No site is registered yet" in page.text
    assert 'href="/register"' in page.text


@pytest_twisted.ensureDeferred
async def test_the_overview_lists_sites_by_cohort_with_their_requests(driver: Driver) -> None:
    await driver.add()
    await driver.add(name="오리", domain="오리.kr", cohort="second")
    driver.analytics.scale = 1000
    page = driver.get("/")
    assert page.text.index(">first") < page.text.index(">second")
    assert 'href="/sites/%EC%98%A4%EB%A6%AC"' in page.text
    assert "오리.kr" in page.text
    driver.analytics.away = True
    page = driver.get("/")
    assert page.status == 200
    assert "The log store does not answer" in page.text


@pytest_twisted.ensureDeferred
async def test_a_long_overview_has_pages(driver: Driver) -> None:
    for number in range(61):
        await driver.add(name=f"site{number:02}", domain=f"s{number}.example")
    page = driver.get("/")
    following = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert following
    assert "site60" not in page.text
    assert "site60" in driver.get(following[1]).text


# --- registration -------------------------------------------------------------------------------


def test_registering_shows_name_servers_and_the_token_once(driver: Driver) -> None:
    reply = driver.submit({**GOOD, **driver.csrf()})
    assert (reply.status, reply.headers["location"]) == (303, "/sites/ducks?registered=yes")
    token = driver.sites.tokens["ducks"]
    assert token not in str(reply.headers) + reply.text
    page = driver.get("/sites/ducks?registered=yes")
    assert token in page.text
    assert page.headers["cache-control"] == "no-store"
    assert all(nameserver in page.text for nameserver in NAMESERVERS)
    assert token not in driver.get("/sites/ducks?registered=yes").text
    assert token not in driver.get("/sites/ducks").text


def test_another_browser_does_not_see_the_token(driver: Driver) -> None:
    driver.submit({**GOOD, **driver.csrf()})
    mine, driver.cookies = driver.cookies, {}
    assert driver.sites.tokens["ducks"] not in driver.get("/sites/ducks?registered=yes").text
    driver.cookies = mine
    head = driver.ask("HEAD", "/sites/ducks?registered=yes")
    assert head.status == 200
    assert driver.sites.tokens["ducks"] in driver.get("/sites/ducks?registered=yes").text


def test_every_wrong_field_has_its_message_and_keeps_its_value(driver: Driver) -> None:
    wrong = {"name": "a b", "domain": "co.kr", "origin": '"><b>', "email": "x", "cohort": "?"}
    page = driver.submit({**wrong, **driver.csrf()})
    assert page.status == 422
    for field in wrong:
        shown = re.search(rf'id="{field}-error"[^>]*>([^<]+)<', page.text)
        assert shown, field
        assert shown[1].strip()
    assert 'value="a b"' in page.text
    assert "<b>" not in page.text
    assert page.text.count('aria-invalid="true"') == 5
    assert driver.sites.by_key == {}
    # The form that came back can be sent again.
    hidden = re.search(r'name="(__[^"]*)"[^>]*value="([^"]*)"', page.text)
    assert hidden
    assert driver.submit({**GOOD, hidden[1]: hidden[2]}).status == 303


@pytest_twisted.ensureDeferred
async def test_what_is_taken_is_told_beside_the_field(driver: Driver) -> None:
    await driver.add()
    page = driver.submit({**GOOD, **driver.csrf()})
    assert page.status == 422
    assert "ducks.example is registered already." in page.text


def test_missing_fields_are_told(driver: Driver) -> None:
    page = driver.submit(driver.csrf())
    assert page.status == 422
    assert page.text.count('aria-invalid="true"') == 4, "all but the cohort"


@pytest.mark.parametrize("token", ["", "x", "é", "__none__"])
def test_a_form_that_is_not_ours_is_refused(driver: Driver, token: str) -> None:
    field = {} if token == "__none__" else dict.fromkeys(driver.csrf(), token)
    reply = driver.submit({**GOOD, **field})
    assert reply.status == 403
    assert "This form has expired" in reply.text
    assert driver.sites.by_key == {}


def test_a_form_without_its_cookie_or_with_a_strange_one_is_refused(driver: Driver) -> None:
    field = driver.csrf()
    for cookie in ({}, {"session": "x"}, {"session": "\xff"}, {"session": "1.2.3"}):
        driver.cookies = cookie
        assert driver.submit({**GOOD, **field}).status == 403
    assert driver.sites.by_key == {}


def test_a_session_in_a_header_does_not_avoid_the_csrf_token(driver: Driver) -> None:
    driver.csrf()
    for token in (driver.cookies.pop("session"), "\xff"):
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-INSECURE-Auth-Token": token,
        }
        assert driver.ask("POST", "/register", b"name=ducks", headers).status == 403


def test_the_session_cookie_is_guarded(driver: Driver) -> None:
    cookie = driver.get("/register").cookies[0].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "; secure" not in cookie
    behind_tls = Driver(url="https://console.example")
    assert "; secure" in behind_tls.get("/register").cookies[0].lower()
    assert driver.get("/").cookies == [], "a page without a form needs no cookie"


def test_the_form_stands_while_the_registry_is_away(driver: Driver) -> None:
    fields = {**GOOD, **driver.csrf()}
    driver.sites.away = True
    page = driver.submit(fields)
    assert page.status == 503
    assert 'value="ducks.example"' in page.text


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415),
        ({}, b"name=x", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=%ff", 400),
    ],
)
def test_bodies_that_are_no_form_are_refused(
    driver: Driver, headers: dict[str, str], body: bytes, status: int
) -> None:
    assert driver.ask("POST", "/register", body, headers).status == status


# --- live validation ----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_fields_are_checked_while_one_types(driver: Driver) -> None:
    await driver.add()

    def check(field: str, value: str, **headers: str) -> object:
        reply = driver.ask("GET", f"/register/check?field={field}&value={value}", headers=headers)
        assert reply.status == 200
        return reply.json

    good = {"ok": True, "message": ""}
    assert check("name", "other") == good
    assert check("cohort", "") == good
    assert check("domain", "www.other.example") == good
    assert check("name", "DUCKS") == {
        "ok": False,
        "code": "taken",
        "message": "The name DUCKS is taken.",
    }
    taken = "{} is registered already."
    assert check("domain", "www.ducks.example") == {
        "ok": False,
        "code": "registered",
        "message": taken.format("www.ducks.example"),
    }
    wrong = check("origin", "10.0.0.1", **{"Accept-Language": "ko"})
    assert wrong == {
        "ok": False,
        "code": "reserved-address",
        "message": "10.0.0.1은(는) 방문자가 닿을 수 없는 사설 주소입니다. 공인 주소를 입력하세요.",
    }
    assert check("nonsense", "x") == {
        "ok": False,
        "code": "unknown-field",
        "message": "There is no field nonsense.",
    }


def test_checks_are_bounded(driver: Driver) -> None:
    codes = [driver.ask("GET", "/register/check?field=name&value=x").status for _ in range(40)]
    assert codes[:20] == [200] * 20
    assert codes[-1] == 429
    driver.clock.advance(1)
    assert driver.ask("GET", "/register/check?field=name&value=x").status == 200


# --- a site -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_site_page_has_every_number_without_script(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    page = driver.get("/sites/ducks")
    requests = driver.api("GET", "/api/v1/sites/ducks/traffic").json["totals"]["requests"]
    shown = re.search(r'data-total="requests">([^<]+)<', page.text)
    assert shown
    assert shown[1] == f"{requests:,}"
    assert page.text.count("<tr>") > 4 * 24, "a row for each hour of each card"
    assert "/ducks/&lt;mallard&gt;" in page.text
    assert driver.get("/sites/DUCKS").status == 200, "names have no case"


@pytest_twisted.ensureDeferred
async def test_a_silent_site_says_what_is_to_be_done(driver: Driver) -> None:
    await driver.add()
    assert NAMESERVERS[0] in driver.get("/sites/ducks").text
    driver.analytics.scale = 100
    assert NAMESERVERS[0] not in driver.get("/sites/ducks").text


@pytest_twisted.ensureDeferred
async def test_ranges(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    for name in ("day", "week", "month"):
        page = driver.get(f"/sites/ducks?range={name}")
        assert f'href="/sites/ducks?range={name}" aria-current="true"' in page.text
    wrong = driver.get("/sites/ducks?range=century")
    assert wrong.status == 422


@pytest_twisted.ensureDeferred
async def test_a_site_page_stands_while_the_log_store_is_away(driver: Driver) -> None:
    await driver.add()
    driver.analytics.away = True
    page = driver.get("/sites/ducks")
    assert page.status == 200
    assert "The log store does not answer" in page.text


def test_an_unknown_site_is_not_found(driver: Driver) -> None:
    reply = driver.get("/sites/nobody%3Cscript%3E")
    assert reply.status == 404
    assert "There is no site nobody&lt;script&gt; that you may see." in reply.text


# --- languages ----------------------------------------------------------------------------------


def test_the_language_follows_the_browser_then_the_switch(driver: Driver) -> None:
    assert '<html lang="en"' in driver.get("/").text
    assert '<html lang="ko"' in driver.get("/", **{"Accept-Language": "ko-KR,ko;q=0.9"}).text
    chosen = driver.get("/?lang=ko")
    assert '<html lang="ko"' in chosen.text
    assert "아직 등록된 사이트가 없습니다" in chosen.text
    assert '<html lang="ko"' in driver.get("/register").text, "the cookie remembers it"
    assert '<html lang="en"' in driver.get("/?lang=en").text
    assert '<html lang="en"' in driver.get("/?lang=xx").text


def test_errors_speak_the_language_too(driver: Driver) -> None:
    reply = driver.api("GET", "/api/v1/sites/nobody?lang=ko")
    assert reply.json["title"] == "찾을 수 없습니다"


@pytest_twisted.ensureDeferred
async def test_a_site_says_whether_its_server_answers(driver: Driver) -> None:
    await driver.add()
    assert "Your server has" not in driver.get("/sites/ducks").text
    driver.origins.reports[1] = OriginReport(None, 1_795_300_000, 1_795_300_060)
    assert "Your server has been answering since <time" in driver.get("/sites/ducks").text
    failure = Note("origin", "{reason}", {"reason": "<b>{odd}"})
    driver.origins.reports[1] = OriginReport(failure, 1_795_300_000, 1_795_300_060)
    page = driver.get("/sites/ducks").text
    assert "Nov 21 22:26</time>: &lt;b&gt;{odd}</p>" in page
    page = driver.get("/sites/ducks", **{"Accept-Language": "ko"}).text
    assert "서버가" in page
    assert "부터 응답하지 않습니다" in page


def test_a_sites_way_is_shown_until_it_is_complete(driver: Driver) -> None:
    driver.api("POST", "/api/v1/sites", GOOD)
    page = driver.get("/sites/ducks").text
    assert 'data-steps="done,now:waiting,later"' in page
    assert "The first visitor was here" in page
    driver.sites.progress[1] = Progress(finding=Finding.ELSEWHERE, servers=("<b>ns.old",))
    page = driver.get("/sites/ducks").text
    assert "The domain&#39;s name servers are &lt;b&gt;ns.old." in page
    moved = replace(driver.sites.by_key["ducks"], state=SiteState.MOVED)
    driver.sites.by_key["ducks"] = moved
    assert "The domain has left our name servers" in driver.get("/sites/ducks").text
    driver.sites.by_key["ducks"] = replace(moved, state=SiteState.ACTIVE)
    assert 'id="progress"' not in driver.get("/sites/ducks").text
