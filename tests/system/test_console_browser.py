"""The console's pages in a real browser: numbers, filters, languages, dark, without script, axe.

Screenshots of every page are left in tests/screenshots, for a person to look at.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, ROOT, Twistd, api, run
from tests.system.demo import MIN_DRAWN_PIXELS, drawn_pixels, requests_shown
from tests.system.origin import Origin

SCREENSHOTS: Final = ROOT / "tests" / "screenshots"
AXE: Final = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
# What a first look at a page may cost, compressed: page, style, script and picture.
MOST_BYTES: Final = 100_000
# Site -> requests: enough of two for a rank by times (100), and one without.
SITES: Final = {"ducks": 130, "geese": 110, "swans": 12}
WIDE, PHONE = 1280, 390
FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twistd]:
    """An appliance with three sites that have had visitors."""
    SCREENSHOTS.mkdir(exist_ok=True)
    running = Twistd(tmp_path_factory.mktemp("browser"), {"logs": {"flush_seconds": 0.3}})
    with Origin() as origin:
        running.start()
        try:
            for name, requests in SITES.items():
                register(running, name, origin)
                visit(running, name, requests)
            wait_until(lambda: shown_of(running) == SITES, "the requests in the figures", 15)
            yield running
        finally:
            running.stop()


def register(running: Twistd, name: str, origin: Origin) -> None:
    site = {
        "name": name,
        "domain": f"{name}.example",
        "origin": origin.url,
        "email": "owner@ducks.example",
        "cohort": "birds",
    }
    code, answer = api("POST", f"{running.console}/api/v1/sites", site)
    assert code == 201, answer


def visit(running: Twistd, name: str, requests: int, path: str = "") -> None:
    """Ask for pages as a browser does, over one connection."""
    address, port = running.proxy
    connection = http.client.HTTPConnection(address, port, timeout=10)
    for number in range(requests):
        asked = path or ("/", "/about", "/missing")[number % 3]
        headers = {"Host": f"{name}.example", "User-Agent": FIREFOX, "Accept": "text/html"}
        connection.request("GET", asked, headers=headers)
        connection.getresponse().read()
    connection.close()


def totals(running: Twistd, name: str) -> int:
    code, traffic = api("GET", f"{running.console}/api/v1/sites/{name}/traffic")
    return int(traffic["totals"]["requests"]) if code == 200 else 0


def shown_of(running: Twistd) -> dict[str, int]:
    return {name: totals(running, name) for name in SITES}


def keep(browser: Chrome, name: str, width: int = WIDE) -> None:
    """Keep a screenshot of the whole page."""
    metrics = "Emulation.setDeviceMetricsOverride"
    size: dict[str, Any] = {"width": width, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd(metrics, {**size, "height": 900})
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.execute_cdp_cmd(metrics, {**size, "height": min(int(height), 6000)})
    browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def emulate(browser: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def click(browser: Chrome, by: str, value: str) -> None:
    """Click by script: the driver's own clicks miss what is still being scrolled to."""
    browser.execute_script("arguments[0].click()", browser.find_element(by, value))


def text_of(browser: Chrome, selector: str) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, selector).text)


