"""Time limits, on a clock that a test turns."""

from __future__ import annotations

from twisted.internet.task import Clock

from watchducks.proxy.deadlines import RESOLUTION_SECONDS, Deadlines


class Owner:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.expired_at: list[float] = []

    def expired(self) -> None:
        self.expired_at.append(self._clock.seconds())


def turn(clock: Clock, seconds: float) -> None:
    clock.pump([0.05] * round(seconds / 0.05))


def test_a_limit_runs_out_once_not_early_and_hardly_late() -> None:
    clock = Clock()
    deadlines, owner = Deadlines(clock), Owner(clock)
    deadlines.start()
    turn(clock, 0.2)
    set_at = clock.seconds()
    deadlines.set(owner, 1.0)
    turn(clock, 5)
    (at,) = owner.expired_at
    assert set_at + 1.0 <= at <= set_at + 1.0 + 2 * RESOLUTION_SECONDS + 0.05


def test_a_limit_that_is_renewed_or_cleared_does_not_run_out() -> None:
    clock = Clock()
    deadlines, renewed, cleared = Deadlines(clock), Owner(clock), Owner(clock)
    deadlines.start()
    deadlines.set(renewed, 1.0)
    deadlines.set(cleared, 1.0)
    for _ in range(6):
        turn(clock, 0.5)
        deadlines.set(renewed, 1.0)
        deadlines.clear(cleared)
    assert not renewed.expired_at
    assert not cleared.expired_at


def test_one_that_fails_does_not_keep_the_others() -> None:
    clock = Clock()
    deadlines, other = Deadlines(clock), Owner(clock)

    class Broken:
        def expired(self) -> None:
            deadlines.clear(self)
            raise RuntimeError("broken on purpose")

    deadlines.start()
    deadlines.set(Broken(), 0.1)
    deadlines.set(other, 0.1)
    turn(clock, 1)
    assert len(other.expired_at) == 1


def test_one_may_clear_another_that_is_due_as_well() -> None:
    clock = Clock()
    deadlines, other = Deadlines(clock), Owner(clock)

    class First:
        def expired(self) -> None:
            deadlines.clear(other)

    deadlines.start()
    deadlines.set(First(), 0.1)
    deadlines.set(other, 0.1)
    turn(clock, 1)
    assert not other.expired_at


def test_stopped_nothing_runs_any_more() -> None:
    clock = Clock()
    deadlines, owner = Deadlines(clock), Owner(clock)
    deadlines.start()
    deadlines.set(owner, 0.1)
    deadlines.stop()
    turn(clock, 1)
    assert not owner.expired_at
    assert not clock.getDelayedCalls()
