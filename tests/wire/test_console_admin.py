"""The page of those who run the service."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.unit.console.driver import Driver
from tests.unit.console.fakes import ADMIN
from watchducks import __version__
from watchducks.model.metrics import counter, gauge
from watchducks.model.sites import Visibility
from watchducks.registry.registration import SiteChanges

NOW = 1_795_300_000


@pytest.fixture
def driver() -> Driver:
    found = Driver()
    found.accounts.admins.add("root@ducks.example")
    return found


def sign_in(driver: Driver, email: str) -> None:
    driver.cookies = {"sign_in": driver.accounts.signed_in(email)}


@pytest_twisted.ensureDeferred
async def test_nobody_but_an_admin_who_is_signed_in_sees_it(driver: Driver) -> None:
    owner = await driver.add(email="owner@ducks.example")
    assert driver.get("/admin").status == 403
    for token in (owner, ADMIN):
        assert driver.get("/admin", Authorization=f"Bearer {token}").status == 403
    sign_in(driver, "owner@ducks.example")
    page = driver.get("/admin?q=ducks")
    assert page.status == 403
    assert "owner@ducks.example" not in page.text
    assert 'href="/admin"' not in driver.get("/account").text
    sign_in(driver, "root@ducks.example")
    assert driver.get("/admin").status == 200
    assert driver.get("/admin").headers["cache-control"] == "no-store"
    assert 'href="/admin"' in driver.get("/account").text


def test_it_shows_how_this_host_is_doing(driver: Driver) -> None:
    sign_in(driver, "root@ducks.example")
    driver.readiness.parts = {"registry": True, "logs": False}
    page = driver.get("/admin").text
    assert f"WatchDucks {__version__}" in page
    assert page.count("does not work") == 1
    assert "This host judges no proxies." in page
    assert "This host has no certificates made." in page
    driver.letters.waiting = 3
    driver.samples = [
        gauge("watchducks_proxy_healthy", "", 1, proxy="192.0.2.1"),
        gauge("watchducks_proxy_healthy", "", 0, proxy="192.0.2.2"),
        gauge("watchducks_proxy_verdict_seconds", "", 60, proxy="192.0.2.2"),
        counter("watchducks_rows_lost_total", "", 4, process="edge-1"),
        counter("watchducks_rows_lost_total", "", 5, process="edge-2"),
        gauge("watchducks_shipper_lag_seconds", "", 4, process="edge-1"),
        gauge("watchducks_shipper_lag_seconds", "", 3, process="edge-2"),
        gauge("watchducks_spool_bytes", "", 2_500_000),
        gauge(
            "watchducks_certificate_expiry_timestamp_seconds", "", NOW + 5, certificate="a.example"
        ),
        gauge("watchducks_certificate_file_expiry_timestamp_seconds", "", NOW + 4, folder="pond"),
    ]
    page = driver.get("/admin").text
    assert page.count("does not work") == 2
    assert f'192.0.2.2<small>since <time data-time="{NOW - 60}"' in page
    assert 'data-fact="watchducks_rows_lost_total">9<' in page
    assert 'data-fact="watchducks_shipper_lag_seconds">4 s<' in page
    assert 'data-fact="watchducks_spool_bytes">2.5 MB<' in page
    assert 'data-fact="letters-waiting">3<' in page
    assert f'a.example</th><td><time data-time="{NOW + 5}"' in page
    assert f'pond</th><td><time data-time="{NOW + 4}"' in page
    driver.letters.waiting = None
    assert "The registry does not answer." in driver.get("/admin").text
    assert "보내기를 기다리는 메일" in driver.get("/admin?lang=ko").text


@pytest_twisted.ensureDeferred
async def test_sites_are_found_by_name_domain_and_owner(driver: Driver) -> None:
    await driver.add(email="a@ducks.example")
    await driver.add(name="duckling", domain="little.example", email="b@ducks.example")
    await driver.add(name="pond", domain="pond.example", email="b@ducks.example")
    await driver.sites.update("pond", SiteChanges(visibility=Visibility.PRIVATE))
    sign_in(driver, "root@ducks.example")
    everything = {"ducks", "duckling", "pond"}
    for typed, expected in (
        ("DUCK", {"ducks", "duckling"}),
        ("pond", {"pond"}),
        ("Pond.example", {"pond"}),
        ("b@ducks.example", {"duckling", "pond"}),
        ("%3Cb%3E", set[str]()),
    ):
        page = driver.get(f"/admin?q={typed}").text
        assert {name for name in everything if f'href="/sites/{name}"' in page} == expected, typed
        assert ("There is no such site." in page) is not bool(expected)
        assert "<b>" not in page
