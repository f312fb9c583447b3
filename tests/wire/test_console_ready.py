"""What anybody may see is made once; what only some may see is given to nobody else."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.unit.console.driver import GOOD, HTML, Driver, parse_reply
from watchducks.console.ready import LASTING_SECONDS, PAGE_SECONDS, TOLERATED_SECONDS
from watchducks.model.sites import Visibility
from watchducks.registry.registration import SiteChanges

PAGES = (
    "/",
    "/ranking",
    "/compare?site=ducks",
    "/sites/ducks",
    "/api/v1/overview",
    "/api/v1/rankings/traffic",
    "/api/v1/sites/ducks/traffic",
    "/api/v1/sites/ducks/facets/browser",
)


async def a_driver() -> tuple[Driver, str]:
    """Return a console whose figures do not change, and the token of its site."""
    driver = Driver()
    token = await driver.add()
    driver.analytics.scale = 10
    driver.analytics.lasting = "one"
    return driver, token


def made(driver: Driver) -> int:
    """Return how many questions have been asked."""
    return len(driver.analytics.asked)


@pytest.mark.parametrize("path", PAGES)
@pytest_twisted.ensureDeferred
async def test_what_anybody_may_see_is_made_once(path: str) -> None:
    driver, _ = await a_driver()
    first = driver.get(path)
    questions = made(driver)
    again, packed = driver.get(path), driver.get(path, **{"Accept-Encoding": "gzip"})
    assert first.status == again.status == 200
    assert made(driver) == questions > 0
    assert first.body == again.body == packed.body
    assert {**first.headers, "date": ""} == {**again.headers, "date": ""}
    assert first.headers["cache-control"] == "no-cache"
    assert set(first.headers["vary"].split(", ")) >= {"Accept-Language", "Cookie"}
    known = driver.get(path, **{"If-None-Match": first.headers["etag"]})
    assert (known.status, known.body, known.headers["vary"]) == (304, b"", first.headers["vary"])


@pytest.mark.parametrize(
    "change", ["version", "time", "language", "zone", "query", "method", "forgotten"]
)
@pytest_twisted.ensureDeferred
async def test_it_is_made_anew_when_something_is_different(change: str) -> None:
    driver, _ = await a_driver()
    driver.get("/ranking")
    before = made(driver)
    path, method = "/ranking", "GET"
    match change:
        case "version":
            driver.analytics.lasting = "two"
        case "time":
            driver.clock.advance(LASTING_SECONDS + 1)
        case "language":
            driver.cookies["language"] = "ko"
        case "zone":
            driver.cookies["browser_tz"] = "Asia/Seoul"
        case "query":
            path = "/ranking?range=week"
        case "method":
            method = "HEAD"
        case _:
            driver.console.forget()
    assert driver.ask(method, path, headers=HTML).status == 200
    assert made(driver) > before


@pytest_twisted.ensureDeferred
async def test_a_page_with_a_cutover_is_not_kept_for_long() -> None:
    driver, _ = await a_driver()
    driver.get("/sites/ducks")
    before = made(driver)
    driver.clock.advance(PAGE_SECONDS / 2)
    driver.get("/sites/ducks")
    assert made(driver) == before
    driver.clock.advance(PAGE_SECONDS)
    driver.get("/sites/ducks")
    assert made(driver) > before


@pytest_twisted.ensureDeferred
async def test_figures_of_before_a_change_are_not_kept_for_long() -> None:
    driver, _ = await a_driver()
    slow = Slow(driver)
    _, asked = slow.ask()
    driver.analytics.were_outdated += 1
    slow.go_on()
    assert parse_reply(asked.value()).status == 200
    driver.clock.advance(PAGE_SECONDS / 2)
    slow.ask()
    assert not slow.waiting
    driver.clock.advance(PAGE_SECONDS)
    slow.ask()
    assert len(slow.waiting) == 1
    slow.go_on()


async def restrict(driver: Driver, visibility: Visibility) -> None:
    """Change who may see the site, as a request to this console does."""
    await driver.sites.update("ducks", SiteChanges(visibility=visibility))
    driver.console.forget()


@pytest.mark.parametrize("visibility", [Visibility.PRIVATE, Visibility.UNLISTED])
@pytest_twisted.ensureDeferred
async def test_a_site_that_is_private_now_is_gone_for_everybody_else(
    visibility: Visibility,
) -> None:
    driver, token = await a_driver()
    for path in PAGES:
        assert "ducks" in driver.get(path).text or path.startswith("/api/v1/sites")
    await restrict(driver, visibility)
    for path in PAGES:
        # Its owner sees it, and leaves nothing behind for who comes after him.
        owner = {**HTML, "Authorization": f"Bearer {token}"}
        assert driver.ask("GET", path, headers=owner).status == 200
        reply = driver.get(path)
        if "/sites/ducks" in path:
            assert reply.status == 404
        else:
            assert GOOD["domain"] not in reply.text
            assert 'href="/sites/ducks"' not in reply.text
            assert '"site":"ducks"' not in reply.text


@pytest_twisted.ensureDeferred
async def test_what_one_may_see_is_kept_for_nobody() -> None:
    driver, token = await a_driver()
    await restrict(driver, Visibility.UNLISTED)
    site = await driver.sites.site("ducks")
    assert site is not None
    assert site.share
    # A link that was followed, the cookie that it leaves, a token, a session: each sees it ...
    assert driver.get(f"/sites/ducks?share={site.share}").status == 200
    assert driver.cookies
    assert driver.get("/sites/ducks").status == 200
    driver.cookies.clear()
    headers = {"Authorization": f"Bearer {token}"}
    assert driver.ask("GET", "/api/v1/sites/ducks/traffic", headers=headers).status == 200
    # ... and who has none of them does not.
    assert driver.get("/sites/ducks").status == 404
    assert driver.ask("GET", "/api/v1/sites/ducks/traffic").status == 404


@pytest_twisted.ensureDeferred
async def test_who_shows_a_token_is_answered_by_himself() -> None:
    driver, token = await a_driver()
    path = "/api/v1/sites/ducks/traffic"
    driver.ask("GET", path)
    before = made(driver)
    owner = driver.ask("GET", path, headers={"Authorization": f"Bearer {token}"})
    assert made(driver) > before
    assert owner.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    "cookie", [{"session": "x"}, {"sign_in": "x"}, {"share_1": "x"}, {"anything": "x"}]
)
@pytest_twisted.ensureDeferred
async def test_who_shows_anything_is_answered_by_himself(cookie: dict[str, str]) -> None:
    driver, _ = await a_driver()
    driver.get("/ranking")
    for _ in range(2):
        before = made(driver)
        driver.cookies = dict(cookie)
        assert driver.get("/ranking").status == 200
        assert made(driver) > before


@pytest_twisted.ensureDeferred
async def test_choosing_a_language_or_a_time_zone_is_answered_with_its_cookie() -> None:
    for choice in ("lang=ko", "tz=Asia/Seoul"):
        driver, _ = await a_driver()
        for _ in range(2):
            driver.cookies.clear()
            assert driver.get(f"/ranking?{choice}").cookies


@pytest.mark.parametrize("argument", ["share=x", "registered=yes"])
@pytest_twisted.ensureDeferred
async def test_what_is_meant_for_one_browser_is_not_kept(argument: str) -> None:
    driver, _ = await a_driver()
    for _ in range(2):
        before = made(driver)
        driver.cookies.clear()
        assert driver.get(f"/sites/ducks?{argument}").status == 200
        assert made(driver) > before


@pytest_twisted.ensureDeferred
async def test_refusals_are_not_kept() -> None:
    driver, _ = await a_driver()
    assert driver.get("/sites/geese").status == 404
    await driver.add(name="geese", domain="geese.example")
    assert driver.get("/sites/geese").status == 200


class Slow:
    """A console whose ranking waits until the test lets it go on."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.waiting: list[Deferred[None]] = []
        driver.analytics.held = self.waiting

    def ask(self, accept: str = "en") -> tuple[Any, Any]:
        """Ask for the ranking; return the connection, and what comes on it."""
        protocol, transport = self.driver.connect()
        self.driver.send(
            protocol,
            b"GET /ranking HTTP/1.1\r\nHost: console.example\r\nAccept: text/html\r\n"
            b"Accept-Language: " + accept.encode() + b"\r\n\r\n",
        )
        return protocol, transport

    def go_on(self) -> None:
        """Let the question that was asked first be answered."""
        self.waiting.pop(0).callback(None)
        self.driver.settle()


