"""The registry's contract, over SQLite and MariaDB."""

from __future__ import annotations

import sqlite3
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.names import dns

from tests.contracts.stores_under_test import open_registry
from tests.servers.mariadb import MariaDB
from watchducks.model.changes import Changes
from watchducks.model.cutover import DRILL_SECONDS
from watchducks.model.names import name_key
from watchducks.model.origins import parse_origin
from watchducks.model.problems import InvalidFields
from watchducks.model.seals import SealError
from watchducks.model.signing import UNSIGNED, Phase
from watchducks.model.sites import DEFAULT_CHOICES, Registration, Site, SiteChoices, SiteState
from watchducks.model.zones import DEFAULT_CONTENTS, Record, ZoneContents
from watchducks.registry.keys import KeyStep, ZoneKeys
from watchducks.registry.registration import SiteChanges
from watchducks.registry.registry import Conflict, Registry, RevisionChanged, SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable

REACTOR: Any = reactor


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


def wanted(name: str, domain: str | None = None, **fields: str) -> Registration:
    return Registration(
        name=name,
        domain=domain or f"{name.lower()}.example",
        origin=parse_origin(fields.get("origin", "203.0.113.7")),
        email=fields.get("email", "owner@mail.example"),
        cohort=fields.get("cohort", "default"),
    )


async def all_changes(registry: Registry, revision: int, limit: int) -> list[Changes]:
    pages = [await registry.changes_since(revision, limit)]
    while pages[-1].more:
        pages.append(await registry.changes_since(pages[-1].revision, limit))
    return pages


