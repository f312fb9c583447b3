"""Accounts in the registry, over SQLite and MariaDB: links, sessions, tokens, admins, the trail."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from sqlalchemy import text
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from tests.contracts.stores_under_test import thread_pool, zone_keys
from tests.servers.mariadb import MariaDB
from watchducks.model.accounts import (
    ANYBODY,
    EVERYBODY,
    LINK_SECONDS,
    MAX_TOKENS,
    SESSION_SECONDS,
    Act,
    Actor,
    Scope,
    Viewer,
)
from watchducks.model.letters import LetterKind
from watchducks.model.origins import parse_origin
from watchducks.model.problems import InvalidFields
from watchducks.model.sites import Registration, Site, Visibility
from watchducks.model.zones import ZoneContents
from watchducks.registry.accountbook import AccountBook
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.registration import SiteChanges
from watchducks.registry.registry import Registry
from watchducks.stores.sql import SqlStore

NOW = 1_800_000_000
OWNER, OTHER = "Owner@mail.example", "other@mail.example"
ME = Actor(OWNER, "203.0.113.0/24")


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


class World:
    """:ivar posted: how often the courier was nudged."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self.registry, self.clock = registry, clock
        self.bag = Mailbag(registry, clock=clock)
        self.book = AccountBook(registry, seal=lambda secret, context: secret, clock=clock)

    async def add(self, name: str, email: str = OWNER) -> Site:
        origin = parse_origin("203.0.113.7")
        wanted = Registration(name, f"{name}.example", origin, email, "default")
        return (await self.registry.register(wanted))[0]

    async def links(self) -> list[tuple[str, str]]:
        """Return the links on their way: to whom, and the secret."""
        found = []
        while taken := await self.bag.take_due(10):
            for one in taken:
                await self.bag.keep_sent(one)
                if one.letter.kind is LetterKind.SIGN_IN:
                    secret = base64.b64decode(one.letter.facts["sealed"]).decode()
                    found.append((one.letter.recipient, secret))
        return found

    async def sign_in(self, typed: str = OWNER) -> str:
        await self.book.ask_link(typed, "en")
        ((_, secret),) = await self.links()
        session = await self.book.sign_in(secret, "")
        assert session is not None
        return session


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[World]:
    clock = Clock()
    clock.rightNow = NOW
    async with thread_pool(reactor) as pool:
        registry = Registry(SqlStore(url, pool), clock=clock, keys=zone_keys())
        await registry.start()
        try:
            yield World(registry, clock)
        finally:
            await registry.stop()


@pytest_twisted.ensureDeferred
async def test_a_link_signs_in_once_and_for_a_quarter_of_an_hour(url: str) -> None:
    async with opened(url) as world:
        book = world.book
        await world.add("ducks")
        await book.ask_link("nobody@mail.example", "ko")
        assert await world.links() == []
        await book.ask_link(OWNER.upper(), "ko")
        ((to, secret),) = await world.links()
        assert to == OWNER
        assert await book.link_of(secret) == OWNER
        assert await book.sign_in(secret + "x", "") is None
        uses = [Deferred.fromCoroutine(book.sign_in(secret, "")) for _ in range(3)]
        sessions: list[str | None] = list(await gatherResults(uses))
        (session,) = [one for one in sessions if one is not None]
        viewer = await book.in_session(session)
        assert viewer == Viewer(email=OWNER, write=True, session=True, name=OWNER)
        assert await book.link_of(secret) is None
        await book.ask_link(OWNER, "ko")
        ((_, late),) = await world.links()
        world.clock.advance(LINK_SECONDS)
        assert await book.sign_in(late, "") is None


@pytest_twisted.ensureDeferred
async def test_sessions_end_by_time_by_hand_and_with_the_last_site(url: str) -> None:
    async with opened(url) as world:
        book = world.book
        await world.add("ducks")
        first, second, third = [await world.sign_in() for _ in range(3)]
        await book.sign_out(first, "")
        assert await book.in_session(first) is None
        assert await book.in_session(second) is not None
        await book.sign_out(second, "", everywhere=True)
        assert await book.in_session(third) is None
        last = await world.sign_in()
        world.clock.advance(SESSION_SECONDS - 1)
        assert await book.in_session(last) is not None
        world.clock.advance(1)
        assert await book.in_session(last) is None
        session = await world.sign_in()
        await world.registry.remove("ducks")
        assert await book.in_session(session) is None


