"""What is common to all of the API: its document, entity tags, pages of lists, limits."""

from __future__ import annotations

import re

import pytest_twisted

from tests.unit.console.driver import GOOD, Driver
from watchducks.console.api_routes import ADDRESS_BURST, TOKEN_BURST


def test_the_document_names_every_route() -> None:
    driver = Driver()
    document = driver.api("GET", "/api/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "http://console.example:8000"}]
    site = document["paths"]["/api/v1/sites/{name}"]
    assert set(site) == {"get", "patch", "delete"}
    assert site["patch"]["security"] == [{"token": []}]
    assert site["get"]["security"] == [{"token": []}, {}]
    assert "security" not in document["paths"]["/api/v1/cohorts"]["get"]
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    assert all(each["summary"].endswith((".", "token.")) for each in operations)


@pytest_twisted.ensureDeferred
async def test_what_somebody_has_already_is_not_sent_again() -> None:
    driver = Driver()
    await driver.add()
    first = driver.ask("GET", "/api/v1/sites/ducks/traffic")
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for known in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        again = driver.ask("GET", "/api/v1/sites/ducks/traffic", headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    driver.analytics.scale = 100
    changed = driver.ask("GET", "/api/v1/sites/ducks/traffic", headers={"If-None-Match": tag})
    assert changed.status == 200
    assert changed.headers["etag"] != tag
    # The records have a tag of their own, which a change names.
    records = driver.ask("GET", "/api/v1/sites/ducks/records", headers={"If-None-Match": '"1"'})
    assert (records.status, records.headers["etag"]) == (304, '"1"')
    missing = driver.ask("GET", "/api/v1/sites/geese", headers={"If-None-Match": "*"})
    assert missing.status == 404


@pytest_twisted.ensureDeferred
async def test_a_list_leads_to_its_next_page() -> None:
    driver = Driver()
    for number in range(5):
        await driver.add(name=f"site{number}", domain=f"s{number}.example", cohort="오리")
    path: str | None = "/api/v1/sites?limit=2&cohort=%EC%98%A4%EB%A6%AC"
    names: list[str] = []
    while path is not None:
        page = driver.api("GET", path)
        names += [site["name"] for site in page.json["sites"]]
        link = re.fullmatch(r'<(/api/v1/sites\?.*)>; rel="next"', page.headers.get("link", ""))
        path = link[1] if link else None
    assert names == [f"site{number}" for number in range(5)]


def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    driver = Driver()
    driver.api("POST", "/api/v1/sites", GOOD)

    def statuses(count: int, token: str = "") -> list[int]:
        return [driver.api("GET", "/api/v1/cohorts", token=token).status for _ in range(count)]

    assert statuses(TOKEN_BURST + 1, "wd_one") == [200] * TOKEN_BURST + [429]
    reply = driver.api("GET", "/api/v1/cohorts", token="wd_one")
    assert (reply.json["type"].rpartition(":")[2], reply.headers["retry-after"]) == (
        "too-many",
        "1",
    )
    assert statuses(1, "wd_two") == [200]
    # Tokens that are made up are no way around the limit of their address.
    spent = TOKEN_BURST + 4
    assert statuses(ADDRESS_BURST - spent)[-1] == 200
    assert statuses(1, "wd_three") == [429]
    driver.address = "192.0.2.2"
    assert statuses(1) == [200]
    driver.address = "192.0.2.1"
    driver.clock.advance(1)
    assert statuses(1, "wd_one") == [200]
    # The pages are not the API.
    assert driver.get("/").status == 200
