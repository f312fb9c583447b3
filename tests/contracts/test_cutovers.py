"""Cutovers in the registry, over SQLite and MariaDB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import Connection, delete, text, update
from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.contracts.stores_under_test import thread_pool, zone_keys
from tests.servers.mariadb import MariaDB
from watchducks.model.certificates import CertificateFailure, Trouble, Wish, after_failure
from watchducks.model.cutover import CutoverRules, Finding, Look
from watchducks.model.origins import parse_origin
from watchducks.model.signing import apex_name
from watchducks.model.sites import Registration, SiteState
from watchducks.registry.migrations import migrate
from watchducks.registry.registration import SiteChanges
from watchducks.registry.registry import Conflict, Registry
from watchducks.registry.schema import cutovers, sites
from watchducks.registry.sealing import Sealer
from watchducks.registry.vault import Vault
from watchducks.stores.sql import SqlStore

REACTOR: Any = reactor
NOW = 1_800_000_000
OWN = ("ns1.ducks.example", "ns2.ducks.example")
OURS = Look(OWN)
ELSEWHERE = Look(("ns.old.example",))
STRICT = CutoverRules(require_delegation=True)


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


@asynccontextmanager
async def opened(
    url: str, clock: Clock, rules: CutoverRules = STRICT
) -> AsyncIterator[tuple[Registry, SqlStore]]:
    async with thread_pool(reactor) as pool:
        store = SqlStore(url, pool)
        found = Registry(store, clock=clock, keys=zone_keys(), rules=rules)
        await found.start()
        try:
            yield found, store
        finally:
            await found.stop()


def at(seconds: int) -> Clock:
    clock = Clock()
    clock.rightNow = seconds
    return clock


def wanted(name: str, domain: str = "ducks.example") -> Registration:
    return Registration(name, domain, parse_origin("203.0.113.7"), "owner@mail.example", "default")


async def zones(found: Registry) -> dict[str, tuple[str, SiteState]]:
    changes = await found.changes_since(0)
    return {site.zone: (site.name, site.state) for site in changes.sites}


@pytest_twisted.ensureDeferred
async def test_a_site_is_looked_at_after_a_minute_by_one_host(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, _), opened(url, clock) as (other, _):
        site, _ = await found.register(wanted("ducks"))
        clock.advance(59)
        assert await found.take_due_cutovers(9) == []
        clock.advance(1)
        (due,) = await found.take_due_cutovers(9)
        assert (due.site, due.rivals, due.progress.finding) == (site, 0, Finding.NONE)
        assert await other.take_due_cutovers(9) == [], "taken"
        revision = await found.revision()
        await found.keep_look(site.id, ELSEWHERE, OWN)
        assert await found.revision() == revision, "no follower need know"
        clock.advance(119)
        assert await other.take_due_cutovers(9) == []
        clock.advance(1)
        assert len(await other.take_due_cutovers(9)) == 1
        # The host that took it dies; another one takes it.
        clock.advance(120)
        assert len(await found.take_due_cutovers(9)) == 1


@pytest_twisted.ensureDeferred
async def test_each_step_travels_by_revision_and_once(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, _):
        told: list[int] = []
        found.on_write(told.append)
        site, _ = await found.register(wanted("ducks"))
        assert await found.site_for_host("ducks.example") is None, "no ownership, no traffic"
        await found.saw_request(site.id)
        await found.saw_certificate(site.id)
        assert told == [1]
        for _ in range(2):
            await found.keep_look(site.id, OURS, OWN)
        assert await zones(found) == {"ducks.example": ("ducks", SiteState.DELEGATED)}
        served = await found.site_for_host("www.ducks.example")
        assert served is not None
        for _ in range(2):
            await found.saw_certificate(site.id)
        for _ in range(2):
            await found.saw_request(site.id)
        assert told == [1, 2, 3, 4]
        assert await zones(found) == {"ducks.example": ("ducks", SiteState.ACTIVE)}
        now = await found.cutover(site.id)
        assert now is not None
        assert (now.progress.delegated, now.progress.certified, now.progress.active) == (NOW,) * 3
        for _ in range(2):
            await found.keep_look(site.id, ELSEWHERE, OWN)
        assert await zones(found) == {"ducks.example": ("ducks", SiteState.MOVED)}
        assert await found.site_for_host("ducks.example") is not None, "old answers are about"
        await found.remove("ducks")
        for after in (
            found.saw_request(site.id),
            found.saw_certificate(site.id),
            found.keep_look(site.id, OURS, OWN),
        ):
            assert await after is None
        assert await found.cutover(site.id) is None


@pytest_twisted.ensureDeferred
async def test_a_registration_without_proof_does_not_stand_in_the_owners_way(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, _):
        squatter, _ = await found.register(wanted("squatter"))
        owner, _ = await found.register(wanted("owner"))
        third, _ = await found.register(wanted("third"))
        assert (squatter.contender, owner.contender, third.contender) == (False, True, True)
        assert owner.zone == owner.domain == "ducks.example"
        assert await found.site("OWNER") == owner
        assert await zones(found) == {"ducks.example": ("squatter", SiteState.REGISTERED)}
        # Neither of them gets it by the delegation: it does not tell whose it is.
        for site in (squatter, owner, third):
            await found.keep_look(site.id, OURS, OWN)
        assert await zones(found) == {"ducks.example": ("squatter", SiteState.REGISTERED)}
        before = await found.cutover(owner.id)
        assert before is not None
        assert (before.rivals, before.progress.finding) == (2, Finding.UNPROVEN)
        assert not before.taken
        # He shows that the zone is his while it is elsewhere, and then changes the name servers.
        await found.keep_look(owner.id, Look(ELSEWHERE.servers, proven=True), OWN)
        assert await zones(found) == {"ducks.example": ("owner", SiteState.REGISTERED)}
        await found.keep_look(owner.id, OURS, OWN)
        await found.keep_look(squatter.id, OURS, OWN)
        await found.keep_look(third.id, Look(OWN, proven=True), OWN)
        assert await zones(found) == {"ducks.example": ("owner", SiteState.DELEGATED)}
        served = await found.site_for_host("ducks.example")
        assert served is not None
        assert served.id == owner.id
        after = await found.cutover(third.id)
        assert after is not None
        assert after.taken
        with pytest.raises(Conflict):
            await found.register(wanted("late"))
        # Whoever leaves without having held the zone takes it from nobody.
        await found.remove("squatter")
        assert list((await found.changes_since(0)).removed) == []
        # And when the holder leaves, who is left gets it if he is the only one.
        await found.remove("owner")
        assert list((await found.changes_since(0)).removed) == ["ducks.example"]
        await found.keep_look(third.id, OURS, OWN)
        assert await zones(found) == {"ducks.example": ("third", SiteState.DELEGATED)}
        assert list((await found.changes_since(0)).removed) == []


@pytest_twisted.ensureDeferred
async def test_the_zone_of_a_site_that_moved_can_be_registered_again(url: str) -> None:
    async with opened(url, at(NOW)) as (found, _):
        old, _ = await found.register(wanted("old"))
        await found.keep_look(old.id, OURS, OWN)
        for _ in range(2):
            await found.keep_look(old.id, ELSEWHERE, OWN)
        new, _ = await found.register(wanted("new"))
        await found.keep_look(new.id, Look(ELSEWHERE.servers, proven=True), OWN)
        await found.keep_look(new.id, OURS, OWN)
        await found.keep_look(old.id, OURS, OWN)
        assert await zones(found) == {"ducks.example": ("new", SiteState.DELEGATED)}


@pytest_twisted.ensureDeferred
async def test_what_is_nobodys_takes_no_host_from_a_zone_that_is_somebodys(url: str) -> None:
    async with opened(url, at(NOW)) as (found, _):
        await found.register(wanted("squatter", "www.ducks.example.com"))
        await found.register(wanted("deeper", "a.www.ducks.example.com"))
        owner, _ = await found.register(wanted("owner", "ducks.example.com"))
        assert not owner.contender
        # One of them was somebody's once, and is carried for those who remember.
        squatter = await found.site("squatter")
        assert squatter is not None
        for look in (OURS, ELSEWHERE, ELSEWHERE):
            await found.keep_look(squatter.id, look, OWN)
        await found.keep_look(owner.id, OURS, OWN)
        served = await found.site_for_host("www.ducks.example.com")
        assert served is not None
        assert served.name == "owner"
        with pytest.raises(Conflict):
            await found.register(wanted("another", "www.ducks.example.com"))


@pytest_twisted.ensureDeferred
async def test_where_no_delegation_is_required_the_first_registrant_has_the_zone(url: str) -> None:
    async with opened(url, at(NOW), CutoverRules()) as (found, _):
        site, _ = await found.register(wanted("ducks"))
        assert await found.site_for_host("ducks.example") == site
        with pytest.raises(Conflict):
            await found.register(wanted("late"))
        await found.saw_request(site.id)
        assert await zones(found) == {"ducks.example": ("ducks", SiteState.ACTIVE)}


@pytest_twisted.ensureDeferred
async def test_an_owner_may_have_it_looked_at_once_in_a_while(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, _):
        site, _ = await found.register(wanted("ducks"))
        assert await found.look_soon("Ducks")
        assert len(await found.take_due_cutovers(9)) == 1
        await found.keep_look(site.id, ELSEWHERE, OWN)
        assert not await found.look_soon("ducks")
        clock.advance(10)
        assert await found.look_soon("ducks")
        assert not await found.look_soon("nobody")


@pytest_twisted.ensureDeferred
async def test_the_same_click_wishes_for_a_certificate_that_failed(
    url: str, tmp_path: Path
) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, _):
        vault = Vault(found, Sealer(tmp_path / "key"), now=clock.seconds)
        site, _ = await found.register(wanted("ducks"))
        assert await found.look_soon("ducks")
        assert await vault.wishes() == []
        failure = CertificateFailure(Trouble.CAA, "no")
        rule = partial(after_failure, failure=failure, now=NOW, retry=NOW + 600, soonest=NOW + 20)
        await found.keep_certificate_progress({site.id: rule})
        for _ in range(2):  # the second time changes nothing
            assert await found.look_soon("ducks")
            assert await vault.wishes() == [Wish("ducks.example")]
        after = await found.cutover(site.id)
        assert after is not None
        assert after.progress.certificate.retry == NOW + 20
        await vault.fulfilled(Wish("ducks.example"))
        assert await vault.wishes() == []
        clock.advance(15)
        assert await found.look_soon("ducks")
        assert await vault.wishes() == []


@pytest_twisted.ensureDeferred
async def test_what_nobody_delegates_is_forgotten_when_it_is_time(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, _):
        site, _ = await found.register(wanted("ducks"))
        await found.keep_look(site.id, ELSEWHERE, OWN)
        clock.advance(30 * 86_400)
        assert not await found.forget(site.id), "he was not told"
        await found.keep_warned(site.id)
        clock.advance(7 * 86_400)
        told: list[int] = []
        found.on_write(told.append)
        assert await found.forget(site.id)
        assert not await found.forget(site.id)
        assert list((await found.changes_since(0)).removed) == ["ducks.example"]
        assert told == [await found.revision()]


@pytest_twisted.ensureDeferred
async def test_sites_of_earlier_versions_go_on_and_are_looked_at(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (found, store):
        for name in ("a", "b", "c"):
            await found.register(wanted(name, f"{name}.example"))

        def as_before(connection: Connection) -> None:
            connection.execute(delete(cutovers))
            connection.execute(update(sites).values(state=SiteState.REGISTERED.value))
            connection.execute(text("DROP TABLE cutovers"))
            connection.execute(text("UPDATE alembic_version SET version_num = '0005'"))

        await store.write(as_before)
        before = await found.head()
        await store.write(migrate)
        assert (await found.head()).lineage != before.lineage, "followers read all sites again"
        assert {state for _, state in (await zones(found)).values()} == {SiteState.DELEGATED}
        assert await found.take_due_cutovers(9) == []
        assert await found.adopt_cutovers(2)
        assert not await found.adopt_cutovers(2)
        clock.advance(60)
        assert len(await found.take_due_cutovers(9)) == 3


@pytest_twisted.ensureDeferred
async def test_only_a_ds_of_our_own_keys_lets_a_site_become_active(url: str) -> None:
    async with opened(url, at(NOW)) as (found, _):
        await found.register(wanted("ducks"))
        site = await found.update("ducks", SiteChanges(dnssec=True))
        (own,) = site.signing.own_ds(apex_name(site.zone))
        await found.keep_look(site.id, replace(OURS, ds=(f"1 13 2 {'ab' * 32}",)), OWN)
        await found.saw_request(site.id)
        assert await zones(found) == {"ducks.example": ("ducks", SiteState.DELEGATED)}
        await found.keep_look(site.id, replace(OURS, ds=(own,)), OWN)
        assert await zones(found) == {"ducks.example": ("ducks", SiteState.ACTIVE)}