@pytest_twisted.ensureDeferred
async def test_an_account_keeps_its_time_zone(url: str) -> None:
    async with opened(url) as world:
        book = world.book
        await world.add("ducks")
        session = await world.sign_in()
        await book.keep_time_zone("somebody@else.example", "Asia/Tokyo")
        for zone in ("Asia/Seoul", ""):
            await book.keep_time_zone(OWNER, zone)
            viewer = await book.in_session(session)
            assert viewer is not None
            assert viewer.time_zone == zone
        await world.registry.remove("ducks")
        await book.add_admin("root@else.example")
        await book.keep_time_zone("root@else.example", "Asia/Seoul")
        await book.ask_link("root@else.example", "ko")
        ((_, secret),) = [link for link in await world.links() if link[0] == "root@else.example"]
        session_of_admin = await book.sign_in(secret, "")
        assert session_of_admin is not None
        viewer = await book.in_session(session_of_admin)
        assert viewer is not None
        assert viewer.time_zone == "Asia/Seoul"


@pytest_twisted.ensureDeferred
async def test_no_secret_is_in_the_database(url: str) -> None:
    async with opened(url) as world:
        await world.add("ducks")
        session = await world.sign_in()
        _, token = await world.book.make_token(OWNER, "backup", Scope.READ, None, by=ME)
        await world.book.ask_link(OWNER, "")
        for table in ("links", "sessions", "tokens", "audit"):
            rows = await world.registry.read(
                lambda connection, table=table: str(  # type: ignore[misc]
                    connection.execute(text(f"SELECT * FROM {table}")).all()
                )
            )
            assert len(rows) > 2
            assert session not in rows
            assert token not in rows


@pytest_twisted.ensureDeferred
async def test_tokens_are_scoped_revoked_bounded_and_know_their_last_use(url: str) -> None:
    async with opened(url) as world:
        book, registry = world.book, world.registry
        ducks, geese = await world.add("ducks"), await world.add("geese")
        swans = await world.add("swans", OTHER)
        reader, text_of_reader = await book.make_token(OWNER, "read all", Scope.READ, None, by=ME)
        _, text_of_writer = await book.make_token(OWNER, "geese", Scope.WRITE, geese, by=ME)
        for token, sees, changes in (
            (text_of_reader, [ducks, geese], []),
            (text_of_writer, [geese], [geese]),
        ):
            viewer = await book.identify(token)
            assert viewer is not None
            assert [site for site in (ducks, geese, swans) if viewer.owns(site)] == sees
            assert [site for site in (ducks, geese, swans) if viewer.may_change(site)] == changes
        assert not await registry.authorise("ducks", text_of_reader)
        assert await registry.authorise("geese", text_of_writer)
        assert not await registry.authorise("", text_of_writer)
        # Whoever is given the site gets it without the old owner's tokens.
        await registry.update("geese", SiteChanges(email=OTHER))
        assert not await registry.authorise("geese", text_of_writer)
        found = await book.tokens_of(OWNER)
        labels = [(one.label, one.scope, one.site, one.made, one.used) for one in found]
        assert ("read all", Scope.READ, "", True, NOW) in labels
        assert ("", Scope.WRITE, "ducks", False, 0) in labels
        assert not await book.revoke_token(OTHER, reader.number, by=ME)
        assert await book.revoke_token(OWNER, reader.number, by=ME)
        assert await book.identify(text_of_reader) is None
        assert await book.identify("wd_\ud800") is None
        for number in range(MAX_TOKENS - 1):
            await book.make_token(OWNER, f"{number}", Scope.READ, None, by=ME)
        with pytest.raises(InvalidFields):
            await book.make_token(OWNER, "one more", Scope.READ, None, by=ME)


@pytest_twisted.ensureDeferred
async def test_an_admin_signs_in_without_a_site_until_he_is_none(url: str) -> None:
    async with opened(url) as world:
        book = world.book
        assert await book.add_admin(OTHER)
        assert not await book.add_admin(OTHER)
        session = await world.sign_in(OTHER)
        viewer = await book.in_session(session)
        assert viewer is not None
        assert viewer.admin
        assert viewer.may_change(await world.add("ducks"))
        assert await book.admins() == [OTHER]
        assert await book.remove_admin(OTHER)
        assert await book.in_session(session) is None


