"""Pages about many sites, and the page of one with its lists and filters."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
import pytest_twisted

from tests.unit.console.driver import Driver
from watchducks.analytics.filters import Filters
from watchducks.analytics.results import Annotation, Failover, Lost, SiteAnnotation
from watchducks.console.together import MOST_SITES
from watchducks.model.hosts import HostReport
from watchducks.model.metrics import gauge
from watchducks.model.sites import SiteState, Visibility
from watchducks.registry.registration import SiteChanges
from watchducks.registry.registry import MAX_PAGE_SITES


@pytest.fixture
def driver() -> Driver:
    return Driver()


async def fill(driver: Driver, count: int = 3) -> None:
    for number in range(count):
        cohort = "first" if number % 2 == 0 else "second"
        await driver.add(name=f"site{number}", domain=f"s{number}.example", cohort=cohort)
    driver.analytics.scale = 1000


def links(text: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]+)"', text)]


@pytest_twisted.ensureDeferred
async def test_the_overview_sums_up_and_can_be_narrowed_to_a_cohort(driver: Driver) -> None:
    await fill(driver)
    page = driver.get("/").text
    assert 'data-tile="sites">3<' in page
    assert "+12%" in page
    assert page.count('class="line s') >= 3, "the busiest sites are drawn"
    assert "/?cohort=second" in links(page)
    narrow = driver.get("/?cohort=second&range=week").text
    assert 'data-tile="sites">1<' in narrow
    assert "site1" in narrow
    assert "site0" not in narrow
    assert driver.get("/?range=century").status == 422


@pytest_twisted.ensureDeferred
async def test_the_ranking_gives_medals_and_says_who_has_no_place(driver: Driver) -> None:
    await fill(driver, 6)
    page = driver.get("/ranking?by=response-time").text
    assert [int(n) for n in re.findall(r"medal-(\d)", page)] == [1, 2, 3]
    names = re.findall(r'href="/sites/(site\d)"', page)
    assert names == ["site0", "site1", "site2", "site3", "site4"]
    assert "too few requests to be ranked by this (fewer than 100): 1." in page
    assert re.search(r'class="current"[^>]*>Response time', page)
    for wrong in ("/ranking?by=nonsense", "/ranking/", "/ranking/x"):
        assert driver.get(wrong).status == 404
    driver.analytics.away = True
    page = driver.get("/ranking").text
    assert "The log store does not answer" in page


@pytest_twisted.ensureDeferred
async def test_sites_side_by_side(driver: Driver) -> None:
    await fill(driver)
    page = driver.get("/compare?site=site0&site=SITE1&site=nobody&range=week").text
    assert page.count('<th scope="col"><span class="swatch') == 2
    assert "There is no site nobody." in page
    assert page.count('class="best"') >= 4
    # Each can be taken away again, and what else was chosen stays.
    assert "/compare?range=week&site=SITE1&site=nobody" in links(page)
    many = "&".join(f"site=site{n}" for n in range(3)) + "&site=x" * 20
    assert driver.get(f"/compare?{many}").status == 200
    assert "site0" in driver.get("/compare").text, "sites are offered"


@pytest_twisted.ensureDeferred
async def test_a_site_has_lists_whose_lines_are_filters(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    page = driver.get("/sites/ducks?range=week").text
    assert "South Korea" in page
    assert "/sites/ducks?range=week&country=KR" in links(page)
    assert "대한민국" in driver.get("/sites/ducks", **{"Accept-Language": "ko"}).text
    driver.analytics.asked.clear()
    narrow = driver.get("/sites/ducks?range=week&country=KR&path=/a%26b&path=/c").text
    wanted = Filters("all", (("country", ("KR",)), ("path", ("/a&b", "/c"))))
    assert set(driver.analytics.asked) == {wanted, Filters()}, "the calendar has no filter"
    assert driver.analytics.asked.count(Filters()) == 1
    assert narrow.count('class="chips"') == 1
    assert "/sites/ducks?range=week&path=/a%26b&path=/c" in [
        link.replace("%2F", "/") for link in links(narrow)
    ]
    # The script asks the API the same question.
    asked = re.search(r'data-url="(/api/v1/sites/ducks/traffic\?[^"]+)"', narrow)
    assert asked
    driver.analytics.asked.clear()
    assert driver.api("GET", html.unescape(asked[1])).status == 200
    assert set(driver.analytics.asked) == {wanted}


@pytest_twisted.ensureDeferred
async def test_the_tabs_of_a_list_are_in_the_address(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    page = driver.get("/sites/ducks?clients=devices&country=KR").text
    assert "Desktop" in page
    assert "Chrome" not in page
    assert "/sites/ducks?clients=browsers&country=KR#clients" in [
        "?".join(
            [link.split("?")[0], "&".join(sorted(link.split("#")[0].split("?")[1].split("&")))]
        )
        + "#clients"
        for link in links(page)
        if link.endswith("#clients")
    ]
    assert "Chrome" in driver.get("/sites/ducks?clients=nonsense").text


@pytest_twisted.ensureDeferred
async def test_any_period_by_its_days(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    page = driver.get("/sites/ducks?range=custom&from=2026-11-01&to=2026-11-03").text
    assert "from=2026-11-01T00%3A00%3A00Z&amp;to=2026-11-04T00%3A00%3A00Z" in page
    assert 'name="from" value="2026-11-01"' in page
    assert 'name="to" value="2026-11-03"' in page
    for wrong in ("from=2026-13-01&to=2026-11-03", "from=x&to=y", "from=2026-11-03"):
        assert driver.get(f"/sites/ducks?range=custom&{wrong}").status == 422


@pytest_twisted.ensureDeferred
async def test_what_was_not_observed_is_shaded(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    assert 'class="gap"' not in driver.get("/sites/ducks").text
    now = int(driver.clock.seconds())
    driver.analytics.outages = (Failover(now - 7200, now - 3600), Failover(now - 60, None))
    assert driver.get("/sites/ducks").text.count('class="gap"') == 2


@pytest_twisted.ensureDeferred
async def test_what_could_not_be_kept_is_told(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    assert "could not be kept" not in driver.get("/sites/ducks").text
    now = int(driver.clock.seconds())
    driver.analytics.losses = (Lost(now - 7200, now - 7100, 1200), Lost(now - 60, now - 30, 34))
    page = driver.get("/sites/ducks").text
    assert page.count('class="gap"') == 2
    assert "Requests of this period that could not be kept: 1,234, between" in page
    for moment in (now - 7200, now - 30):
        assert f'<time data-time="{moment}">' in page
    korean = driver.get("/sites/ducks?lang=ko").text
    assert "이 기간에 저장하지 못한 요청: 1,234건" in korean
    assert driver.api("GET", "/api/v1/sites/ducks/traffic").json["lost"] == [
        {"began": now - 7200, "ended": now - 7100, "requests": 1200},
        {"began": now - 60, "ended": now - 30, "requests": 34},
    ]


@pytest_twisted.ensureDeferred
async def test_a_private_site_is_nowhere(driver: Driver) -> None:
    await fill(driver)
    hidden = replace(driver.sites.by_key["site1"], visibility=Visibility.PRIVATE)
    driver.sites.by_key["site1"] = hidden
    for path in ("/", "/ranking", "/compare?site=site0"):
        assert "site1" not in driver.get(path).text
    assert "There is no site site1." in driver.get("/compare?site=site1").text
    assert driver.get("/sites/site1").status == 404
    overview = driver.api("GET", "/api/v1/overview")
    assert (overview.json["sites"], "site1" in overview.text) == (2, False)
    assert "site1" not in driver.api("GET", "/api/v1/rankings/traffic").text
    for kind in ("traffic", "clients", "facets/path", "annotations", "live"):
        assert driver.api("GET", f"/api/v1/sites/site1/{kind}").status == 404


@pytest_twisted.ensureDeferred
async def test_who_does_not_want_to_be_ranked_is_not(driver: Driver) -> None:
    await fill(driver)
    site = driver.sites.by_key["site1"]
    driver.sites.by_key["site1"] = replace(site, choices=replace(site.choices, ranked=False))
    page = driver.get("/ranking").text
    assert re.findall(r'href="/sites/(site\d)"', page) == ["site0", "site2"]
    for metric in ("traffic", "success-rate", "response-time", "visitors"):
        places = driver.api("GET", f"/api/v1/rankings/{metric}").json["sites"]
        assert [place["site"] for place in places] == ["site0", "site2"]
    overview = driver.api("GET", "/api/v1/overview").json
    assert overview["sites"] == 3, "it counts, and is listed, as before"
    for named in ("busiest", "quickest"):
        assert [each["site"] for each in overview[named]] == ["site0", "site2"]
    assert driver.get("/").text.count('href="/sites/site1') == 1, "only among the sites"


def test_the_state_of_the_service_is_for_everybody(driver: Driver) -> None:
    page = driver.get("/status").text
    assert "Everything works." in page
    assert "Never in the last 30 days." in page
    driver.readiness.parts = {"registry": True, "logs": False}
    assert "Something does not work." in driver.get("/status").text
    driver.readiness.parts = {"registry": True}
    driver.analytics.outages = (Failover(1_795_299_000, None),)
    page = driver.get("/status").text
    assert "led straight to the origins: sites work" in page
    assert "lasts" in page
    driver.analytics.away = True
    assert driver.get("/status").status == 200


@pytest_twisted.ensureDeferred
async def test_what_happened_is_told_and_marked(driver: Driver) -> None:
    await driver.add()
    await driver.add(name="hidden", domain="hidden.example")
    await driver.sites.update("hidden", SiteChanges(visibility=Visibility.PRIVATE))
    driver.analytics.scale = 1000
    now = int(driver.clock.seconds())
    driver.analytics.annotated = (
        Annotation(now - 7200, "name-servers", "delegated"),
        Annotation(now - 3600, "certificate-failed", "<b>no</b>"),
        Annotation(now - 60, "later-kind", "as {it} is"),
    )
    page = driver.get("/sites/ducks")
    assert page.text.index("as {it} is") < page.text.index("could not be made: &lt;b&gt;no")
    assert "The domain has our name servers</span>" in page.text
    assert page.text.count('class="mark"') == 3
    assert f"[{now - 60}, {now - 3600}, {now - 7200}]" in page.text
    assert "인증서를 발급받지 못했습니다" in driver.get("/sites/ducks?lang=ko").text
    driver.cookies.clear()
    driver.analytics.happened = (
        SiteAnnotation(0, now - 90, "failover", ""),
        SiteAnnotation(1, now - 100, "certificate", ""),
        SiteAnnotation(1, now - 105, "error-burst", "34%"),
        SiteAnnotation(2, now - 110, "certificate", "of the hidden site"),
    )
    driver.analytics.outages = (Failover(now - 50, None),)
    found = driver.get("/").text.split("What happened lately")[1].split("</ol>")[0]
    assert found.count("<li") == 4
    assert "ducks</a>: Many server errors: 34% of all answers" in found
    assert '<a href="/sites/ducks">ducks</a>: A certificate was issued' in found
    assert found.count("Visitors were led straight to the origins") == 2
    shown = driver.get("/sites/ducks").text
    assert f"data-marks='[{now - 50}, {now - 60}" in shown, "a failover happened to every site"
    assert "Visitors were led straight to the origins" in shown.split('id="happened"')[1]


@pytest_twisted.ensureDeferred
async def test_the_period_before_is_drawn_over_it_and_stands_in_the_tables(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    page = driver.get("/sites/ducks").text
    assert page.count('class="line before"') == 3, "requests, times, visitors"
    shown = page.split('id="card-traffic"')[1].split("</section>")[0]
    assert '<span class="swatch before"></span>The period before</li>' in shown
    assert '<th scope="col">The period before</th>' in shown
    (first,) = driver.api("GET", "/api/v1/sites/ducks/traffic").json["points"][-1:]
    row = shown.split("<tbody>")[1].split("</tr>")[0]
    assert f"<td>{first['requests']}</td><td>{first['requests_before']}</td>" in row
    assert "이전 기간" in driver.get("/sites/ducks?lang=ko").text


@pytest_twisted.ensureDeferred
async def test_a_site_without_requests_shows_no_empty_charts(driver: Driver) -> None:
    await driver.add()
    page = driver.get("/sites/ducks").text
    assert "No request yet." in page
    assert re.findall(r'data-kind="([^"]+)"', page) == ["traffic"], "where the first one appears"
    for absent in ('id="tiles"', 'class="card list-card"', 'class="calendar"'):
        assert absent not in page
    site = driver.sites.by_key["ducks"]
    driver.sites.by_key["ducks"] = replace(site, state=SiteState.ACTIVE)
    assert "Nobody asked for anything in this period." in driver.get("/sites/ducks").text
    assert "matches the filters" in driver.get("/sites/ducks?country=KR").text
    driver.analytics.scale = 100
    page = driver.get("/sites/ducks").text
    assert len(re.findall(r'data-kind="([^"]+)"', page)) == 4
    assert "data-silent" not in page


@pytest_twisted.ensureDeferred
async def test_last_numbers_are_told_as_such(driver: Driver) -> None:
    await fill(driver, 2)
    paths = ("/", "/sites/site0", "/ranking", "/compare?site=site0")
    for path in paths:
        assert "these are the last numbers" not in driver.get(path).text
    driver.analytics.is_stale = True
    for path in paths:
        assert "these are the last numbers" in driver.get(path).text, path
    assert "마지막으로 받은 숫자" in driver.get("/?lang=ko").text
    driver.analytics.away = True
    for path in paths:
        assert "these are the last numbers" not in driver.get(path).text, "there are none"


@pytest_twisted.ensureDeferred
async def test_every_number_says_what_it_means(driver: Driver) -> None:
    await fill(driver, 2)
    for path, least in (("/", 6), ("/sites/site0", 16)):
        for language in ("en", "ko"):
            page = driver.get(f"{path}?lang={language}").text
            helps = re.findall(r'<details class="help"><summary aria-label="([^"]+)">', page)
            assert len(helps) >= least, path
            assert len(helps) == len(set(helps)) or path != "/", "each is told apart by its name"


@pytest_twisted.ensureDeferred
async def test_an_owner_is_told_when_requests_are_counted_late(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    told = "The newest requests are counted late, by 7 minutes"

    def report(name: str, lag: float, age: int = 0) -> HostReport:
        samples = (gauge("watchducks_shipper_lag_seconds", "", lag),)
        at = int(driver.clock.seconds()) - age
        return HostReport(name, at, at, "1", ("proxy",), 0, (0.1, 1), {}, samples)

    driver.hosts.reports = [report("a", 5), report("b", 59), report("gone", 4000, 100)]
    assert "counted late" not in driver.get("/sites/ducks").text
    driver.hosts.reports = [report("a", 5), report("b", 430)]
    assert told not in driver.get("/sites/ducks").text, "hosts are not asked for each page"
    driver.clock.advance(15)
    driver.hosts.reports = [report("a", 5), report("b", 430)]
    assert told in driver.get("/sites/ducks").text
    assert "7분 늦게 집계" in driver.get("/sites/ducks?lang=ko").text
    driver.clock.advance(15)
    driver.hosts.reports = None
    assert "counted late" not in driver.get("/sites/ducks?lang=en").text


@pytest.mark.parametrize("count", [2 * MAX_PAGE_SITES, MOST_SITES + 1])
@pytest_twisted.ensureDeferred
async def test_sites_behind_the_registrys_first_page_count_too(driver: Driver, count: int) -> None:
    await fill(driver, 1)
    first = driver.sites.by_key["site0"]
    for number in range(1, count):
        name = f"site{number}"
        driver.sites.by_key[name] = replace(first, id=first.id + number, name=name)
    assert driver.get("/api/v1/overview").json["sites"] == min(count, MOST_SITES)
