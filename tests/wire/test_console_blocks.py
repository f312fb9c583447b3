"""The blocklist's page and API, and what a stranger sees of it: a refusal, and no more."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.unit.console.driver import GOOD, Driver, Reply
from tests.unit.console.fakes import ADMIN
from tests.wire.test_console_admin import sign_in

BLOCKS = "/api/v1/blocks"


@pytest.fixture
def driver() -> Driver:
    found = Driver()
    found.accounts.admins.add("root@ducks.example")
    return found


def send(driver: Driver, path: str, **fields: str) -> Reply:
    return driver.submit({**driver.csrf("/admin/blocks"), **fields}, path)


def suspended(driver: Driver) -> list[str]:
    return [site.name for site in driver.sites.by_key.values() if site.suspended]


@pytest.mark.parametrize(
    "what",
    ["ducks.example", "owner@ducks.example", "@ducks.example", "192.0.2.0/24", "203.0.113.7"],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_stranger_is_refused_politely_and_learns_nothing(
    driver: Driver, what: str, language: str
) -> None:
    driver.api("POST", BLOCKS, {"what": what, "reason": "a rude word"}, ADMIN)
    accepted = {"Accept-Language": language}
    for field, value in GOOD.items():
        check = driver.ask("GET", f"/register/check?field={field}&value={value}", headers=accepted)
        assert check.json["ok"]
    by_api = driver.api("POST", "/api/v1/sites", GOOD)
    form = driver.submit({**driver.csrf(f"/register?lang={language}"), **GOOD})
    assert (by_api.status, form.status) == (403, 403)
    words = {"en": "This cannot be accepted", "ko": "받을 수 없는 요청입니다"}
    assert words[language] in form.text
    for text in (by_api.text, form.text):
        assert what not in text.replace("watchducks.example", "")
        assert "rude" not in text
        assert "block" not in text.lower()
    assert driver.sites.by_key == {}
    # Whoever runs the service may, and others may as before.
    assert driver.api("POST", "/api/v1/sites", GOOD, ADMIN).status == 201
    driver.address = "198.51.100.1"
    other = {"name": "geese", "domain": "geese.example", "email": "o@geese.example"}
    free = {**GOOD, **other, "origin": "198.51.100.7"}
    assert driver.api("POST", "/api/v1/sites", free).status == 201


@pytest_twisted.ensureDeferred
async def test_a_site_cannot_become_what_is_blocked(driver: Driver) -> None:
    token = await driver.add()
    for what, change in (
        ("198.51.100.0/24", {"origin": "198.51.100.9"}),
        ("@geese.example", {"email": "owner@geese.example"}),
        ("cloud.example", {"origin": "https://a.cloud.example"}),
    ):
        assert driver.api("POST", BLOCKS, {"what": what, "reason": "x"}, ADMIN).status == 201
        assert driver.api("PATCH", "/api/v1/sites/ducks", change, token).status == 403
    assert driver.api("PATCH", "/api/v1/sites/ducks", {"cohort": "new"}, token).status == 200


@pytest_twisted.ensureDeferred
async def test_an_admin_blocks_on_a_page_and_chooses_what_happens_to_sites(driver: Driver) -> None:
    await driver.add()
    await driver.add(name="geese", domain="geese.example", email="other@geese.example")
    assert driver.get("/admin/blocks").status == 403
    sign_in(driver, "owner@ducks.example")
    assert driver.get("/admin/blocks").status == 403
    for path in ("/admin/blocks", "/admin/blocks/remove", "/admin/blocks/sites"):
        fields = {
            **driver.csrf("/sign-in"),
            "what": "ducks.example",
            "reason": "mine",
            "number": "1",
        }
        assert driver.submit(fields, path).status == 403
        assert driver.submit({"what": "x.example"}, path).status == 403
    assert driver.blocks.known == []
    sign_in(driver, "root@ducks.example")
    assert 'href="/admin/blocks"' in driver.get("/admin").text
    wrong = send(driver, "/admin/blocks", what="0.0.0.0/0", reason="<b>")
    assert wrong.status == 422
    assert "too much of the internet" in wrong.text
    assert 'value="&lt;b&gt;"' in wrong.text
    made = send(driver, "/admin/blocks", what="ducks.example", reason="<b>spam")
    assert made.headers["location"] == "/admin/blocks?block=1"
    page = driver.get("/admin/blocks?block=1").text
    assert 'href="/sites/ducks"' in page
    assert 'href="/sites/geese"' not in page
    assert "goes on" in page
    assert "&lt;b&gt;spam" in page
    assert send(driver, "/admin/blocks/sites", number="1", act="suspend").status == 303
    assert suspended(driver) == ["ducks"]
    assert "is suspended by whoever runs this service" in driver.get("/sites/ducks").text
    assert send(driver, "/admin/blocks/sites", number="1", act="resume").status == 303
    assert suspended(driver) == []
    for fields in ({"number": "7", "act": "suspend"}, {"number": "1", "act": "erase"}):
        assert send(driver, "/admin/blocks/sites", **fields).status == 404
    assert send(driver, "/admin/blocks/remove", number="1").status == 303
    assert send(driver, "/admin/blocks/remove", number="no number").status == 303
    assert driver.blocks.known == []


@pytest_twisted.ensureDeferred
async def test_the_api_is_the_admins(driver: Driver) -> None:
    token = await driver.add()
    wanted = {"what": "ducks.example", "reason": "spam"}
    for method, path, body in (
        ("GET", BLOCKS, None),
        ("POST", BLOCKS, wanted),
        ("DELETE", f"{BLOCKS}/1", None),
        ("POST", "/api/v1/sites/ducks/suspend", None),
        ("POST", "/api/v1/sites/ducks/resume", None),
    ):
        assert driver.api(method, path, body).status == 401
        assert driver.api(method, path, body, token).status == 403
    made = driver.api("POST", BLOCKS, wanted, ADMIN)
    assert (made.status, made.json["kind"], made.json["sites"]) == (201, "domain", ["ducks"])
    assert driver.api("POST", BLOCKS, {"what": 7}, ADMIN).status == 422
    listed = driver.api("GET", BLOCKS, token=ADMIN).json["blocks"]
    assert [(one["number"], one["what"], one["reason"]) for one in listed] == [
        (1, "ducks.example", "spam")
    ]
    done = driver.api("POST", "/api/v1/sites/ducks/suspend", token=ADMIN)
    assert done.json == {"site": "ducks", "suspended": True}
    assert driver.api("GET", "/api/v1/sites/ducks").json["suspended"]
    assert driver.api("POST", "/api/v1/sites/ducks/resume", token=ADMIN).status == 200
    assert driver.api("POST", "/api/v1/sites/nobody/suspend", token=ADMIN).status == 404
    assert driver.api("DELETE", f"{BLOCKS}/1", token=ADMIN).status == 204
    assert driver.api("DELETE", f"{BLOCKS}/1", token=ADMIN).status == 404
