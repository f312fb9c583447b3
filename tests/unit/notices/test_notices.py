"""What owners are told of what was measured: when, once, and in letters that can be written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from tests.unit.mail.letters import SENDER
from tests.unit.registry.examples import example_site
from watchducks.analytics.periods import DAY, HOUR, Period
from watchducks.analytics.results import (
    Failover,
    PathTraffic,
    SiteTotals,
    Status,
    StatusPoint,
    Traffic,
    TrafficPoint,
)
from watchducks.mail.composing import Composer
from watchducks.model.accounts import EVERYBODY, Viewer
from watchducks.model.letters import Letter, LetterKind, PostedLetter
from watchducks.model.sites import Site, SiteState
from watchducks.notices import rules
from watchducks.notices.crier import PAGE_SITES, SETTLED_SECONDS, Crier
from watchducks.notices.rules import Hour, alerts, failover_letters, last_hour, last_week
from watchducks.stores.interfaces import StoreUnavailable

NOW = 1_800_000_000  # a Friday, 08:00 UTC
SITE = replace(example_site("ducks.example"), state=SiteState.ACTIVE)
USUAL = (300, 310, 290, 0, 305, 295, 300)


def totals(requests: int, success: float | None = 1.0) -> SiteTotals:
    return replace(
        SiteTotals.nothing(), requests=requests, visitors=requests // 10, success_rate=success
    )


def kinds(hour: Hour, *, observed: bool = True) -> list[LetterKind]:
    return [letter.kind for letter in alerts(SITE, hour, observed=observed)]


@pytest.mark.parametrize(
    ("requests", "before", "told"),
    [
        (300, USUAL, []),
        (1499, USUAL, []),
        (1500, USUAL, [LetterKind.SPIKE]),
        (900, (10,) * 7, []),  # five times as much, but not much
        (31, USUAL, []),
        (30, USUAL, [LetterKind.DROP]),
        (0, (100,) * 7, []),
        (100_000, (300, 300, 0, 0, 0, 0, 0), []),  # nobody knows what is usual
    ],
)
def test_spikes_and_drops(requests: int, before: tuple[int, ...], told: list[LetterKind]) -> None:
    assert kinds(Hour(NOW, requests, before)) == told


def test_what_was_not_observed_is_no_drop() -> None:
    assert kinds(Hour(NOW, 0, USUAL), observed=False) == []


def test_errors_are_told_from_a_fifth_of_enough_answers() -> None:
    assert kinds(Hour(NOW, 99, (), 99)) == []
    assert kinds(Hour(NOW, 100, (), 19)) == []
    assert kinds(Hour(NOW, 100, (), 20)) == [LetterKind.ERRORS]
    assert rules.worth_errors(totals(100, 0.8))
    assert not rules.worth_errors(totals(100, 0.81))
    assert not rules.worth_errors(totals(99, 0.0))


def test_hours_and_weeks_are_those_that_have_ended() -> None:
    assert (last_hour(NOW).start, last_hour(NOW).end) == (NOW - HOUR, NOW)
    monday = NOW - 8 * HOUR - 4 * DAY
    week = last_week(NOW)
    assert (week.start, week.end) == (monday - 7 * DAY, monday)
    assert last_week(monday - 1).end == monday - 7 * DAY
    assert len(week.times) == 7


def told(failover: Failover, now: int) -> list[tuple[LetterKind, str]]:
    found = failover_letters([failover], {"a@b.example": [SITE]}, now)
    return [(letter.kind, letter.topic) for letter in found]


def test_a_failover_is_told_when_it_lasts_and_when_it_is_over() -> None:
    assert told(Failover(NOW, None), NOW + 59) == []
    (began,) = told(Failover(NOW, None), NOW + 60)
    assert began[0] is LetterKind.FAILOVER_BEGAN
    assert told(Failover(NOW, NOW + 59), NOW + 1000) == []
    again, ended = told(Failover(NOW, NOW + 90), NOW + 1000)
    assert again == began
    assert ended[0] is LetterKind.FAILOVER_ENDED
    assert told(Failover(NOW, NOW + 90), NOW + DAY) == []


# --- the part -------------------------------------------------------------------------------------


class World:
    """Sites, figures and a letter box."""

    def __init__(self) -> None:
        names = [f"site{number:03}" for number in range(PAGE_SITES + 2)]
        self.known = [replace(SITE, id=place + 1, name=name) for place, name in enumerate(names)]
        self.posted: dict[str, Letter] = {}
        self.outages: tuple[Failover, ...] = ()
        self.now = {self.known[-1].id: totals(2000, 0.5)}
        self.away = False
        self.asked: list[int] = []

    async def sites(
        self, cohort: str | None = None, after: str | None = None, limit: int = 100, *,
        viewer: Viewer,
    ) -> list[Site]:  # fmt: skip
        assert viewer == EVERYBODY
        return [site for site in self.known if after is None or site.name > after][:limit]

    async def post(self, letter: Letter) -> bool:
        if letter.topic in self.posted:
            return False
        self.posted[letter.topic] = letter
        return True

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        if self.away:
            raise StoreUnavailable("away")
        return self.outages

    async def traffic(self, site_id: int, period: Period) -> Traffic:
        points = tuple(TrafficPoint(time, 10, 0, 0, 0) for time in period.times)
        return Traffic(points, 70, 0, 0, 0, 70, 0.0)

    async def status(self, site_id: int, period: Period) -> Status:
        self.asked.append(site_id)
        points = (StatusPoint(period.start, 0, 1000, 0, 0, 1000, 0),)
        return Status(points, (), 2000, 0.5, None)

    async def paths(self, site_id: int, period: Period, limit: int = 10) -> tuple[PathTraffic, ...]:
        return (PathTraffic("/" + "x" * 300, 9, 0, 0, 1.0),)

    async def totals(self, site_ids: Sequence[int], period: Period) -> dict[int, SiteTotals]:
        return {key: value for key, value in self.now.items() if key in site_ids}

    async def requests_by_site(self, site_ids: Sequence[int], period: Period) -> dict[int, int]:
        return dict.fromkeys(site_ids, 300)


def started(world: World, now: float) -> tuple[Crier, Clock]:
    clock = Clock()
    clock.rightNow = now
    crier = Crier(world, world, world, clock=clock)
    crier._failovers.start()
    crier._hours.start()
    return crier, clock


def test_each_site_of_every_page_is_looked_at_and_told_once_a_day() -> None:
    world = World()
    _, clock = started(world, NOW + SETTLED_SECONDS)
    told = [(letter.kind, letter.facts["site"]) for letter in world.posted.values()]
    last = world.known[-1].name
    # All others have had no visitor in this hour, and have 300 as a rule.
    assert told.count((LetterKind.DROP, "site000")) == 1
    assert (LetterKind.ERRORS, last) in told
    assert (LetterKind.SPIKE, last) in told
    assert world.asked == [world.known[-1].id]
    clock.advance(HOUR)
    assert len(world.posted) == len(told)


def test_the_week_is_reported_on_monday_and_can_be_written() -> None:
    world = World()
    monday = last_week(NOW).end
    world.outages = (Failover(monday - 3 * DAY, monday - DAY),)
    started(world, monday + SETTLED_SECONDS)
    (report,) = [one for one in world.posted.values() if one.kind is LetterKind.REPORT]
    assert report.facts["charts"]["requests"] == [10, 10, 10, 10, None, None, 10]
    assert report.facts["success"] == 0.5
    stored = replace(report, facts=json.loads(json.dumps(dict(report.facts))))
    for language in ("", "ko"):
        posted = PostedLetter(1, replace(stored, language=language), NOW, NOW)
        assert len(Composer(SENDER).compose(posted).as_bytes()) > 5000


def test_every_letter_that_is_posted_can_be_written() -> None:
    world = World()
    world.outages = (Failover(NOW - 7200, NOW - 3600),)
    started(world, NOW + SETTLED_SECONDS)
    assert {one.kind for one in world.posted.values()} >= {
        LetterKind.FAILOVER_BEGAN,
        LetterKind.FAILOVER_ENDED,
        LetterKind.SPIKE,
    }
    for letter in world.posted.values():
        stored = replace(letter, facts=json.loads(json.dumps(dict(letter.facts))))
        assert Composer(SENDER).compose(PostedLetter(1, stored, NOW, NOW))


def test_a_week_that_is_long_over_is_told_nobody() -> None:
    world = World()
    started(world, NOW + SETTLED_SECONDS)
    assert all(one.kind is not LetterKind.REPORT for one in world.posted.values())


def test_what_an_outage_kept_from_being_looked_at_is_looked_at_after_it() -> None:
    world = World()
    world.away = True
    _, clock = started(world, NOW + SETTLED_SECONDS)
    assert world.posted == {}
    world.away = False
    clock.advance(900)
    assert world.posted
