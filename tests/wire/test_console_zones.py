"""Whose days and hours the pages show: the reader's."""

from __future__ import annotations

import html
import re

import pytest
import pytest_twisted

from tests.unit.console.driver import Driver
from watchducks.analytics.results import Annotation

# 2026-11-21 22:26:40 UTC: in Seoul it is the next day.
NOW = 1_795_300_000
SEOUL = {"tz": "Asia/Seoul"}


@pytest.fixture
def driver() -> Driver:
    return Driver()


def question(page: str) -> str:
    """Return what the page's script asks the API for."""
    found = re.search(r'data-url="/api/v1/sites/ducks/traffic\?([^"]+)"', page)
    assert found
    return html.unescape(found[1])


async def a_site(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    driver.analytics.annotated = (Annotation(NOW - 3600, "certificate", ""),)


@pytest_twisted.ensureDeferred
async def test_days_and_hours_are_the_readers(driver: Driver) -> None:
    await a_site(driver)
    page = driver.get("/sites/ducks").text
    assert 'data-zone="UTC" data-zone-by=""' in page
    assert ">Nov 21 21:26</time>" in page
    assert "Time zone: UTC<" in page
    driver.cookies["browser_tz"] = "Asia/Seoul"
    page = driver.get("/sites/ducks").text
    assert 'data-zone="Asia/Seoul" data-zone-by="browser"' in page
    assert ">Nov 22 06:26</time>" in page
    assert "Time zone: Asia/Seoul (UTC+9)" in page
    assert "tz=Asia%2FSeoul" in question(page)
    assert re.search(r'class="exports.*tz=Asia%2FSeoul', page) is None, "exports are the owner's"
    # Days begin at midnight there: charts, tables, and the calendar.
    month = driver.get("/sites/ducks?range=month").text
    assert month.count(f'data-time="{1_795_273_200}">Nov 22</th>') == 4, "a row of each table"
    assert '<time datetime="2026-11-22"' in month
    assert '<time datetime="2026-11-21"' in driver.get("/sites/ducks").text
    custom = driver.get("/sites/ducks?range=custom&from=2026-11-20&to=2026-11-21").text
    assert "from=2026-11-19T15%3A00%3A00Z&to=2026-11-21T15%3A00%3A00Z" in question(custom)
    assert 'name="from" value="2026-11-20"' in custom
    assert 'name="to" value="2026-11-21"' in custom
    api = driver.api("GET", f"/api/v1/sites/ducks/traffic?{question(custom)}").json
    assert len(api["points"]) == custom.split('id="card-latency"')[0].count('th scope="row"')


@pytest_twisted.ensureDeferred
async def test_a_zone_is_chosen_without_script_and_remembered(driver: Driver) -> None:
    await a_site(driver)
    driver.cookies["browser_tz"] = "Asia/Seoul"
    page = driver.get("/sites/ducks?range=week&path=/a&path=/b&tz=America/St_Johns").text
    assert "Time zone: America/St_Johns (UTC-3:30)" in page
    assert ">Nov 21 17:56</time>" in page
    picker = page.split('class="custom zone"')[1].split("</form>")[0]
    kept = re.findall(r'type="hidden" name="([^"]+)" value="([^"]+)"', picker)
    assert kept == [("range", "week"), ("path", "/a"), ("path", "/b")]
    for path in ("/", "/ranking", "/compare?site=ducks", "/status", "/sites/ducks/settings"):
        found = driver.get(path)
        assert found.status == 200
        assert 'data-zone="America/St_Johns" data-zone-by="chosen"' in found.text, path
    for wrong in ("Mars/Olympus", "../../etc/passwd", "%00", "x" * 5000):
        assert driver.get(f"/?tz={wrong}").status in (400, 422), wrong
    # Nobody is to be told off for a cookie.
    for wrong in ("Mars/Olympus", "../../etc/passwd", "", "\xe9", "x" * 500):
        driver.cookies["tz"] = driver.cookies["browser_tz"] = wrong
        assert 'data-zone="UTC" data-zone-by=""' in driver.get("/").text


@pytest_twisted.ensureDeferred
async def test_an_account_keeps_its_zone_in_every_browser(driver: Driver) -> None:
    await a_site(driver)
    session = driver.accounts.signed_in("owner@ducks.example")
    driver.cookies |= {"sign_in": session, "tz": "Asia/Tokyo", "browser_tz": "Asia/Tokyo"}
    fields = {**driver.csrf("/account"), "zone": " Asia/Seoul "}
    assert driver.submit(fields, "/account/zone").status == 303
    assert 'value="Asia/Seoul"' in driver.get("/account").text
    exported = driver.get("/sites/ducks").text.split('class="exports')[1]
    assert exported.count("tz=Asia%2FSeoul") == 2
    driver.cookies = {"sign_in": session, "browser_tz": "Europe/Paris"}
    for path in ("/", "/sites/ducks", "/ranking", "/compare"):
        assert 'data-zone="Asia/Seoul" data-zone-by="account"' in driver.get(path).text
    driver.cookies = {"browser_tz": "Europe/Paris"}
    assert 'data-zone="Europe/Paris"' in driver.get("/").text
    assert driver.submit(fields, "/account/zone").status == 403, "nobody else's form"
    driver.cookies = {"sign_in": session}
    again = driver.csrf("/account")
    assert driver.submit({**again, "zone": "Mars/Olympus"}, "/account/zone").status == 422
    assert driver.submit({**again, "zone": ""}, "/account/zone").status == 303
    assert 'data-zone="UTC"' in driver.get("/").text