@pytest_twisted.ensureDeferred
async def test_an_admin_that_the_settings_name_is_one_as_long_as_they_do(url: str) -> None:
    async with opened(url) as world:
        named = AccountBook(
            world.registry, seal=lambda secret, context: secret, clock=world.clock, admins=[OTHER]
        )
        await named.ask_link(OTHER.upper(), "en")
        ((to, secret),) = await world.links()
        assert to == OTHER
        session = await named.sign_in(secret, "")
        assert session is not None
        viewer = await named.in_session(session)
        assert viewer is not None
        assert viewer.admin
        assert await named.admins() == [OTHER]
        plain = await world.book.in_session(session)
        assert plain is not None
        assert not plain.admin
        assert await world.book.admins() == []


@pytest_twisted.ensureDeferred
async def test_whoever_has_the_registry_makes_admins_a_link_and_nobody_else(url: str) -> None:
    async with opened(url) as world:
        book = world.book
        await world.add("ducks")
        assert await book.make_link(OWNER, by=ME) is None
        await book.add_admin(OTHER)
        secret = await book.make_link(OTHER, by=ME)
        assert secret is not None
        assert await world.links() == []
        assert await book.link_of(secret) == OTHER
        (entry,) = await world.registry.trail(None, limit=1)
        assert (entry.act, entry.details) == (Act.LINK_MADE, {"email": OTHER})


@pytest_twisted.ensureDeferred
async def test_lists_show_what_the_viewer_may_see(url: str) -> None:
    async with opened(url) as world:
        registry = world.registry
        await world.add("ducks")
        hidden = await world.add("geese")
        link = await world.add("swans", OTHER)
        hidden = await registry.update("geese", SiteChanges(visibility=Visibility.PRIVATE))
        link = await registry.update("swans", SiteChanges(visibility=Visibility.UNLISTED))
        assert hidden.share == ""
        assert len(link.share) > 20
        again = await registry.renew_share("swans")
        assert again.share not in ("", link.share)
        for viewer, names in (
            (ANYBODY, ["ducks"]),
            (Viewer(email=OWNER), ["ducks", "geese"]),
            (Viewer(email=OTHER), ["ducks", "swans"]),
            (Viewer(site_id=hidden.id), ["ducks", "geese"]),
            (Viewer(email=OTHER, site_id=hidden.id), ["ducks"]),
            (Viewer(owned=frozenset({link.id})), ["ducks", "swans"]),
            (EVERYBODY, ["ducks", "geese", "swans"]),
        ):
            assert [site.name for site in await registry.sites(viewer=viewer)] == names
            assert await registry.cohorts(viewer=viewer) == [("default", len(names))]
            assert await registry.count(viewer=viewer) == len(names)
        assert [site.name for site in await world.book.sites_of(OWNER)] == ["ducks", "geese"]


@pytest_twisted.ensureDeferred
async def test_every_change_is_in_the_trail_with_who_and_from_where(url: str) -> None:
    async with opened(url) as world:
        registry, book = world.registry, world.book
        ducks = await world.add("ducks")
        await registry.update("ducks", SiteChanges(origin=parse_origin("203.0.113.9")), by=ME)
        await registry.update("ducks", SiteChanges(origin=parse_origin("203.0.113.9")), by=ME)
        await registry.keep_contents("ducks", ZoneContents(("@",)), by=ME)
        await registry.update("ducks", SiteChanges(dnssec=True), by=ME)
        await registry.renew_share("ducks", by=ME)
        await book.make_token(OWNER, "backup", Scope.READ, ducks, by=ME)
        await world.sign_in()
        await registry.remove("ducks", by=ME)
        everything = await registry.trail(None)
        acts = [(entry.act, entry.site) for entry in reversed(everything)]
        assert acts == [
            (Act.REGISTERED, "ducks"),
            (Act.CHANGED, "ducks"),
            (Act.RECORDS, "ducks"),
            (Act.CHANGED, "ducks"),
            (Act.SHARED, "ducks"),
            (Act.TOKEN_MADE, "ducks"),
            (Act.SIGNED_IN, ""),
            (Act.REMOVED, "ducks"),
        ]
        changed = everything[-2]
        assert changed.actor == ME
        assert changed.details == {"origin": ["203.0.113.7", "203.0.113.9"]}
        assert everything[-3].details["proxied"] == ["@ www", "@"]
        page = await registry.trail(ducks.id, before=everything[1].number, limit=2)
        assert [entry.act for entry in page] == [Act.TOKEN_MADE, Act.SHARED]