@pytest_twisted.ensureDeferred
async def test_who_comes_meanwhile_waits_for_it() -> None:
    driver, _ = await a_driver()
    slow = Slow(driver)
    asked = [slow.ask()[1] for _ in range(5)]
    slow.ask("ko")
    assert len(slow.waiting) == 2
    slow.go_on()
    assert {parse_reply(each.value()).status for each in asked} == {200}
    assert len(slow.waiting) == 1


@pytest_twisted.ensureDeferred
async def test_if_the_first_leaves_the_next_one_goes_on() -> None:
    driver, _ = await a_driver()
    slow = Slow(driver)
    first, _ = slow.ask()
    _, waiting = slow.ask()
    third, _ = slow.ask()
    for leaving in (first, third):
        leaving.connectionLost(Failure(ConnectionDone()))
    driver.settle()
    assert len(slow.waiting) == 2
    _ = slow.waiting.pop(0)
    slow.go_on()
    assert parse_reply(waiting.value()).status == 200
    await driver.console.stop()


@pytest_twisted.ensureDeferred
async def test_who_waits_while_a_site_changes_gets_what_is_true_after_it() -> None:
    driver, _ = await a_driver()
    slow = Slow(driver)
    _, before = slow.ask()
    _, meanwhile = slow.ask()
    await restrict(driver, Visibility.PRIVATE)
    driver.settle()
    _, after = slow.ask()
    assert len(slow.waiting) == 2  # the one of before, and one for both who wait now
    slow.go_on()
    assert b"/sites/ducks" in before.value()
    assert not after.value()
    slow.go_on()
    for transport in (meanwhile, after):
        assert b"/sites/ducks" not in transport.value()
        assert parse_reply(transport.value()).status == 200
    assert "/sites/ducks" not in driver.get("/ranking").text


@pytest_twisted.ensureDeferred
async def test_the_last_one_is_given_while_the_next_is_made_but_not_for_long() -> None:
    driver, _ = await a_driver()
    first = driver.get("/ranking", **{"Accept-Language": "en"})
    slow = Slow(driver)
    driver.analytics.lasting = "two"
    _, making = slow.ask()
    _, meanwhile = slow.ask()
    driver.settle()
    assert parse_reply(meanwhile.value()).body == first.body
    assert not making.value()
    driver.clock.advance(TOLERATED_SECONDS + 0.1)
    _, late = slow.ask()
    driver.settle()
    assert not late.value()
    slow.go_on()
    assert parse_reply(late.value()).status == 200


@pytest_twisted.ensureDeferred
async def test_the_last_one_is_given_from_when_it_was_still_good_on() -> None:
    driver, _ = await a_driver()
    first = driver.get("/ranking")
    driver.clock.advance(LASTING_SECONDS - 1)
    assert driver.get("/ranking").body == first.body
    slow = Slow(driver)
    driver.analytics.lasting = "two"
    slow.ask()
    _, meanwhile = slow.ask()
    driver.settle()
    assert parse_reply(meanwhile.value()).body == first.body
    slow.go_on()
