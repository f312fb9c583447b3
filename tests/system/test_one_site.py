"""One registered site, end to end: what `make run` starts, used as its visitors and owners do.

The demo is started as `make run` starts it; everything else is curl, dig and Chromium.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.servers.ports import free_port
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, api, curl, curl_through, dig
from tests.system.demo import MIN_DRAWN_PIXELS, Demo, drawn_pixels, requests_shown
from watchducks.demo.authority import Authority

# What the issue of a row may take: flush_seconds (5) and the second to ship it.
VISIBLE_SECONDS = 6.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    if running.process.poll() is None:
        running.press_ctrl_c()


def register(demo: Demo, name: str, origin: str) -> None:
    site = {
        "name": name,
        "domain": f"{name}.test",
        "origin": origin,
        "email": f"owner@{name}.test",
        "cohort": "demo",
    }
    code, answer = api("POST", f"{demo.url}/api/v1/sites", site)
    assert code == 201, answer


@pytest.mark.timeout(180)
def test_a_visitor_is_led_to_the_proxy_and_shown_in_the_chart(demo: Demo, chromium: Chrome) -> None:
    www = "www.demo.test"
    assert dig(demo.dns, www) == ["127.0.0.1"]
    assert dig(demo.dns, "+tcp", "demo.test") == ["127.0.0.1"]
    assert dig(demo.dns, "demo.test", "NS") == [
        "ns1.watchducks.example.",
        "ns2.watchducks.example.",
    ]

    chromium.get(f"{demo.url}/sites/demo")
    before = requests_shown(chromium)
    began = time.monotonic()
    plain = curl_through(("127.0.0.1", demo.http), f"http://{www}:{demo.http}/")
    assert "Ducks ahoy" in plain.stdout, plain.stderr
    secure = curl_through(
        ("127.0.0.1", demo.https),
        f"https://{www}:{demo.https}/about",
        "--cacert",
        demo.directory / "ca.pem",
    )
    assert "About ducks" in secure.stdout, secure.stderr
    for path in ("missing", "broken"):
        curl_through(("127.0.0.1", demo.http), f"http://{www}:{demo.http}/{path}")
    asked = time.monotonic()

    # The page is open: it shows them by itself.
    wait_until(lambda: requests_shown(chromium) == before + 4, "four requests on the page", 15)
    assert time.monotonic() - asked < VISIBLE_SECONDS, f"began {time.monotonic() - began:.1f} s ago"
    wait_until(lambda: drawn_pixels(chromium) > MIN_DRAWN_PIXELS, "a chart with a line", 10)
    code, traffic = api("GET", f"{demo.url}/api/v1/sites/demo/traffic?range=day")
    assert code == 200
    assert traffic["totals"]["requests"] == before + 4
    errors = chromium.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry for entry in errors if entry["level"] == "SEVERE"] == []


@pytest.mark.timeout(120)
def test_the_access_log_of_an_earlier_server_is_in_the_charts(demo: Demo) -> None:
    register(demo, "herons", f"http://127.0.0.2:{demo.origin}")
    yesterday = time.strftime("%d/%b/%Y:12:00:%%02d +0000", time.gmtime(time.time() - 86_400))
    log = demo.directory / "access.log"
    log.write_text(
        "".join(
            f"192.0.2.{number % 2} - - [{yesterday % (number % 60)}]"
            # As browsers do: what a page shows is asked for, too.
            f' "GET /{"style.css" if number // 2 % 2 else number % 10} HTTP/1.1" 200 5 "-"'
            ' "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"\n'
            for number in range(1000)
        )
    )
    config = demo.directory / "watchducks.toml"
    command: list[str | Path] = [
        BIN / "watchducks",
        "logs",
        "import",
        "herons",
        log,
        "--config",
        config,
    ]

    def imported() -> str:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def week() -> Any:
        return api("GET", f"{demo.url}/api/v1/sites/herons/traffic?range=week")[1]

    assert "1000 requests" in imported()
    wait_until(lambda: week()["totals"]["requests"] == 1000, "the requests in the chart", 30, 0.5)
    _, visitors = api("GET", f"{demo.url}/api/v1/sites/herons/visitors?range=week")
    assert visitors["total"] == 2
    assert "\n0 requests" in imported()
    _, paths = api("GET", f"{demo.url}/api/v1/sites/herons/paths?range=week")
    assert {path["path"]: path["requests"] for path in paths["paths"]} == {
        "/style.css": 500,
        **{f"/{number}": 50 for number in range(10)},
    }


@pytest.mark.timeout(180)
def test_a_site_registered_by_the_form_works_at_once(demo: Demo, chromium: Chrome) -> None:
    chromium.get(f"{demo.url}/register")
    values = {
        "name": "ducks",
        "domain": "ducks.test",
        "origin": "here",
        "email": "owner@ducks.test",
        "cohort": "demo",
    }
    for name, value in values.items():
        field = chromium.find_element(By.NAME, name)
        field.clear()
        field.send_keys(value)
    # Validated as one types: the origin is told to be wrong before anything is sent.
    wait_until(
        lambda: "203.0.113.7" in chromium.find_element(By.ID, "origin-error").text,
        "the wrong origin to be told",
        10,
    )
    field = chromium.find_element(By.NAME, "origin")
    field.clear()
    field.send_keys(f"http://127.0.0.2:{demo.origin}", Keys.TAB)
    # What would become of it is looked at meanwhile, and nothing that was typed is lost.
    wait_until(
        lambda: f"http, {demo.origin}: it answers" in chromium.find_element(By.ID, "prospect").text,
        "what was found",
        30,
    )
    assert "could not be asked for" in chromium.find_element(By.ID, "prospect").text
    assert field.get_attribute("value") == f"http://127.0.0.2:{demo.origin}"
    field.send_keys(Keys.ENTER)
    wait_until(lambda: "/sites/ducks" in chromium.current_url, "the new site's page", 10)
    assert "ns1.watchducks.example" in chromium.find_element(By.TAG_NAME, "body").text

    assert "first visitor" in chromium.find_element(By.ID, "progress").text
    wait_until(lambda: dig(demo.dns, "ducks.test") == ["127.0.0.1"], "DNS to know it", 3)
    page = curl_through(("127.0.0.1", demo.http), f"http://ducks.test:{demo.http}/")
    assert "Ducks ahoy" in page.stdout, page.stderr
    wait_until(lambda: requests_shown(chromium) == 1, "its first request on the page", 15)
    # Nothing is left to wait for, and the page says so by itself; the token stays.
    wait_until(lambda: not chromium.find_elements(By.ID, "progress"), "the way to be over", 15)
    assert chromium.find_element(By.CSS_SELECTOR, ".title-line .badge").text == "active"
    assert "wd_" in chromium.find_element(By.TAG_NAME, "main").text
    # It has no certificate, so its HTTPS would be the origin's own business; with nobody listening
    # there the connection ends without a certificate of ours that would be for another name.
    https = curl_through(("127.0.0.1", demo.https), f"https://ducks.test:{demo.https}/")
    assert https.returncode == 35, https.stderr


@pytest.mark.timeout(120)
def test_https_of_a_site_without_a_certificate_is_the_origins_own(demo: Demo) -> None:
    register(demo, "geese", f"https://127.0.0.2:{demo.origin_tls}")
    url = f"https://geese.test:{demo.https}/about"
    authority = ("--cacert", demo.directory / "ca.pem")
    passed = curl_through(("127.0.0.1", demo.https), url, *authority)
    assert "About ducks" in passed.stdout, passed.stderr
    # And its plain HTTP reaches the origin over TLS, whose name is verified.
    plain = curl_through(("127.0.0.1", demo.http), f"http://geese.test:{demo.http}/about")
    assert "About ducks" in plain.stdout, plain.stderr

    def counted() -> tuple[int, int]:
        _, traffic = api("GET", f"{demo.url}/api/v1/sites/geese/traffic?range=day")
        return traffic["totals"]["requests"], traffic["totals"]["connections"]

    wait_until(lambda: counted() == (1, 1), "one request and one connection", 15)

    # A certificate that appears is used by the next connection.
    folder = demo.directory / "certificates" / "geese"
    folder.mkdir()
    chain, key = Authority(demo.directory).issue(["geese.test"])
    (folder / "privkey.pem").write_bytes(key)
    (folder / "fullchain.pem").write_bytes(chain)

    def terminated() -> bool:
        found = curl_through(("127.0.0.1", demo.https), url, *authority, "--include")
        return "via: 1.1 watchducks" in found.stdout.lower()

    wait_until(terminated, "the new certificate to be used", 10)


@pytest.mark.timeout(120)
def test_a_visitor_of_a_site_nobody_registered_is_told(demo: Demo) -> None:
    assert dig(demo.dns, "elsewhere.test") == []
    answer = curl("--header", "Host: elsewhere.test", "--include", f"http://127.0.0.1:{demo.http}/")
    assert answer.stdout.startswith("HTTP/1.1 404")
    form = curl(*("--include", "--data", "name=x&domain=x.test"), f"{demo.url}/register")
    assert " 403 " in form.stdout.splitlines()[0], "a form without its CSRF token"


@pytest.mark.timeout(60)
def test_the_console_says_whether_the_origin_answers(demo: Demo) -> None:
    register(demo, "silent", f"http://127.0.0.1:{free_port('tcp')}")

    def health(name: str) -> Any:
        return api("GET", f"{demo.url}/api/v1/sites/{name}")[1]["origin_health"]

    assert wait_until(lambda: health("demo"), "a probe of the origin", 15)["answers"] is True
    silent = wait_until(lambda: health("silent"), "a probe of the closed port", 15)
    assert (silent["answers"], silent["reason"]) == (False, "connection refused")
    page = curl(f"{demo.url}/sites/silent").stdout
    assert "Your server has not answered since" in page


@pytest.mark.timeout(120)
def test_ctrl_c_stops_everything_and_a_second_start_knows_the_sites(demo: Demo) -> None:
    register(demo, "swans", f"http://127.0.0.2:{demo.origin}")
    curl_through(("127.0.0.1", demo.http), f"http://swans.test:{demo.http}/")
    assert demo.press_ctrl_c() == 0
    assert "Traceback" not in demo.log(), demo.log()
    for port in (demo.http, demo.console):
        assert curl(f"http://127.0.0.1:{port}/").returncode == 7, "somebody still listens"
    again = Demo(demo.directory)
    try:
        code, site = api("GET", f"{again.url}/api/v1/sites/swans")
        assert code == 200, site
        assert dig(again.dns, "www.swans.test") == ["127.0.0.1"]
        _, traffic = api("GET", f"{again.url}/api/v1/sites/swans/traffic?range=day")
        assert traffic["totals"]["requests"] == 1
    finally:
        assert again.press_ctrl_c() == 0
