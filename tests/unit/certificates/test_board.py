"""The board: at once in its own process, soon in the others."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from watchducks.certificates.board import LOOK_SECONDS, SharedBoard
from watchducks.model.challenges import MAX_CHALLENGES, Answers, Challenge
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.memory import MemoryCache

ONE = Challenge("dns-01", "pond.example", "t1", "v1")
TWO = Challenge("dns-01", "pond.example", "t2", "v2")
PAGE = Challenge("http-01", "pond.example", "t3", "v3")


class Store:
    """:ivar reading: what a look waits for, after it has read."""

    def __init__(self) -> None:
        self.kept: dict[str, Challenge] = {}
        self.away = False
        self.reading: Deferred[None] | None = None

    async def challenges(self) -> list[Challenge]:
        self._answer()
        found = list(self.kept.values())
        if self.reading is not None:
            await self.reading
        return found

    async def post_challenge(self, challenge: Challenge) -> None:
        self._answer()
        self.kept[challenge.token] = challenge

    async def remove_challenge(self, challenge: Challenge) -> None:
        self._answer()
        self.kept.pop(challenge.token, None)

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Hosts:
    """Two processes that share a store; their caches are their own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.answers = [Answers(), Answers()]
        self.boards = [
            SharedBoard(
                self.store, MemoryCache(self.clock), answers, clock=self.clock, settle_seconds=2.0
            )
            for answers in self.answers
        ]


def run(coroutine: object) -> Deferred[None]:
    return Deferred.fromCoroutine(coroutine)  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_posted_here_it_is_answered_there_before_anybody_asks() -> None:
    hosts = Hosts()
    for board in hosts.boards:
        await board.start()
    posting = run(hosts.boards[0].post(ONE))
    assert hosts.answers[0].texts("pond.example") == ("v1",)
    hosts.clock.advance(LOOK_SECONDS)
    assert hosts.answers[1].texts("pond.example") == ("v1",)
    assert not posting.called
    hosts.clock.advance(LOOK_SECONDS)
    await posting
    await hosts.boards[0].take_down(ONE)
    hosts.clock.advance(LOOK_SECONDS)
    assert hosts.answers[0].texts("pond.example") == hosts.answers[1].texts("pond.example") == ()
    for board in hosts.boards:
        await board.stop()


@pytest_twisted.ensureDeferred
async def test_a_look_that_began_before_takes_nothing_down() -> None:
    hosts = Hosts()
    hosts.store.reading = Deferred()
    await hosts.boards[0].start()
    posting = run(hosts.boards[0].post(ONE))
    hosts.store.reading.callback(None)
    assert hosts.answers[0].texts("pond.example") == ("v1",)
    hosts.clock.advance(2)
    await posting
    await hosts.boards[0].stop()


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_away() -> None:
    hosts = Hosts()
    await hosts.boards[0].start()
    posting = run(hosts.boards[0].post(ONE))
    hosts.clock.advance(2)
    await posting
    hosts.store.away = True
    hosts.clock.advance(LOOK_SECONDS)
    assert hosts.answers[0].texts("pond.example") == ("v1",)  # what was known stands
    with pytest.raises(StoreUnavailable):
        await hosts.boards[0].post(TWO)
    await hosts.boards[0].take_down(ONE)
    assert hosts.answers[0].texts("pond.example") == ()
    await hosts.boards[0].stop()


def test_answers() -> None:
    answers = Answers()
    told: list[object] = []
    answers.on_change(told.append)
    answers.replace([TWO, ONE, PAGE])
    answers.replace([ONE, TWO, PAGE])
    assert told == [{"pond.example": ("v1", "v2")}]
    assert answers.page("pond.example", "t3") == "v3"
    assert answers.page("pond.example", "t1") is None
    assert answers.page("www.pond.example", "t3") is None


def test_answers_are_bounded() -> None:
    answers = Answers()
    many = range(MAX_CHALLENGES + 5)
    answers.replace([Challenge("dns-01", f"{number}.example", "t", "v") for number in many])
    assert len(answers.all) == MAX_CHALLENGES


def test_an_answer() -> None:
    made = Challenge.answering("dns-01", "*.Pond.example", "tok", "tok.thumb")
    assert made.name == "pond.example"
    # printf tok.thumb | openssl dgst -sha256 -binary | basenc --base64url
    assert made.value == "sYAwVrqDtVOuJZvAHurSAYPoEt5fFV_C4bdSOOW-o5Y"
    assert Challenge.answering("http-01", "a.example", "tok", "tok.thumb").value == "tok.thumb"
