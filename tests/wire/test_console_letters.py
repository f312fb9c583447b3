"""Which letters somebody gets: by the link in a letter, and on his account's page."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.unit.console.driver import Reply
from tests.wire.test_console_accounts import OWNER, Browser
from watchducks.model.subjects import ALL_SITES, Subject, Subscription

ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def browser() -> Browser:
    """A console with two sites of OWNER's, and one of somebody else's."""
    found = Browser()

    async def fill() -> None:
        await found.driver.add(name="a-swan", domain="swans.example", email=OWNER)
        await found.fill()
        await found.driver.add(name="geese", domain="geese.example", email="other@geese.example")

    pytest_twisted.blockon(Deferred.fromCoroutine(fill()))
    return found


def link(browser: Browser, subject: Subject = Subject.REPORT, email: str = OWNER) -> str:
    site = browser.driver.sites.by_key["ducks"]
    number = ALL_SITES if subject is Subject.FAILOVER else site.id
    return f"/letters/{Subscription(email, number, subject).pack().hex()}"


def one_click(browser: Browser, path: str, body: bytes = ONE_CLICK) -> Reply:
    """Post as a mail program does: no cookie, no form of ours."""
    browser.driver.cookies.clear()
    return browser.driver.ask("POST", path, body, FORM)


def refused(browser: Browser, email: str = OWNER) -> set[tuple[int, Subject]]:
    return browser.driver.letters.refused.get(email, set())


def test_a_mail_program_stops_letters_by_one_post_and_by_no_get(browser: Browser) -> None:
    path, number = link(browser), browser.driver.sites.by_key["ducks"].id
    for method in ("GET", "HEAD"):
        assert browser.driver.ask(method, path).status == 200
    assert refused(browser) == set()
    for _ in range(2):
        reply = one_click(browser, path)
        assert (reply.status, reply.cookies) == (200, [])
    assert refused(browser) == {(number, Subject.REPORT)}
    assert one_click(browser, path, b"List-Unsubscribe=Two-Clicks").status == 400
    assert one_click(browser, path, b"").status == 400
    assert browser.driver.ask("POST", path, ONE_CLICK, {"Content-Type": "text/plain"}).status == 415
    assert one_click(browser, "/letters/none").status == 404


def test_a_person_stops_them_by_a_button_and_chooses_others(browser: Browser) -> None:
    path, number = link(browser), browser.driver.sites.by_key["ducks"].id
    page = browser.driver.get(path)
    assert page.headers["cache-control"] == "no-store"
    assert "No more letters about this" in page.text
    assert "ducks" in page.text
    assert "geese" not in page.text
    assert "swan" not in page.text
    assert browser.send(f"{path}/stop", path).headers["location"] == f"{path}?kept=yes"
    assert refused(browser) == {(number, Subject.REPORT)}
    page = browser.driver.get(f"{path}?kept=yes")
    assert "You get no more letters about this." in page.text
    assert browser.send(f"{path}/choose", path, spike="yes", report="yes").status == 303
    assert refused(browser) == {
        (number, one)
        for one in (Subject.DROP, Subject.ERRORS, Subject.CERTIFICATE, Subject.NAME_SERVERS)
    }
    ours = browser.driver.submit({"__csrf_protection__": "wrong"}, f"{path}/choose")
    assert ours.status == 403


def test_letters_about_all_sites_at_once_have_a_choice_of_their_own(browser: Browser) -> None:
    path = link(browser, Subject.FAILOVER)
    assert "ducks" not in browser.driver.get(path).text.replace(OWNER, "").replace("WatchDucks", "")
    browser.send(f"{path}/choose", path)
    assert refused(browser) == {(ALL_SITES, Subject.FAILOVER)}


def test_a_link_shows_nothing_of_a_site_that_is_somebody_elses_by_now(browser: Browser) -> None:
    path = link(browser, email="before@ducks.example")
    page = browser.driver.get(path)
    assert page.status == 200
    assert "ducks.example)" not in page.text
    assert browser.send(f"{path}/choose", path).status == 303
    assert refused(browser, "before@ducks.example") == set()
    assert browser.send(f"{path}/stop", path).status == 303
    assert refused(browser, "before@ducks.example") != set()


def test_an_owner_chooses_for_each_of_his_sites(browser: Browser) -> None:
    assert browser.driver.get("/account/letters").headers["location"] == "/sign-in"
    assert browser.send("/account/letters").headers["location"] == "/sign-in"
    browser.sign_in()
    page = browser.driver.get("/account/letters", **{"Accept-Language": "ko"}).text
    assert "주간 보고서" in page
    assert "geese" not in page
    number = browser.driver.sites.by_key["ducks"].id
    theirs = browser.driver.sites.by_key["geese"].id
    everything = {subject.value: "yes" for subject in Subject}
    for wanted in (str(number), str(theirs), "-1", "x" * 100):
        fields = {**everything, "report": "", "number": wanted}
        assert browser.send("/account/letters", "/account/letters", **fields).status == 303
    assert refused(browser) == {(number, Subject.REPORT)}
    assert browser.send("/account/letters", "/account/letters", number="0").status == 303
    assert refused(browser) == {(number, Subject.REPORT), (ALL_SITES, Subject.FAILOVER)}
    page = browser.driver.get("/account/letters").text
    assert f'id="letters-{number}-report" type="checkbox" name="report" value="yes">' in page
    assert f'id="letters-{number}-spike" type="checkbox" name="spike" value="yes" checked' in page
