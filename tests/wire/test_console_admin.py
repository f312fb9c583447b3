"""The page of those who run the service."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import pytest_twisted

from tests.unit.console.driver import Driver
from tests.unit.console.fakes import ADMIN
from watchducks import __version__
from watchducks.model.hosts import HostReport
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
    assert page.count("does not work") == 2, "the part and the host"
    assert "No host judges proxies." in page
    assert "No host has certificates made." in page
    # Not the names that programs know the parts by.
    assert '<th scope="row">Log store</th>' in page
    assert '<th scope="row">로그 저장소</th>' in driver.get("/admin?lang=ko").text
    driver.cookies.pop("language")
    assert "These need a look: test." in page
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
    assert page.count("does not work") == 3
    assert f'192.0.2.2<small>test, since <time data-time="{NOW - 60}"' in page
    assert 'data-fact="watchducks_rows_lost_total">9<' in page
    assert 'data-fact="watchducks_shipper_lag_seconds">4 s<' in page
    assert 'data-fact="watchducks_spool_bytes">2.5 MB<' in page
    assert 'data-fact="letters-waiting">3<' in page
    assert f'a.example</th><td><time data-time="{NOW + 5}"' in page
    assert f'pond</th><td><time data-time="{NOW + 4}"' in page
    driver.letters.waiting = None
    assert "The registry does not answer." in driver.get("/admin").text
    assert "보내기를 기다리는 메일" in driver.get("/admin?lang=ko").text


def test_all_hosts_are_shown_by_what_they_said_last(driver: Driver) -> None:
    sign_in(driver, "root@ducks.example")
    driver.readiness.parts = {"started": True, "registry": True, "logs": True, "later": True}
    edge = HostReport(
        "edge-1",
        NOW - 30,
        NOW - 7200,
        __version__,
        ("proxy",),
        4,
        (1.25, 8),
        {"started": True, "registry": True, "edges": True},
        (
            gauge("watchducks_spool_bytes", "", 2_000_000, process="edge-1"),
            gauge("watchducks_spool_bytes", "", 500_000, process="edge-2"),
            gauge(
                "watchducks_certificate_expiry_timestamp_seconds", "", NOW + 9, certificate="b.kr"
            ),
        ),
    )
    stale_self = replace(edge, name="test", version="0.0.1")
    driver.hosts.reports = [edge, stale_self]
    page = driver.get("/admin").text
    assert re.findall(r'data-host="([^"]+)"', page) == ["test", "edge-1"], "each once"
    assert "All hosts and proxies work." in page
    assert "different versions" not in page, "what this host says now counts"
    card = page.split('data-host="edge-1"')[1].split("</section>")[0]
    assert "<td>Proxy</td>" in card
    assert "<td>1.2 / 8</td>" in card
    assert 'data-fact="watchducks_spool_bytes">2.5 MB<' in card
    assert f'<time data-time="{NOW - 7200}">Nov 21 20:26</time>' in card
    assert '<th scope="row">Processes for traffic</th><td>4</td>' in card
    assert f'b.kr</th><td><time data-time="{NOW + 9}"' in page
    # One that has not been heard of, does not work, or runs another version.
    ailing = replace(edge, name="edge-3", version="0.9", checks={"logs": False})
    driver.hosts.reports = [edge, replace(edge, name="edge-2", at=NOW - 100), ailing]
    page = driver.get("/admin").text
    assert "These need a look: edge-2, edge-3." in page
    assert f"Hosts run different versions: {__version__}, 0.9." in page
    assert "Last heard of" in page.split('data-host="edge-2"')[1].split("</section>")[0]
    driver.hosts.reports = None
    assert re.findall(r'data-host="([^"]+)"', driver.get("/admin").text) == ["test"]


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