@pytest.mark.timeout(120)
def test_a_sites_page_shows_what_the_api_says(console: Twistd, chromium: Chrome) -> None:
    chromium.get(f"{console.console}/sites/ducks")
    wait_until(lambda: drawn_pixels(chromium) > MIN_DRAWN_PIXELS, "the charts", 10)
    before = totals(console, "ducks")
    assert requests_shown(chromium) == before
    assert text_of(chromium, "[data-tile=requests]") == str(before)
    _, facets = api("GET", f"{console.console}/api/v1/sites/ducks/facets/path")
    shown = [
        (row.find_element(By.TAG_NAME, "a").text, row.find_element(By.TAG_NAME, "td").text)
        for row in chromium.find_elements(By.CSS_SELECTOR, "#pages tbody tr")
    ]
    assert shown == [(row["value"], str(row["requests"])) for row in facets["values"]]

    # A request is on the page within two seconds, long before it is in the log store.
    wait_until(lambda: chromium.find_element(By.ID, "visits").is_displayed(), "the live view", 10)
    time_of_visit = time.monotonic()
    visit(console, "ducks", 1, "/just-now")
    wait_until(lambda: "/just-now" in text_of(chromium, "#visits"), "the request", 10)
    assert time.monotonic() - time_of_visit < 3, "2 s, and what the browser takes"
    keep(chromium, "site")
    keep(chromium, "site-phone", PHONE)
    wide = chromium.execute_script("return document.documentElement.scrollWidth")
    assert wide <= chromium.execute_script("return innerWidth"), "nothing sticks out"

    # A tab replaces the list without loading the page; a line of a list is a filter.
    chromium.execute_script("window.kept = true")
    click(chromium, By.LINK_TEXT, "Slowest")
    wait_until(lambda: "pages=slowest" in chromium.current_url, "the tab's address", 10)
    assert chromium.execute_script("return window.kept"), "the page was not loaded anew"
    click(chromium, By.CSS_SELECTOR, "#pages tbody a")
    wait_until(lambda: chromium.find_elements(By.CSS_SELECTOR, ".chips li"), "the filter", 10)
    assert "path=" in chromium.current_url
    wait_until(lambda: 0 < requests_shown(chromium) < before, "the filtered number", 10)
    keep(chromium, "site-filtered")
    click(chromium, By.CSS_SELECTOR, ".chips a")
    wait_until(lambda: requests_shown(chromium) > before, "all again", 10)
    errors = chromium.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry for entry in errors if entry["level"] == "SEVERE"] == []


@pytest.mark.timeout(120)
def test_pages_of_many_sites(console: Twistd, chromium: Chrome) -> None:
    chromium.get(console.console)
    assert text_of(chromium, "[data-tile=sites]") == "3"
    _, overview = api("GET", f"{console.console}/api/v1/overview?cohort=birds")
    assert text_of(chromium, "[data-tile=requests]") == str(overview["totals"]["requests"])
    keep(chromium, "overview")
    keep(chromium, "overview-phone", PHONE)

    chromium.get(f"{console.console}/ranking?by=response-time")
    _, ranking = api("GET", f"{console.console}/api/v1/rankings/response-time")
    names = [each.text for each in chromium.find_elements(By.CSS_SELECTOR, ".ranking th a")]
    assert names == [each["site"] for each in ranking["sites"] if each["rank"]]
    assert set(names) == {"ducks", "geese"}
    assert "too few requests to be ranked by this (fewer than 100): 1." in text_of(chromium, "main")
    keep(chromium, "ranking")

    chromium.get(f"{console.console}/compare?site=ducks&site=geese&site=swans")
    cells = [each.text for each in chromium.find_elements(By.CSS_SELECTOR, ".versus td")][:3]
    assert cells == [str(totals(console, name)) for name in SITES]
    keep(chromium, "compare")
    chromium.get(f"{console.console}/status")
    assert "Everything works." in text_of(chromium, "main")
    keep(chromium, "status")


@pytest.mark.timeout(120)
def test_everything_is_there_without_script_in_korean_and_in_the_dark(
    console: Twistd, chromium: Chrome
) -> None:
    try:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        chromium.get(f"{console.console}/sites/geese?lang=ko&range=week")
        assert text_of(chromium, "[data-tile=requests]") == str(SITES["geese"])
        assert "방문자" in text_of(chromium, "#tiles")
        assert len(chromium.find_elements(By.CSS_SELECTOR, "#charts svg.drawing path")) >= 4
        keep(chromium, "site-no-script-ko")
        failing = chromium.find_element(By.CSS_SELECTOR, "#pages .tabs a:last-child")
        chromium.get(str(failing.get_attribute("href")))
        assert "아직 없습니다" in text_of(chromium, "#pages"), "no answer of 500 and above"
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    try:
        chromium.get(f"{console.console}/?lang=en")
        colour = "return getComputedStyle(document.body).backgroundColor"
        light = chromium.execute_script(colour)
        emulate(chromium, "dark")
        assert chromium.execute_script(colour) != light
        for path, name in (("/", "overview"), ("/sites/ducks", "site"), ("/ranking", "ranking")):
            chromium.get(f"{console.console}{path}")
            if name == "site":
                wait_until(lambda: drawn_pixels(chromium) > MIN_DRAWN_PIXELS, "the charts", 10)
            keep(chromium, f"{name}-dark")
    finally:
        emulate(chromium, "light")


