"""Answers are computed once for all who wait, kept as long as they are fresh, and given stale."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from watchducks.analytics.kept import (
    AHEAD,
    EFFORT,
    KEPT_SECONDS,
    LIVE_SECONDS,
    PAST_SECONDS,
    PLACE_SECONDS,
    SLOW_SECONDS,
    UNCHANGED_SECONDS,
    KeptAnswers,
    Question,
    fresh_seconds,
)
from watchducks.analytics.packing import pack, to_bytes, unpack
from watchducks.analytics.periods import DAY, HOUR, Period
from watchducks.analytics.pulse import LOOK_SECONDS, Pulse
from watchducks.analytics.results import (
    DnsPoint,
    Overview,
    RankedSite,
    SiteSeries,
    SiteTotals,
    Visitors,
    VisitorsPoint,
)
from watchducks.stores.interfaces import StoreUnavailable, Value
from watchducks.stores.logs_fake import FakeLogStore
from watchducks.stores.memory import MemoryCache

QUESTION = Question("visitors", (1, "day"), None)
FRESH = 10.0


class _Store(FakeLogStore):
    """:ivar changes: whether something has come whenever one looks."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = True
        self.looks = 0

    async def query(
        self, sql: str, parameters: Mapping[str, Value | Sequence[Value]] | None = None
    ) -> list[tuple[Value, ...]]:
        assert "system.parts" in sql
        _ = await super().query(sql, parameters)
        self.looks += self.changes
        return [(self.looks,)]


