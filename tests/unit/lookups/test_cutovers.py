"""Which sites are looked at, how many at a time, and what happens while the registry is away."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.registry.examples import example_site
from watchducks.lookups.cutovers import (
    ADOPT_SECONDS,
    AT_ONCE,
    INTERVAL_SECONDS,
    CutoverFollower,
)
from watchducks.model.cutover import CutoverRules, Finding, Look, Progress, SiteCutover
from watchducks.model.sites import Site, SiteState
from watchducks.stores.interfaces import StoreUnavailable

OWN = ("ns1.ducks.example",)


class FakeStore:
    """:ivar due: what is to be looked at. :ivar away: whether the registry is away."""

    def __init__(self, *due: SiteCutover) -> None:
        self.due = list(due)
        self.kept: list[tuple[int, Look]] = []
        self.found: dict[int, SiteCutover] = {}
        self.warned: list[int] = []
        self.forgotten: list[int] = []
        self.to_adopt = 0
        self.adoptions = 0
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    async def take_due_cutovers(self, limit: int) -> list[SiteCutover]:
        self._answer()
        taken, self.due = self.due[:limit], self.due[limit:]
        return taken

    async def keep_look(self, site_id: int, look: Look, own: Collection[str]) -> Site | None:
        self._answer()
        assert own == OWN
        self.kept.append((site_id, look))
        found = self.found.get(site_id)
        return None if found is None else found.site

    async def cutover(self, site_id: int) -> SiteCutover | None:
        return self.found[site_id]

    async def keep_warned(self, site_id: int) -> None:
        self.warned.append(site_id)

    async def forget(self, site_id: int) -> bool:
        self.forgotten.append(site_id)
        return True

    async def adopt_cutovers(self, limit: int) -> bool:
        self._answer()
        self.adoptions += 1
        self.to_adopt = max(0, self.to_adopt - limit)
        return self.to_adopt > 0


class FakeLooks:
    """:ivar looking: zone -> what the look waits for. :ivar asked: (zone, proof), in order."""

    def __init__(self) -> None:
        self.looking: dict[str, Deferred[None]] = {}
        self.asked: list[tuple[str, str | None]] = []

    async def look(self, zone: str, proof: str | None) -> Look:
        self.asked.append((zone, proof))
        self.looking[zone] = Deferred()
        try:
            await self.looking[zone]
        finally:
            del self.looking[zone]
        return Look((zone,))


def due(number: int, *, rivals: int = 0, proven: int = 0) -> SiteCutover:
    site = example_site(f"a{number}.example", revision=number)
    return SiteCutover(site, Progress(proven=proven), f"proof-{number}", rivals)


class Following:
    def __init__(self, *sites: SiteCutover) -> None:
        self.clock = Clock()
        self.store = FakeStore(*sites)
        self.looks = FakeLooks()
        self.mails: list[tuple[str, float]] = []
        self.no_mail = False
        self.told: list[Site] = []
        self.follower = CutoverFollower(
            self.store,
            self.looks,
            OWN,
            warn=self.warn,
            told=self.told.append,
            rules=CutoverRules(require_delegation=True),
            clock=self.clock,
        )

    async def warn(self, site: Site, forgotten: float) -> None:
        if self.no_mail:
            raise StoreUnavailable("the disk is full")
        self.mails.append((site.zone, forgotten))

    def begin(self) -> None:
        _ = Deferred.fromCoroutine(self.follower.start())

    def finish_all(self) -> None:
        while self.looks.looking:
            next(iter(self.looks.looking.values())).callback(None)


def test_sites_are_looked_at_a_few_at_a_time_until_none_is_due() -> None:
    following = Following(*map(due, range(1, 41)))
    following.begin()
    assert len(following.looks.looking) == AT_ONCE
    following.looks.looking["a1.example"].callback(None)
    assert len(following.looks.looking) == AT_ONCE
    following.finish_all()
    assert sorted(site_id for site_id, _ in following.store.kept) == list(range(1, 41))
    assert (3, Look(("a3.example",))) in following.store.kept
    following.store.due.append(due(99))
    following.clock.advance(INTERVAL_SECONDS)
    following.finish_all()
    assert following.store.kept[-1][0] == 99


def test_a_proof_is_asked_for_only_if_there_are_rivals_and_none_was_seen() -> None:
    following = Following(due(1), due(2, rivals=1), due(3, rivals=1, proven=5))
    following.begin()
    assert following.looks.asked == [
        ("a1.example", None),
        ("a2.example", "proof-2"),
        ("a3.example", None),
    ]


def test_while_the_registry_is_away_it_is_tried_again() -> None:
    following = Following(due(1))
    following.store.away = True
    following.begin()
    assert following.looks.asked == []
    following.store.away = False
    following.clock.advance(INTERVAL_SECONDS)
    following.store.away = True
    following.finish_all()
    assert following.store.kept == []
    following.store.away = False
    following.store.due.append(due(1))
    following.clock.advance(INTERVAL_SECONDS)
    following.finish_all()
    assert len(following.store.kept) == 1


def test_sites_of_earlier_versions_are_taken_in() -> None:
    following = Following()
    following.store.to_adopt = 1200
    following.begin()
    assert following.store.adoptions == 3
    following.clock.advance(ADOPT_SECONDS)
    assert following.store.adoptions == 4


def test_a_stop_breaks_off() -> None:
    following = Following(*map(due, range(1, 20)))
    following.begin()
    ended = Deferred.fromCoroutine(following.follower.stop())
    assert ended.called
    assert following.looks.looking == {}
    assert following.store.kept == []
    assert following.clock.getDelayedCalls() == []


def test_who_does_not_delegate_is_told_and_forgotten() -> None:
    new, old, warned = (due(number) for number in (1, 2, 3))
    following = Following(new, old, warned)
    day, created = 86_400, new.site.created
    following.clock.rightNow = created + 28 * day
    seen = Progress(finding=Finding.NOBODY)
    following.store.found = {
        1: replace(new, progress=replace(seen, moved=created + 9 * day)),
        2: replace(old, progress=seen),
        3: replace(warned, progress=replace(seen, warned=created + 21 * day)),
    }
    following.begin()
    following.finish_all()
    assert following.mails == [("a2.example", created + 35 * day)], "a week from now on"
    assert (following.store.warned, following.store.forgotten) == ([2], [3])


def test_nobody_is_forgotten_who_could_not_be_told() -> None:
    one = due(1)
    following = Following(one)
    following.clock.rightNow = one.site.created + 99 * 86_400
    following.store.found = {1: replace(one, progress=Progress(finding=Finding.NOBODY))}
    following.no_mail = True
    following.begin()
    following.finish_all()
    assert (following.store.warned, following.store.forgotten) == ([], [])


def test_another_state_is_told() -> None:
    following = Following(due(1), due(2))
    found = due(1)
    following.store.found = {
        1: replace(found, site=replace(found.site, state=SiteState.DELEGATED)),
        2: replace(due(2), progress=Progress()),
    }
    following.begin()
    following.finish_all()
    assert [(site.id, site.state) for site in following.told] == [(1, SiteState.DELEGATED)]