@pytest.mark.timeout(120)
def test_days_and_hours_are_the_browsers_and_the_period_before_is_drawn(
    console: Twistd, chromium: Chrome
) -> None:
    zone = "Emulation.setTimezoneOverride"
    try:
        chromium.execute_cdp_cmd(zone, {"timezoneId": "Asia/Tehran"})
        chromium.get(f"{console.console}/sites/geese?lang=en")
        # The script tells the server, and the page is there again by that clock.
        html = "return document.documentElement.dataset"
        wait_until(lambda: chromium.execute_script(f"{html}.zone") == "Asia/Tehran", "the zone", 10)
        assert chromium.execute_script(f"{html}.zoneBy") == "browser"
        assert "Time zone: Asia/Tehran (UTC+3:30)" in text_of(chromium, ".zone summary")
        wait_until(lambda: drawn_pixels(chromium) > MIN_DRAWN_PIXELS, "the charts", 10)
        _, there = api("GET", f"{console.console}/api/v1/sites/geese/traffic?tz=Asia/Tehran")
        shown = chromium.execute_script(
            "return [...document.querySelectorAll('#card-traffic tbody tr')].map((row) =>"
            " [+row.querySelector('th').dataset.time || 0, row.querySelector('th').textContent,"
            " [...row.querySelectorAll('td')].slice(0, 2).map((cell) => cell.textContent)])"
        )
        times = [point["time"] for point in reversed(there["points"])]
        clock = datetime.fromtimestamp(times[0], ZoneInfo("Asia/Tehran"))
        assert f"{clock:%H:%M}" in shown[0][1]
        assert [cells for _, _, cells in shown] == [
            [str(point["requests"]), str(point["requests_before"])]
            for point in reversed(there["points"])
        ]
        # Nobody was there a day before: there is no line along the bottom.
        assert not chromium.find_element(By.CSS_SELECTOR, "[data-before]").is_displayed()

        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        chromium.get(f"{console.console}/sites/geese?tz=America/New_York")
        assert "America/New_York (UTC-5)" in text_of(chromium, ".zone summary")
        chromium.get(f"{console.console}/")
        assert "America/New_York" in text_of(chromium, "footer")
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        chromium.execute_cdp_cmd(zone, {"timezoneId": ""})


def sign_in(running: Twistd, browser: Chrome) -> None:
    """Sign in as an admin, by the link that the command gives."""
    adding = (BIN / "watchducks", "admin", "add", "--config", running.config, "root@ducks.example")
    link = re.search(r"(/sign-in/\S+)", run(*adding).stdout)
    assert link
    browser.get(f"{running.console}{link[1]}")
    click(browser, By.CSS_SELECTOR, "main form button")
    wait_until(lambda: browser.current_url.endswith("/account"), "the account", 10)


# What is wrong with colours is so at any width, and with widths in any colour.
MODES: Final = (("light", WIDE), ("dark", PHONE))