class World:
    """A store whose answers come when the test wants them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache(self.clock)
        self.store = _Store()
        self.pulse = Pulse(self.store, clock=self.clock)
        self.answers = KeptAnswers(self.cache, "chdb:///one", self.pulse, clock=self.clock)
        self.asked: list[Deferred[int]] = []
        self.fresh = FRESH

    async def _compute(self) -> Visitors:
        waiting: Deferred[int] = Deferred()
        self.asked.append(waiting)
        count = await waiting
        return Visitors((VisitorsPoint(0, count),), count, 0, None)

    async def _fresh(self) -> float:
        return self.fresh

    def ask(self, question: Question = QUESTION) -> list[Any]:
        """Return what comes to hold the answer, or the exception."""
        got: list[Any] = []
        asked = Deferred.fromCoroutine(
            self.answers.get(question, Visitors, self._compute, self._fresh)
        )
        _ = asked.addCallbacks(
            lambda answer: got.append(answer.visitors), lambda failure: got.append(failure.value)
        )
        return got


@pytest.fixture
def world() -> World:
    return World()


def test_one_computation_for_all_who_wait(world: World) -> None:
    first, second = world.ask(), world.ask()
    assert len(world.asked) == 1
    world.asked[0].callback(5)
    assert (first, second) == ([5], [])
    world.clock.advance(0)  # each goes on in a turn of its own
    assert second == [5]
    assert world.ask() == [5]
    assert len(world.asked) == 1
    world.ask(Question("visitors", (2, "day"), None))
    assert len(world.asked) == 2


def test_one_question_after_the_other_unless_it_takes_long(world: World) -> None:
    got = [world.ask(Question("visitors", (number,), None)) for number in range(4)]
    assert len(world.asked) == 1
    world.asked[0].errback(StoreUnavailable("away"))
    assert len(world.asked) == 2
    world.asked[1].callback(1)
    assert (got[1], len(world.asked)) == ([1], 3)
    world.clock.advance(PLACE_SECONDS)
    assert len(world.asked) == 4
    world.asked[3].callback(3)
    world.asked[2].callback(2)
    assert got[2:] == [[2], [3]]
    assert world.clock.getDelayedCalls() == []


def test_who_leaves_takes_nothing_from_the_others(world: World) -> None:
    leaving = Deferred.fromCoroutine(
        world.answers.get(QUESTION, Visitors, world._compute, world._fresh)
    )
    _ = leaving.addErrback(lambda _: None)
    staying = world.ask()
    leaving.cancel()
    world.asked[0].callback(5)
    world.clock.advance(0)
    assert staying == [5]


def test_an_answer_is_refreshed_before_it_is_over(world: World) -> None:
    world.ask()
    world.asked[0].callback(5)
    world.clock.advance(FRESH * AHEAD + 1)
    assert world.ask() == world.ask() == [5]
    assert len(world.asked) == 2
    world.asked[1].callback(6)
    assert world.ask() == [6]
    world.clock.advance(FRESH + 1)
    late = world.ask()
    assert late == []
    world.asked[2].callback(7)
    assert late == [7]


def test_an_answer_stays_good_while_nothing_changes(world: World) -> None:
    world.store.changes = False
    world.ask()
    world.asked[0].callback(5)
    world.clock.advance(FRESH + 1)
    assert world.ask() == [5]
    world.clock.advance(LOOK_SECONDS)
    ages = Question("visitors", (1, "day"), None, ages=True)
    assert world.ask(ages) == []  # nothing has changed but the time
    world.asked[1].callback(6)
    world.clock.advance(FRESH + 1)
    world.store.changes = True
    late = world.ask()
    assert late == []
    world.asked[2].callback(7)
    world.store.changes = False
    world.clock.advance(UNCHANGED_SECONDS + 1)
    assert (late, world.ask()) == ([7], [])


def test_who_gives_figures_on_learns_that_they_are_of_before_a_change(world: World) -> None:
    world.ask()
    world.asked[0].callback(5)
    assert (world.ask(), world.answers.outdated) == ([5], 0)
    world.clock.advance(LOOK_SECONDS)
    _ = Deferred.fromCoroutine(world.pulse.version())  # something has come
    assert (world.ask(), world.answers.outdated) == ([5], 1)


def test_who_comes_to_wait_after_a_change_learns_it_too(world: World) -> None:
    first = world.ask()
    world.clock.advance(LOOK_SECONDS)
    _ = Deferred.fromCoroutine(world.pulse.version())
    second = world.ask()
    world.asked[0].callback(5)
    world.clock.advance(0)
    assert (first, second, world.answers.outdated) == ([5], [5], 1)


def test_what_may_be_late_is_not_said_to_be(world: World) -> None:
    world.fresh = SLOW_SECONDS
    world.ask()
    world.asked[0].callback(5)
    world.clock.advance(LOOK_SECONDS)
    _ = Deferred.fromCoroutine(world.pulse.version())
    assert (world.ask(), world.answers.outdated) == ([5], 0)


def test_what_took_long_is_not_asked_again_at_once(world: World) -> None:
    world.fresh = 0.1
    world.ask()
    world.clock.advance(0.5)
    world.asked[0].callback(5)
    world.clock.advance(0.5 * EFFORT * AHEAD - 0.1)
    assert (world.ask(), len(world.asked)) == ([5], 1)
    world.clock.advance(SLOW_SECONDS)
    assert world.ask() == []


def test_what_another_process_has_asked_is_read_once(world: World) -> None:
    world.ask()
    world.asked[0].callback(5)
    world.answers = KeptAnswers(world.cache, "chdb:///one", world.pulse, clock=world.clock)
    read = [Deferred.fromCoroutine(world.answers._read(QUESTION.key, Visitors)) for _ in range(2)]
    assert read[0].result is read[1].result is not None


def test_what_is_being_corrected_is_asked_whenever_something_has_come(world: World) -> None:
    world.fresh = 0.0
    world.ask()
    world.asked[0].callback(5)
    assert world.ask() == [5]
    world.clock.advance(LOOK_SECONDS)
    assert world.ask() == []
    assert len(world.asked) == 2


def test_the_last_answer_while_the_store_is_away(world: World) -> None:
    one = Question("visitors", ("this hour",), ("day",))
    next_one = Question("visitors", ("next hour",), ("day",))
    world.ask(one)
    world.asked[0].callback(5)
    world.clock.advance(FRESH + 1)
    for question in (one, next_one):
        got = world.ask(question)
        world.asked[-1].errback(StoreUnavailable("away"))
        assert got == [5]
        assert world.answers.is_stale
    other = world.ask(Question("visitors", ("another period",), None))
    world.asked[-1].errback(StoreUnavailable("away"))
    assert isinstance(other[0], StoreUnavailable)
    back = world.ask(one)
    world.asked[-1].callback(6)
    assert (back, world.answers.is_stale) == ([6], False)
    world.clock.advance(KEPT_SECONDS + 1)
    gone = world.ask(one)
    world.asked[-1].errback(StoreUnavailable("away"))
    assert isinstance(gone[0], StoreUnavailable)


def test_without_the_cache_it_goes_on(world: World) -> None:
    class Away(MemoryCache):
        async def get(self, key: str) -> bytes | None:
            raise StoreUnavailable("no Redis")

        async def set(self, key: str, value: bytes, life_seconds: float) -> None:
            raise StoreUnavailable("no Redis")

    world.answers._cache = Away(world.clock)
    got = world.ask()
    world.asked[0].callback(5)
    assert got == [5]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"at":1,"until":99,"version":"","value":{}}', b"\xff"]
)
def test_what_another_version_left_is_asked_anew(world: World, content: bytes) -> None:
    _ = Deferred.fromCoroutine(world.cache.set(world.answers._scope + QUESTION.key, content, 100))
    world.ask()
    assert len(world.asked) == 1


def test_another_log_store_has_other_answers(world: World) -> None:
    world.ask()
    world.asked[0].callback(5)
    world.answers = KeptAnswers(world.cache, "chdb:///another", world.pulse, clock=world.clock)
    assert world.ask() == []


def test_how_long_answers_are_fresh() -> None:
    day, month = Period(0, DAY, HOUR, DAY), Period(0, 30 * DAY, DAY, 30 * DAY)
    assert fresh_seconds(day, DAY - 1, ()) == LIVE_SECONDS
    assert fresh_seconds(month, 30 * DAY, ()) == SLOW_SECONDS
    assert fresh_seconds(day, DAY + 3 * HOUR, {DAY}) == PAST_SECONDS
    assert fresh_seconds(day, DAY + 3 * HOUR, {DAY - HOUR}) == 0


def test_results_survive_the_way_through_the_cache() -> None:
    totals = SiteTotals(1, 2, 3, 0.5, None, 1.5, 2.5, None)
    overview = Overview(
        2,
        totals,
        totals,
        None,
        (SiteSeries(1, totals, ((0, 5), (60, 6))),),
        (RankedSite(None, 3, totals),),
    )
    point = DnsPoint(5, 6, {"A": 6}, {"NOERROR": 6})
    for kind, value in (
        (Overview, overview),
        (dict[int, SiteTotals], {5: totals}),
        (dict[int, int], {5: 6}),
        (tuple[DnsPoint, ...], (point, point)),
    ):
        assert unpack(kind, json.loads(to_bytes(pack(value)))) == value
