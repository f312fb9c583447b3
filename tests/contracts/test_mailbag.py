"""Letters in the registry, over SQLite and MariaDB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from tests.contracts.stores_under_test import thread_pool, zone_keys
from tests.servers.mariadb import MariaDB
from watchducks.model.cutover import CutoverRules, Look
from watchducks.model.letters import (
    DAY_SECONDS,
    GIVE_UP_SECONDS,
    KEPT_SECONDS,
    LEASE_SECONDS,
    RECIPIENT_LETTERS_A_DAY,
    SITE_LETTERS_A_DAY,
    Letter,
    LetterKind,
    LetterState,
    PostedLetter,
)
from watchducks.model.origins import parse_origin
from watchducks.model.sites import Registration
from watchducks.model.subjects import ALL_SITES, Subject, Subscription
from watchducks.registry.mailbag import Mailbag
from watchducks.registry.registry import Conflict, Registry
from watchducks.stores.sql import SqlStore

NOW = 1_800_000_000
OWN = ("ns1.ducks.example", "ns2.ducks.example")
OWNER = "owner@mail.example"
SPIKE, SIGN_IN = LetterKind.SPIKE, LetterKind.SIGN_IN


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


@asynccontextmanager
async def opened(url: str, clock: Clock) -> AsyncIterator[tuple[Mailbag, Registry]]:
    """A mailbag as a process of its own would have it."""
    async with thread_pool(reactor) as pool:
        rules = CutoverRules(require_delegation=True)
        registry = Registry(SqlStore(url, pool), clock=clock, keys=zone_keys(), rules=rules)
        await registry.start()
        try:
            yield Mailbag(registry, clock=clock), registry
        finally:
            await registry.stop()


def at(seconds: int) -> Clock:
    clock = Clock()
    clock.rightNow = seconds
    return clock


def letter(kind: LetterKind = SPIKE, to: str = OWNER, **more: Any) -> Letter:
    return Letter(kind, to, **more)


def wanted(name: str, language: str = "") -> Registration:
    origin = parse_origin("203.0.113.7")
    return Registration(name, f"{name}.example", origin, OWNER, "default", language=language)


def named(found: list[PostedLetter]) -> list[tuple[str, Any]]:
    return [(one.letter.recipient, one.letter.facts.get("n")) for one in found]


@pytest_twisted.ensureDeferred
async def test_each_recipient_gets_his_letters_in_order_and_links_at_once(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, _):
        for number in (1, 2):
            assert await bag.post(letter(facts={"n": number}))
            assert await bag.post(letter(to="other@mail.example", facts={"n": number}))
        assert await bag.post(letter(SIGN_IN, facts={"n": "link"}))
        first = await bag.take_due(10)
        assert named(first) == [(OWNER, 1), ("other@mail.example", 1), (OWNER, "link")]
        assert await bag.take_due(10) == []
        # The first fails: his second waits, however late it is for it, and the other's does not.
        assert await bag.keep_failed(first[0], "451 later") is LetterState.WAITING
        await bag.keep_sent(first[1])
        assert named(await bag.take_due(10)) == [("other@mail.example", 2)]
        clock.advance(59)
        assert await bag.take_due(10) == []
        clock.advance(1)
        again = await bag.take_due(10)
        assert named(again) == [(OWNER, 1)]
        assert (again[0].attempts, again[0].reason) == (1, "451 later")
        await bag.keep_sent(again[0])
        assert named(await bag.take_due(10)) == [(OWNER, 2)]


@pytest_twisted.ensureDeferred
async def test_a_letter_is_one_hosts_until_its_lease_ends(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, _), opened(url, clock) as (other, _):
        for number in range(6):
            await bag.post(letter(to=f"{number}@mail.example"))
        both = [Deferred.fromCoroutine(one.take_due(4)) for one in (bag, other)]
        taken: list[list[PostedLetter]] = list(await gatherResults(both))
        numbers = [one.number for batch in taken for one in batch]
        assert len(numbers) == len(set(numbers)) == 6
        clock.advance(LEASE_SECONDS - 1)
        assert await other.take_due(10) == []
        clock.advance(1)
        assert len(await other.take_due(10)) == 6


@pytest_twisted.ensureDeferred
async def test_what_is_refused_or_fails_for_days_is_given_up_and_stays_visible(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, _):
        await bag.post(letter(facts={"n": 1}))
        await bag.post(letter(facts={"n": 2}))
        (refused,) = await bag.take_due(10)
        assert await bag.keep_failed(refused, "550 no", final=True) is LetterState.GIVEN_UP
        state = LetterState.WAITING
        tries = 0
        while state is LetterState.WAITING:
            found = await bag.take_due(10)
            if not found:
                clock.advance(3600)
                continue
            tries += 1
            assert tries < 100
            state = await bag.keep_failed(found[0], "451 later " * 100)
        assert clock.seconds() - NOW <= GIVE_UP_SECONDS + 3600
        assert tries > 20
        counts = await bag.counted()
        assert (counts[LetterState.GIVEN_UP], counts[LetterState.WAITING]) == (2, 0)
        latest = await bag.latest(LetterState.GIVEN_UP, 10)
        assert [one.letter.facts["n"] for one in latest] == [2, 1]
        assert latest[1].reason == "550 no"


@pytest_twisted.ensureDeferred
async def test_nobody_gets_more_than_his_daily_share(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, _):
        posted = [await bag.post(letter(site_id=5)) for _ in range(SITE_LETTERS_A_DAY + 2)]
        assert posted == [True] * SITE_LETTERS_A_DAY + [False] * 2
        assert await bag.post(letter(site_id=6))
        links = [await bag.post(letter(SIGN_IN)) for _ in range(RECIPIENT_LETTERS_A_DAY + 1)]
        assert links == [True] * RECIPIENT_LETTERS_A_DAY + [False]
        assert await bag.post(letter(SIGN_IN, "other@mail.example"))
        clock.advance(DAY_SECONDS)
        assert await bag.post(letter(site_id=5))
        assert await bag.post(letter(SIGN_IN))


@pytest_twisted.ensureDeferred
async def test_a_topic_is_told_once_and_what_is_old_is_forgotten(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, _):
        assert await bag.post(letter(topic="spike:5:today"))
        assert not await bag.post(letter(topic="spike:5:today"))
        (first,) = await bag.take_due(10)
        await bag.keep_sent(first)
        assert not await bag.post(letter(topic="spike:5:today"))
        assert (await bag.latest(LetterState.SENT, 1))[0].letter.facts == {}
        clock.advance(KEPT_SECONDS + 1)
        await bag.post(letter())
        (second,) = await bag.take_due(10)
        await bag.keep_sent(second)
        assert [one.number for one in await bag.latest(LetterState.SENT, 9)] == [second.number]


@pytest_twisted.ensureDeferred
async def test_a_registration_and_its_letter_are_one_write(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, registry):
        site, _ = await registry.register(wanted("ducks", "ko"))
        with pytest.raises(Conflict):
            await registry.register(wanted("ducks"))
        # Somebody else, who gives the same address, does not choose its language.
        await registry.register(wanted("geese", "en"))
        (first,) = await bag.take_due(10)
        assert first.letter.kind is LetterKind.REGISTRATION
        assert (first.letter.site_id, first.letter.language) == (site.id, "ko")
        assert first.letter.facts == {
            "site": "ducks", "domain": "ducks.example", "zone": "ducks.example"
        }  # fmt: skip
        await bag.keep_sent(first)
        await bag.post(letter())
        (second,) = await bag.take_due(10)
        await bag.keep_sent(second)
        (third,) = await bag.take_due(10)
        assert (third.letter.kind, third.letter.language) == (SPIKE, "ko")


@pytest_twisted.ensureDeferred
async def test_owners_are_told_of_delegation_loss_and_end(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, registry):
        site, _ = await registry.register(wanted("ducks"))
        ours, gone = Look(OWN), Look(("ns.other.example",))
        steps = ((ours, 60), (ours, 60), (gone, 600), (gone, 600), (gone, 600))
        for look, seconds in steps:
            clock.advance(seconds)
            await registry.keep_look(site.id, look, OWN)
        clock.advance(40 * DAY_SECONDS)
        await registry.keep_warned(site.id)
        clock.advance(8 * DAY_SECONDS)
        assert await registry.forget(site.id)
        kinds = []
        while found := await bag.take_due(10):
            kinds += [one.letter.kind for one in found]
            for one in found:
                await bag.keep_sent(one)
        assert kinds == [
            LetterKind.REGISTRATION,
            LetterKind.DELEGATED,
            LetterKind.MOVED,
            LetterKind.FORGOTTEN,
        ]


@pytest_twisted.ensureDeferred
async def test_what_is_not_wanted_is_not_posted_and_what_waits_is_not_sent(url: str) -> None:
    clock = at(NOW)
    async with opened(url, clock) as (bag, registry):
        site, _ = await registry.register(wanted("ducks"))
        other, _ = await registry.register(wanted("geese"))
        await bag.stop(Subscription(OWNER, site.id, Subject.SPIKE))
        assert not await bag.post(letter(site_id=site.id))
        assert await bag.post(letter(site_id=other.id))
        assert await bag.post(letter(LetterKind.DROP, site_id=site.id))
        assert await bag.post(letter(SIGN_IN))
        assert await bag.post(letter(to="other@mail.example", site_id=site.id))
        assert await bag.post(letter(LetterKind.FAILOVER_BEGAN))
        for _ in range(2):  # a mail program that asks twice
            await bag.stop(Subscription(OWNER, ALL_SITES, Subject.FAILOVER))
        await bag.choose(OWNER, site.id, [Subject.DROP, Subject.REPORT])
        kinds = []
        while found := await bag.take_due(10):
            kinds += [one.letter.kind for one in found if one.letter.recipient == OWNER]
            for one in found:
                await bag.keep_sent(one)
        assert sorted(kinds) == [LetterKind.REGISTRATION] * 2 + [SIGN_IN, SPIKE]
        given_up = await bag.latest(LetterState.GIVEN_UP, 9)
        assert [one.letter.kind for one in given_up] == [
            LetterKind.FAILOVER_BEGAN,
            LetterKind.DROP,
        ]
        assert await bag.post(letter(site_id=site.id))  # he wants these again
        assert await bag.unwanted(OWNER) == {
            (ALL_SITES, Subject.FAILOVER), (site.id, Subject.DROP), (site.id, Subject.REPORT)
        }  # fmt: skip
        # What leaves is forgotten with all that was chosen for it, and the owner with his last.
        await registry.remove("ducks")
        assert await bag.unwanted(OWNER) == {(ALL_SITES, Subject.FAILOVER)}
        await registry.remove("geese")
        assert await bag.unwanted(OWNER) == frozenset()