@pytest_twisted.ensureDeferred
async def test_a_registered_site_is_found_by_name_and_by_host(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        before = REACTOR.seconds()
        site, token = await registry.register(
            wanted("Ducks", "www.ducks.example", origin="https://[2001:db8::7]:8443", cohort="4기")
        )
        assert site == Site(
            id=site.id,
            name="Ducks",
            domain="www.ducks.example",
            zone="ducks.example",
            origin=parse_origin("https://[2001:db8::7]:8443"),
            email="owner@mail.example",
            cohort="4기",
            state=SiteState.REGISTERED,
            revision=1,
            created=site.created,
        )
        assert site.id > 0
        assert int(before) <= site.created <= before + 60
        assert len(token) > 40
        assert await registry.site("dUCKS") == site
        for host in ("ducks.example", "www.ducks.example"):
            assert await registry.site_for_host(host) == site
        for host in (
            "example",
            "shop.ducks.example",
            "www.www.ducks.example",
            "",
            "\ud800",
            "x" * 999,
        ):
            assert await registry.site_for_host(host) is None
        assert await registry.site("geese") is None
        assert await registry.site("\ud800\0") is None


@pytest_twisted.ensureDeferred
async def test_names_and_domains_are_registered_once(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        await registry.register(wanted("Ducks", "ducks.example"))
        for name, domain, fields in (
            ("DUCKS", "other.example", {"name"}),
            ("\uff44ucks", "other.example", {"name"}),  # a fullwidth d
            ("geese", "www.ducks.example", {"domain"}),
            ("ducks", "ducks.example", {"name", "domain"}),
        ):
            with pytest.raises(Conflict) as caught:
                await registry.register(wanted(name, domain))
            assert set(caught.value.problems) == fields
        # A name below somebody's domain is a zone of its own; its www is not yet another one.
        await registry.register(wanted("shop", "shop.ducks.example"))
        with pytest.raises(Conflict):
            await registry.register(wanted("shop2", "www.shop.ducks.example"))
        assert await registry.revision() == 2
        assert await registry.count() == 2


@pytest_twisted.ensureDeferred
async def test_accents_and_scripts_are_told_apart(url: str) -> None:
    # What a careless collation would call equal.
    async with open_registry(url, reactor) as registry:
        for place, name in enumerate(("resume", "résumé", "오리", "おり", "duck", "ducк")):
            await registry.register(wanted(name, f"site{place}.example"))
        assert await registry.count() == 6
        found = await registry.site("RÉSUMÉ")
        assert found is not None
        assert found.name == "résumé"


@pytest_twisted.ensureDeferred
async def test_an_owner_changes_his_site(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        changed = await registry.update(
            "DUCKS", SiteChanges(parse_origin("198.51.100.9"), "new@mail.example", "geese")
        )
        assert changed.id == site.id
        assert str(changed.origin) == "198.51.100.9"
        assert (changed.email, changed.cohort) == ("new@mail.example", "geese")
        assert changed.revision == 2
        assert await registry.site("ducks") == changed
        # What changes nothing is no change.
        assert await registry.update("ducks", SiteChanges(email="new@mail.example")) == changed
        assert await registry.revision() == 2
        with pytest.raises(SiteNotFound):
            await registry.update("geese", SiteChanges())


@pytest_twisted.ensureDeferred
async def test_an_origin_may_be_a_name_but_none_of_the_site_itself(url: str) -> None:
    label = "d" * 63
    longest = f"https://{label}.{label}.{label}.{'d' * 53}.example:65535"
    async with open_registry(url, reactor) as registry:
        await registry.register(wanted("ducks"))
        changed = await registry.update("ducks", SiteChanges(parse_origin(longest)))
        assert str(changed.origin) == longest
        assert await registry.site("ducks") == changed
        for host in changed.hosts:
            with pytest.raises(InvalidFields) as caught:
                await registry.update("ducks", SiteChanges(parse_origin(host)))
            assert caught.value.problems["origin"].code == "own-host"
        assert await registry.site("ducks") == changed


@pytest_twisted.ensureDeferred
async def test_choices_are_kept_and_told(url: str) -> None:
    pin = "0123456789abcdef" * 4
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        assert site.choices is DEFAULT_CHOICES
        asked = SiteChanges(
            origin_tls="pinned",
            origin_pin=pin,
            redirect_to_https=True,
            hsts_seconds=63_072_000,
            keep_networks=True,
            query_parameters="page q",
            honour_gpc=True,
            ranked=False,
        )
        changed = await registry.update("ducks", asked)
        all_chosen = SiteChoices("pinned", pin, True, 63_072_000, True, "page q", True, False)
        assert changed.choices == all_chosen
        assert (await registry.changes_since(1)).sites == (changed,)
        assert await registry.site_for_host("www.ducks.example") == changed
        # The same again is no change; one alone leaves the others.
        assert (await registry.update("ducks", asked)).revision == changed.revision
        changed = await registry.update("ducks", SiteChanges(redirect_to_https=False))
        assert changed.choices == replace(all_chosen, redirect_to_https=False)
        assert changed.revision == 3
        with pytest.raises(InvalidFields, match="pin"):
            await registry.update("ducks", SiteChanges(origin_pin="", hsts_seconds=0))
        assert await registry.site("ducks") == changed
        assert await registry.revision() == 3


@pytest_twisted.ensureDeferred
async def test_contents_are_kept_and_told(url: str) -> None:
    # More than a BLOB of MySQL holds, with octets that no text has.
    many = tuple(Record(b"\x04n%03d" % n, dns.TXT, 300, b"\xff" + bytes(255)) for n in range(500))
    contents = ZoneContents(("@", "www", "shop"), many)
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        assert site.contents is DEFAULT_CONTENTS
        changed = await registry.keep_contents("DUCKS", contents)
        assert changed.contents == contents
        assert changed.revision == 2
        assert await registry.site("ducks") == changed
        assert (await registry.changes_since(1)).sites == (changed,)
        # The same again is no change; changing something else leaves them.
        assert (await registry.keep_contents("ducks", contents)).revision == 2
        changed = await registry.update("ducks", SiteChanges(redirect_to_https=True))
        assert changed.contents == contents
        with pytest.raises(RevisionChanged):
            await registry.keep_contents("ducks", DEFAULT_CONTENTS, 2)
        assert await registry.site("ducks") == changed
        changed = await registry.keep_contents("ducks", ZoneContents(), 3)
        assert changed.contents == DEFAULT_CONTENTS
        assert await registry.site("ducks") == changed
        with pytest.raises(SiteNotFound):
            await registry.keep_contents("geese", contents)
        assert await registry.revision() == 4


@pytest_twisted.ensureDeferred
async def test_a_drill_begins_ends_and_is_told(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        begun = await registry.update("ducks", SiteChanges(drill=True))
        left = begun.drill_until - time.time()
        assert DRILL_SECONDS - 30 < left <= DRILL_SECONDS
        assert (await registry.changes_since(1)).sites == (begun,)
        ended = await registry.update("ducks", SiteChanges(drill=False))
        assert ended == replace(site, revision=3)
        (entry, *_) = await registry.trail(site.id)
        assert "drill_until" in entry.details


@pytest_twisted.ensureDeferred
async def test_a_zones_keys_are_kept_and_told(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        assert site.signing is UNSIGNED
        signed = await registry.update("DUCKS", SiteChanges(dnssec=True))
        assert signed.signing.phase is Phase.BEGINNING
        assert signed.revision == 2
        assert (await registry.changes_since(1)).sites == (signed,)
        # The same again is no change; changing something else leaves the keys.
        assert await registry.update("ducks", SiteChanges(dnssec=True)) == signed
        changed = await registry.update("ducks", SiteChanges(redirect_to_https=True))
        assert changed.signing == signed.signing
        for step in KeyStep:
            with pytest.raises(InvalidFields, match="phase"):
                await registry.step_keys("ducks", step)
        going = await registry.update("ducks", SiteChanges(dnssec=False))
        assert (going.signing.phase, going.signing.keys) == (Phase.WITHDRAWING, signed.signing.keys)
        ending = await registry.step_keys("Ducks", KeyStep.CONFIRM)
        assert ending.signing.phase is Phase.ENDING
        assert ending.revision == 5
        assert await registry.site("ducks") == ending
        assert (await registry.changes_since(4)).sites == (ending,)
        for name in ("geese", "\ud800"):
            with pytest.raises(SiteNotFound):
                await registry.step_keys(name, KeyStep.ROLL)
        assert await registry.revision() == 5


@pytest_twisted.ensureDeferred
async def test_a_key_that_cannot_be_sealed_changes_nothing(tmp_path: Path) -> None:
    def refuse(secret: bytes, context: bytes) -> bytes:
        raise SealError("security.key_file: no room")

    keys = ZoneKeys(refuse, ttl=30, now=REACTOR.seconds)
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    async with open_registry(url, reactor, keys) as registry:
        site, _ = await registry.register(wanted("ducks"))
        with pytest.raises(StoreUnavailable, match="no room"):
            await registry.update("ducks", SiteChanges(dnssec=True))
        assert await registry.site("ducks") == site
        assert await registry.revision() == 1


@pytest_twisted.ensureDeferred
async def test_each_proxied_host_leads_to_its_site(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        await registry.register(wanted("ducks"))
        shop, _ = await registry.register(wanted("shop", "shop.ducks.example"))
        ducks = await registry.keep_contents("ducks", ZoneContents(("@", "blog", "a.b")))
        for host, site in (
            ("ducks.example", ducks),
            ("blog.ducks.example", ducks),
            ("a.b.ducks.example", ducks),
            ("www.ducks.example", None),
            ("b.ducks.example", None),
            ("www.blog.ducks.example", None),
            ("shop.ducks.example", shop),
            ("www.shop.ducks.example", shop),
            ("x.shop.ducks.example", None),
            ("a." * 200 + "ducks.example", None),
        ):
            assert await registry.site_for_host(host) == site
        # What is below another site's zone is not ours to lead anywhere.
        for host in ("shop", "x.shop"):
            with pytest.raises(Conflict) as caught:
                await registry.keep_contents("ducks", ZoneContents(("@", host)))
            assert set(caught.value.problems) == {"proxied"}
        mail = Record(b"\x02mx\x04mail", dns.A, 300, bytes(4))
        await registry.keep_contents("ducks", ZoneContents(("@", "xshop", "a.b"), (mail,)))
        # And what is led or answered already cannot become a zone of somebody else's.
        for domain in ("xshop", "a.b", "b", "mail", "mx.mail"):
            with pytest.raises(Conflict):
                await registry.register(wanted("other", f"{domain}.ducks.example"))
        await registry.register(wanted("other", "ail.ducks.example"))


@pytest_twisted.ensureDeferred
async def test_a_zone_and_choices_may_come_with_the_registration(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        asked = replace(
            wanted("app", "app.shop.ducks.example"),
            zone="shop.ducks.example",
            choices=SiteChoices("off", redirect_to_https=True),
        )
        site, _ = await registry.register(asked)
        assert (site.zone, site.choices) == ("shop.ducks.example", asked.choices)
        for host in ("app.shop.ducks.example", "shop.ducks.example"):
            assert await registry.site_for_host(host) == site
        assert await registry.site_for_host("app.ducks.example") is None
        # Its own domain must not be within somebody else's zone.
        with pytest.raises(Conflict):
            await registry.register(
                replace(wanted("other", "x.shop.ducks.example"), zone="ducks.example")
            )
        assert await registry.site("other") is None


@pytest_twisted.ensureDeferred
async def test_a_removed_site_is_gone_and_its_id_is_not_used_again(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        first, token = await registry.register(wanted("ducks"))
        await registry.remove("Ducks")
        assert await registry.site("ducks") is None
        assert await registry.site_for_host("ducks.example") is None
        assert not await registry.authorise("ducks", token)
        with pytest.raises(SiteNotFound):
            await registry.remove("ducks")
        again, new_token = await registry.register(wanted("ducks"))
        assert again.id > first.id
        assert await registry.authorise("ducks", new_token)
        assert not await registry.authorise("ducks", token)


@pytest_twisted.ensureDeferred
async def test_an_address_is_kept_only_as_long_as_it_is_needed(url: str) -> None:
    from sqlalchemy import select

    from tests.contracts.stores_under_test import open_store
    from watchducks.registry.schema import owners

    async with open_registry(url, reactor) as registry, open_store(url, reactor) as store:

        async def addresses() -> set[str]:
            return await store.read(lambda c: set(c.execute(select(owners.c.email)).scalars()))

        await registry.register(wanted("one", email="a@mail.example"))
        await registry.register(wanted("two", email="a@mail.example"))
        await registry.register(wanted("three", email="b@mail.example"))
        await registry.remove("one")
        assert await addresses() == {"a@mail.example", "b@mail.example"}
        await registry.remove("two")
        assert await addresses() == {"b@mail.example"}
        await registry.update("three", SiteChanges(email="c@mail.example"))
        assert await addresses() == {"c@mail.example"}


@pytest_twisted.ensureDeferred
async def test_lists_are_paged_by_name_and_filtered_by_cohort(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        names = ["b", "A", "é", "C", "오리", "a2", "_z"]
        for place, name in enumerate(names):
            await registry.register(
                wanted(name, f"site{place}.example", cohort="even" if place % 2 == 0 else "odd")
            )
        ordered = sorted(names, key=name_key)
        assert [site.name for site in await registry.sites()] == ordered
        listed: list[str] = []
        while page := await registry.sites(after=listed[-1] if listed else None, limit=2):
            assert len(page) <= 2
            listed += [site.name for site in page]
        assert listed == ordered
        assert {site.name for site in await registry.sites(cohort="even")} == set(names[::2])
        assert await registry.sites(cohort="EVEN") == []
        assert await registry.sites(cohort="\ud800") == []
        assert len(await registry.sites(limit=-1)) == 1
        assert await registry.count("odd") == 3
        assert await registry.count() == 7
        assert await registry.cohorts() == [("even", 4), ("odd", 3)]


@pytest_twisted.ensureDeferred
async def test_a_token_is_good_for_its_site_and_an_admins_for_all(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        _, ducks = await registry.register(wanted("ducks"))
        _, geese = await registry.register(wanted("geese"))
        admin = await registry.create_admin_token()
        assert len({ducks, geese, admin}) == 3
        assert await registry.authorise("Ducks", ducks)
        assert await registry.authorise("geese", geese)
        assert not await registry.authorise("ducks", geese)
        assert not await registry.authorise("swans", geese)
        assert await registry.authorise("ducks", admin)
        assert await registry.authorise("geese", admin)
        for wrong in ("", ducks[:-1], ducks + "x", ducks.swapcase(), "\ud800", "' OR 1=1 --"):
            assert not await registry.authorise("ducks", wrong)


@pytest_twisted.ensureDeferred
async def test_tokens_are_not_in_the_database(url: str) -> None:
    from sqlalchemy import select

    from tests.contracts.stores_under_test import open_store
    from watchducks.registry.schema import tokens

    async with open_registry(url, reactor) as registry, open_store(url, reactor) as store:
        _, token = await registry.register(wanted("ducks"))
        rows = await store.read(lambda c: [tuple(row) for row in c.execute(select(tokens))])
        assert len(rows) == 1
        assert token not in repr(rows)


@pytest_twisted.ensureDeferred
async def test_changes_come_in_order_whatever_the_size_of_the_pages(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        for name in ("a", "b", "c", "d"):
            await registry.register(wanted(name))  # 1 to 4
        await registry.remove("b")  # 5
        await registry.update("a", SiteChanges(cohort="new"))  # 6
        await registry.remove("c")  # 7
        await registry.register(wanted("again", "b.example"))  # 8
        for limit in (1, 2, 3, 100):
            for since in range(9):
                known: dict[str, str] = {}
                pages = await all_changes(registry, since, limit)
                for page in pages:
                    assert len(page.sites) + len(page.removed) <= limit
                    assert not {site.zone for site in page.sites} & set(page.removed)
                    for zone in page.removed:
                        known[zone] = "removed"
                    for site in page.sites:
                        known[site.zone] = site.name
                assert pages[-1].revision == 8
                expected = {
                    "d.example": ("d", 4),
                    "a.example": ("a", 6),
                    "c.example": ("removed", 7),
                    "b.example": ("again", 8),
                }
                assert known == {
                    zone: name for zone, (name, revision) in expected.items() if revision > since
                }
        assert await registry.changes_since(8) == Changes(8, (), (), more=False)


@pytest_twisted.ensureDeferred
async def test_a_write_is_told_to_the_listeners(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        told: list[int] = []
        registry.on_write(told.append)
        await registry.register(wanted("a"))
        await registry.update("a", SiteChanges(cohort="x"))
        await registry.update("a", SiteChanges(cohort="x"))
        with pytest.raises(Conflict):
            await registry.register(wanted("a"))
        await registry.remove("a")
        assert told == [1, 2, 3]


@pytest_twisted.ensureDeferred
async def test_a_conflict_leaves_nothing_behind(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        await registry.register(wanted("a"))
        with pytest.raises(Conflict):
            await registry.register(wanted("a", "b.example", email="late@mail.example"))
        assert await registry.changes_since(0) == await registry.changes_since(0, 10)
        assert await registry.revision() == 1
        await registry.register(wanted("b", "b.example"))
        assert await registry.revision() == 2


@pytest_twisted.ensureDeferred
async def test_writers_on_several_hosts_get_revisions_of_their_own(url: str) -> None:
    async with AsyncExitStack() as stack:
        # They also start at once, on an empty database.
        opening = [
            Deferred.fromCoroutine(stack.enter_async_context(open_registry(url, reactor)))
            for _ in range(3)
        ]
        hosts: list[Registry] = await gatherResults(opening, consumeErrors=True)

        async def attempt(host: Registry, name: str, domain: str) -> int | None:
            try:
                site, _ = await host.register(wanted(name, domain))
            except Conflict:
                return None
            return site.revision

        def write(place: int) -> Deferred[int | None]:
            # Each name is wanted by all three; each of them for a domain of its own.
            host, number = place % 3, place // 3
            coroutine = attempt(hosts[host], f"site{number}", f"s{number}h{host}.example")
            return Deferred.fromCoroutine(coroutine)

        results: list[Any] = await gatherResults(
            [write(place) for place in range(24)], consumeErrors=True
        )
        revisions = [revision for revision in results if revision is not None]
        assert sorted(revisions) == list(range(1, 9))
        assert await hosts[0].revision() == 8
        assert await hosts[1].count() == 8


@pytest_twisted.ensureDeferred
async def test_concurrent_changes_of_one_site_are_all_kept(url: str) -> None:
    async with open_registry(url, reactor) as one, open_registry(url, reactor) as two:
        await one.register(wanted("a"))
        changes: list[tuple[Registry, SiteChanges]] = [
            (one, SiteChanges(cohort="new")),
            (two, SiteChanges(email="new@mail.example")),
            (one, SiteChanges(origin=parse_origin("198.51.100.1"))),
        ]
        await gatherResults(
            [Deferred.fromCoroutine(host.update("a", change)) for host, change in changes],
            consumeErrors=True,
        )
        site = await one.site("a")
        assert site is not None
        assert (site.cohort, site.email, str(site.origin), site.revision) == (
            "new",
            "new@mail.example",
            "198.51.100.1",
            4,
        )


@pytest_twisted.ensureDeferred
async def test_what_was_written_is_there_after_a_restart(url: str) -> None:
    async with open_registry(url, reactor) as registry:
        site, token = await registry.register(wanted("ducks"))
        head = await registry.head()
    async with open_registry(url, reactor) as registry:
        assert await registry.site("ducks") == site
        assert await registry.authorise("ducks", token)
        assert await registry.head() == head


@pytest_twisted.ensureDeferred
async def test_two_registries_have_different_lineages(tmp_path: Path) -> None:
    async with (
        open_registry(f"sqlite:///{tmp_path}/one.sqlite", reactor) as one,
        open_registry(f"sqlite:///{tmp_path}/two.sqlite", reactor) as two,
    ):
        first, second = await one.head(), await two.head()
        assert first.lineage != second.lineage
        assert first.revision == second.revision == 0


# --- outages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", ["stopped", "frozen"])
@pytest_twisted.ensureDeferred
async def test_an_outage_is_told_and_survived(mariadb: MariaDB, outage: str) -> None:
    async with open_registry(mariadb.fresh_database(), reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        take_away, bring_back = (
            (mariadb.stop, mariadb.start)
            if outage == "stopped"
            else (mariadb.pause, mariadb.resume)
        )
        take_away()
        with pytest.raises(StoreUnavailable, match=r"test_\d+ on 127\.0\.0\.1:\d+") as caught:
            await registry.site("ducks")
        with pytest.raises(StoreUnavailable):
            await registry.register(wanted("geese"))
        bring_back()
        assert "quack" not in str(caught.value)
        assert "\n" not in str(caught.value)
        # The very next call finds its way, past connections that are dead.
        assert await registry.site("ducks") == site
        assert await registry.count() == 1


@pytest_twisted.ensureDeferred
async def test_a_restart_of_the_server_between_two_calls_is_not_noticed(mariadb: MariaDB) -> None:
    async with open_registry(mariadb.fresh_database(), reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        mariadb.stop()
        mariadb.start()
        assert await registry.site("ducks") == site


@pytest_twisted.ensureDeferred
async def test_a_locked_sqlite_can_be_read_and_is_told_to_writers(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    async with open_registry(f"sqlite:///{file}", reactor) as registry:
        site, _ = await registry.register(wanted("ducks"))
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"registry\.sqlite: database is locked"):
            await registry.register(wanted("geese"))
        assert await registry.site("ducks") == site
        other.execute("ROLLBACK")
        other.close()
        await registry.register(wanted("geese"))
        assert await registry.count() == 2


@pytest_twisted.ensureDeferred
async def test_a_registry_that_is_away_at_the_start_is_migrated_when_it_is_there(
    mariadb: MariaDB,
) -> None:
    url = mariadb.fresh_database()
    mariadb.stop()
    async with open_registry(url, reactor) as registry:
        with pytest.raises(StoreUnavailable, match=r"test_\d+ on 127\.0\.0\.1:\d+") as caught:
            await registry.revision()
        assert "quack" not in str(caught.value)
        mariadb.start()
        await registry.register(wanted("ducks"))
        assert await registry.count() == 1


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_told_without_it(mariadb: MariaDB) -> None:
    url = mariadb.fresh_database().replace("quack", "honk-honk")
    async with open_registry(url, reactor) as registry:
        with pytest.raises(StoreUnavailable, match="Access denied") as caught:
            await registry.revision()
        assert "honk" not in str(caught.value)