@pytest.mark.timeout(240)
def test_axe_finds_nothing_serious(console: Twistd, chromium: Chrome) -> None:
    assert AXE.is_file(), "axe-core is installed with what builds the bundle: make web"
    register_silent(console)
    anybodys = ("/register", "/sign-in", "/status", "/sites/silent", "/compare?site=ducks")
    owners = ("/account", "/account/tokens", "/account/trail", "/account/letters")
    admins = ("/admin?q=ducks", "/admin/blocks")
    everybodys = (
        "/",
        "/sites/ducks?path=/",
        "/sites/ducks/records",
        "/sites/ducks/settings",
        "/ranking",
    )
    try:
        check(chromium, console, anybodys)
        sign_in(console, chromium)
        check(chromium, console, (*owners, *admins, *everybodys))
    finally:
        emulate(chromium, "light")
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def register_silent(running: Twistd) -> None:
    """Register a site that nobody visits."""
    site = {
        "name": "silent",
        "domain": "an-extraordinarily-long-name.of-a-domain.that-goes-on-and-on.example",
        "origin": "http://127.0.0.9:1",
        "email": "owner@ducks.example",
        "cohort": "birds",
    }
    code, answer = api("POST", f"{running.console}/api/v1/sites", site)
    assert code == 201, answer


def check(browser: Chrome, running: Twistd, paths: Sequence[str]) -> None:
    """Have axe look at pages, with everything opened that can be."""
    axe = AXE.read_text()
    for scheme, width in MODES:
        emulate(browser, scheme)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for path in paths:
            browser.get(f"{running.console}{path}")
            browser.execute_script(
                "document.querySelectorAll('details').forEach((d) => d.open = true)"
            )
            browser.execute_script(axe)
            found = browser.execute_async_script(
                "const done = arguments[arguments.length - 1];"
                "axe.run({resultTypes: ['violations']}).then((r) => done(r.violations))"
            )
            serious = [
                (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], f"{path}, {scheme}, {width}: {json.dumps(serious, indent=1)}"
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, f"{path}: something sticks out"


@pytest.mark.timeout(120)
def test_paper_keyboard_and_who_wants_no_motion(console: Twistd, chromium: Chrome) -> None:
    chromium.get(f"{console.console}/sites/ducks")
    wait_until(lambda: drawn_pixels(chromium) > MIN_DRAWN_PIXELS, "the charts", 10)
    style = "return getComputedStyle(document.querySelector(arguments[0]), arguments[1])"
    try:
        media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        moving = chromium.execute_script(f"{style}.animationName", "#live", "::before")
        assert moving == "none"
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        shown = f"{style}.display"
        for gone in (".top nav", ".exports", ".help"):
            assert chromium.execute_script(shown, gone, None) == "none", gone
        for there in ("h1", "#tiles", "#card-traffic .chart", "#pages table"):
            assert chromium.execute_script(shown, there, None) != "none", there
        keep(chromium, "site-print", 800)
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})

    # By the keyboard alone: past the navigation, and to what a number means.
    body = chromium.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert chromium.switch_to.active_element.get_attribute("class") == "skip"
    help_ = chromium.find_element(By.CSS_SELECTOR, "#card-traffic .help summary")
    chromium.execute_script("arguments[0].focus()", help_)
    assert chromium.execute_script(f"{style}.outlineStyle", ":focus", None) == "solid"
    chromium.switch_to.active_element.send_keys(Keys.ENTER)
    assert "by people and by crawlers" in text_of(chromium, "#card-traffic .help p")


def test_a_first_look_is_small(console: Twistd, chromium: Chrome) -> None:
    for path in ("/", "/sites/ducks"):
        chromium.get(f"{console.console}{path}")
        links = chromium.execute_script(
            "return [...document.querySelectorAll('link[href], script[src], img[src]')]"
            ".map((each) => each.href || each.src)"
        )
        assert {urlsplit(link).netloc for link in links} == {urlsplit(console.console).netloc}
        octets = sum(loaded(url) for url in {f"{console.console}{path}", *links})
        assert octets < MOST_BYTES, f"{path}: {octets} bytes"


def loaded(url: str) -> int:
    """Return how many bytes an answer has, compressed as for a browser."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read()
        if answer.headers["Content-Encoding"] == "gzip":
            gzip.decompress(body)
    return len(body)
