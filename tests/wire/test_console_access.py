"""Who may see and change which site: through every page and every endpoint that there is."""

from __future__ import annotations

import re
from http.client import IncompleteRead

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.unit.console.driver import Driver, Reply
from watchducks.console.pages import Pages
from watchducks.console.records_page import RecordsPage
from watchducks.console.settings_page import SettingsPage
from watchducks.model.accounts import Actor, Scope

OWNER, OTHER = "owner@ducks.example", "other@geese.example"
ME = Actor(OWNER)


class World:
    """A console with a site of each visibility, and one of somebody else's.

    :ivar tokens: site's name -> its owner token.
    """

    def __init__(self) -> None:
        self.driver = Driver()
        self.tokens: dict[str, str] = {}

    async def fill(self) -> None:
        for name in ("public", "unlisted", "private"):
            self.tokens[name] = await self.driver.add(
                name=name, domain=f"{name}.example", email=OWNER
            )
            self.driver.api(
                "PATCH", f"/api/v1/sites/{name}", {"visibility": name}, self.tokens[name]
            )
        self.tokens["geese"] = await self.driver.add(
            name="geese", domain="geese.example", email=OTHER
        )

    def sign_in(self, email: str) -> None:
        self.driver.cookies["sign_in"] = self.driver.accounts.signed_in(email)

    async def token(self, scope: Scope, name: str = "") -> str:
        site = await self.driver.sites.site(name) if name else None
        made = await self.driver.accounts.make_token(OWNER, "test", scope, site, by=ME)
        return made[1]

    def readable(self) -> list[str]:
        """Return the paths of every endpoint and page of a site that is read."""
        documents = self.driver.api("GET", "/api/openapi.json").json["paths"]
        found = [path for path, methods in documents.items() if "get" in methods]
        pages = [
            rule.rule.replace("<name>", "{name}")
            for owner in (Pages, RecordsPage, SettingsPage)
            for rule in owner.app.url_map.iter_rules()
            if rule.methods and "GET" in rule.methods
        ]
        return [path for path in [*found, *pages] if "{name}" in path]

    def read(self, path: str, name: str, token: str = "") -> Reply:
        headers = {"Accept": "text/html"} if not path.startswith("/api/") else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        # Whatever else a path names: one of what is counted.
        filled = re.sub(r"{\w+}", "status", path.replace("{name}", name))
        return self.driver.ask("GET", filled, headers=headers)


@pytest.fixture
def world() -> World:
    found = World()
    pytest_twisted.blockon(Deferred.fromCoroutine(found.fill()))
    return found


def statuses(world: World, name: str, token: str = "") -> dict[str, int]:
    return {path: _status(world, path, name, token) for path in world.readable()}


def _status(world: World, path: str, name: str, token: str) -> int:
    try:
        return world.read(path, name, token).status
    except IncompleteRead:  # a stream, which goes on
        return 200


def test_every_readable_path_is_found(world: World) -> None:
    paths = world.readable()
    assert len(paths) > 12
    for path in ("/sites/{name}", "/sites/{name}/records", "/api/v1/sites/{name}/traffic"):
        assert path in paths
    found = statuses(world, "public")
    # Single requests are their owner's, whoever may see what they add up to.
    assert found.pop("/api/v1/sites/{name}/export") == 403
    assert set(found.values()) <= {200, 401}


def test_a_private_site_is_not_there_for_others(world: World) -> None:
    for path, status in statuses(world, "private").items():
        assert status in (404, 401), path
        assert world.read(path, "private").body == world.read(path, "nobody").body.replace(
            b"nobody", b"private"
        )
    assert set(statuses(world, "private", world.tokens["geese"]).values()) == {404}
    world.sign_in(OTHER)
    assert set(statuses(world, "private").values()) <= {404, 401}


def test_its_owner_sees_it_by_token_and_signed_in(world: World) -> None:
    assert set(statuses(world, "private", world.tokens["private"]).values()) == {200}
    world.sign_in(OWNER)
    assert set(statuses(world, "private").values()) <= {200, 401}
    assert world.read("/sites/{name}", "private").headers["cache-control"].startswith("private")


@pytest_twisted.ensureDeferred
async def test_a_token_that_reads_changes_nothing(world: World) -> None:
    reader, writer = await world.token(Scope.READ), await world.token(Scope.WRITE, "private")
    assert set(statuses(world, "private", reader).values()) == {200}
    change = {"cohort": "second"}
    for name, token, status in (
        ("private", reader, 403),
        ("private", writer, 200),
        ("public", writer, 403),
        ("unlisted", writer, 404),
        ("geese", reader, 403),
        ("private", "wd_nobodys", 404),
        ("public", "wd_nobodys", 403),
    ):
        assert world.driver.api("PATCH", f"/api/v1/sites/{name}", change, token).status == status


def test_lists_have_only_what_may_be_seen(world: World) -> None:
    def names(token: str = "") -> list[str]:
        sites = world.driver.api("GET", "/api/v1/sites", token=token).json["sites"]
        return [site["name"] for site in sites]

    def cohort() -> int:
        found = world.driver.api("GET", "/api/v1/cohorts").json["cohorts"]
        return int(found[0]["sites"])

    assert names() == ["geese", "public"]
    assert cohort() == 2
    assert names(world.tokens["private"]) == ["geese", "private", "public"]
    overview = world.driver.get("/").text
    assert 'href="/sites/public"' in overview
    assert 'href="/sites/private"' not in overview
    assert 'href="/sites/unlisted"' not in overview
    world.sign_in(OWNER)
    assert names() == ["geese", "private", "public", "unlisted"]
    assert 'href="/sites/private"' in world.driver.get("/").text


def test_who_has_followed_the_link_of_an_unlisted_site_sees_it(world: World) -> None:
    path = "/api/v1/sites/unlisted/traffic"
    share = world.driver.api("GET", "/api/v1/sites/unlisted", token=world.tokens["unlisted"]).json[
        "share"
    ]
    assert world.driver.get("/sites/unlisted").status == 404
    assert world.driver.get("/sites/unlisted?share=wrong").status == 404
    assert world.driver.api("GET", f"{path}?share={share}").status == 200
    assert world.driver.api("GET", path).status == 404
    assert world.driver.get(f"/sites/unlisted?share={share}").status == 200
    assert world.driver.api("GET", path).status == 200
    assert world.driver.get("/sites/unlisted/records").status == 200
    assert "share" not in world.driver.api("GET", "/api/v1/sites/unlisted").json
    # It is still in no list, and another site's link is none of it.
    assert 'href="/sites/unlisted"' not in world.driver.get("/").text
    assert world.driver.get(f"/sites/private?share={share}").status == 404


def test_a_session_changes_nothing_through_the_api(world: World) -> None:
    world.sign_in(OWNER)
    reply = world.driver.api("PATCH", "/api/v1/sites/public", {"cohort": "second"})
    assert reply.status == 401
    assert world.driver.api("DELETE", "/api/v1/sites/public").status == 401


def test_what_is_changed_has_its_actor_in_the_trail(world: World) -> None:
    world.driver.api("PATCH", "/api/v1/sites/public", {"cohort": "second"}, world.tokens["public"])
    last = world.driver.sites.entries[-1]
    assert (last.actor, last.site) == (Actor("owner token", "192.0.2.0/24"), "public")
