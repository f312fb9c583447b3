"""Background work is repeated in spite of failures, bounded, and joined at the end."""

from __future__ import annotations

from functools import partial

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from watchducks.background import (
    LONGEST_REST_SECONDS,
    SHORT_SECONDS,
    Overloaded,
    Repeating,
    Tasks,
    ThreadPool,
    Turns,
    together,
)


def repeating(clock: Clock, work: object) -> Repeating:
    return Repeating(work, 2.0, clock=clock, log=Logger(), name="the work")  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_an_exception_does_not_end_the_repetition() -> None:
    clock, runs = Clock(), []

    async def work() -> None:
        runs.append(clock.seconds())
        raise RuntimeError("broken")

    repeated = repeating(clock, work)
    repeated.start()
    clock.pump([1.0] * 4)
    assert runs == [0.0, 2.0, 4.0]
    assert repeated.failures == 3
    await repeated.stop()
    clock.advance(10)
    assert len(runs) == 3
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_a_slow_run_is_not_overlapped_and_stop_cancels_and_joins_it() -> None:
    clock, ended = Clock(), []
    waits: list[Deferred[None]] = []

    async def work() -> None:
        waits.append(Deferred())
        try:
            await waits[-1]
        except CancelledError:
            ended.append("cancelled")
            raise

    repeated = repeating(clock, work)
    repeated.start()
    clock.advance(100)
    assert len(waits) == 1
    waits[0].callback(None)
    clock.advance(0)
    assert len(waits) == 2
    await repeated.stop()
    assert ended == ["cancelled"]
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_a_nudge_runs_at_once() -> None:
    clock, runs = Clock(), []

    async def work() -> None:
        runs.append(clock.seconds())

    repeated = repeating(clock, work)
    repeated.start()
    clock.advance(0.5)
    repeated.nudge()
    clock.advance(0)
    assert runs == [0.0, 0.5]
    await repeated.stop()


@pytest_twisted.ensureDeferred
async def test_a_nudge_during_a_run_is_not_lost() -> None:
    clock, runs = Clock(), []
    waits: list[Deferred[None]] = [Deferred(), Deferred()]

    async def work() -> None:
        runs.append(clock.seconds())
        await waits[len(runs) - 1]

    repeated = repeating(clock, work)
    repeated.start()
    repeated.nudge()
    repeated.nudge()
    waits[0].callback(None)
    clock.advance(0)
    assert runs == [0.0, 0.0]
    waits[1].callback(None)
    clock.advance(0)
    assert runs == [0.0, 0.0]
    await repeated.stop()


@pytest_twisted.ensureDeferred
async def test_tasks_count_failures_and_are_joined() -> None:
    tasks, cleaned = Tasks(Logger()), []

    async def fails() -> None:
        raise RuntimeError("broken")

    async def waits() -> None:
        try:
            await Deferred()
        finally:
            cleaned.append(True)

    tasks.start(fails(), "one that fails")
    tasks.start(waits(), "one that waits")
    assert tasks.failures == 1
    await tasks.stop()
    assert cleaned == [True]


@pytest_twisted.ensureDeferred
async def test_what_is_done_together_ends_together() -> None:
    waiting: list[Deferred[int]] = [Deferred() for _ in range(3)]

    async def one(number: int) -> int:
        return await waiting[number]

    done = Deferred.fromCoroutine(together(map(one, range(3))))
    for number in (2, 0, 1):
        waiting[number].callback(number)
    assert await done == [0, 1, 2]

    waiting = [Deferred() for _ in range(3)]
    failing = Deferred.fromCoroutine(together(map(one, range(3))))
    waiting[1].errback(LookupError("gone"))
    with pytest.raises(LookupError):
        await failing
    assert all(each.called for each in waiting)

    waiting = [Deferred() for _ in range(3)]
    leaving = Deferred.fromCoroutine(together(map(one, range(3))))
    leaving.cancel()
    with pytest.raises(CancelledError):
        await leaving
    assert all(each.called for each in waiting)


@pytest_twisted.ensureDeferred
async def test_a_pool_refuses_more_than_it_can_do_in_useful_time() -> None:
    from twisted.internet import reactor

    pool = ThreadPool("test", 1, reactor=reactor, max_waiting=2)  # type: ignore[arg-type]
    # Not started: what is handed in waits.
    first = Deferred.fromCoroutine(pool.run(lambda: 1))
    second = Deferred.fromCoroutine(pool.run(lambda: 2))
    with pytest.raises(Overloaded):
        await pool.run(lambda: 3)
    pool.start()
    try:
        assert (await first, await second) == (1, 2)
        assert await pool.run(lambda: 4) == 4
    finally:
        pool.stop()


def turn(clock: Clock) -> None:
    """Let the reactor have one turn, in which there is one thing to do."""
    (call,) = clock.calls
    clock.calls.remove(call)
    call.called = 1
    call.func(*call.args, **call.kw)


def test_long_work_goes_on_one_piece_a_turn() -> None:
    clock, done = Clock(), list[str]()
    turns = Turns(clock)

    async def work(name: str) -> None:
        for piece in range(2):
            await turns.next()
            done.append(f"{name}{piece}")

    working = [Deferred.fromCoroutine(work(name)) for name in "abc"]
    turn(clock)
    assert done == ["a0"]
    # Who leaves has his turn all the same, in which nothing happens.
    _ = working[1].addErrback(lambda _: None)
    working[1].cancel()
    turn(clock)
    assert done == ["a0"]
    turn(clock)
    assert done == ["a0", "c0"]
    turn(clock)
    turn(clock)
    assert done == ["a0", "c0", "a1", "c1"]
    assert clock.getDelayedCalls() == []


def test_after_a_long_piece_others_are_let_go_first() -> None:
    clock, done = Clock(), []
    turns = Turns(clock)

    def piece(took: float) -> None:
        clock.rightNow += took  # without a turn of the reactor
        done.append(took)

    for took in (SHORT_SECONDS / 2, 2 * SHORT_SECONDS, 1.0, 0.0):
        turns.call(partial(piece, took))
    clock.advance(0)
    clock.advance(0)
    assert len(done) == 2, "a short piece has the next one follow at once"
    clock.advance(SHORT_SECONDS)
    assert len(done) == 2
    clock.advance(SHORT_SECONDS)
    assert len(done) == 3
    clock.advance(LONGEST_REST_SECONDS)
    assert len(done) == 4
    assert clock.getDelayedCalls() == []
