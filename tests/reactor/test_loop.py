"""The loop itself: what runs when, and how long it waits."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from tests.reactor.turning import Recorder, Turning
from watchducks.reactor.loop import MAX_EVENTS


def test_calls_from_threads_do_not_overtake_timed_calls(either: Turning) -> None:
    """A call from a thread queues both kinds; what it queues last runs last."""
    order: list[str] = []
    reactor = either.reactor

    def queue() -> None:
        reactor.callLater(0, order.append, "timed")
        reactor.callFromThread(order.append, "from thread")

    reactor.callFromThread(queue)
    either.until(lambda: len(order) == 2)
    assert order == ["timed", "from thread"]


def test_calls_from_threads_keep_their_order(either: Turning) -> None:
    order: list[int] = []
    for number in range(5):
        either.reactor.callFromThread(order.append, number)
    either.until(lambda: len(order) == 5)
    assert order == [0, 1, 2, 3, 4]


def test_a_batch_is_bounded_and_the_rest_has_its_turn(ours: Turning) -> None:
    connections = [ours.connect() for _ in range(MAX_EVENTS + 5)]
    for _, peer in connections:
        peer.send(b"x")
    ours.turn()
    heard = [protocol for protocol, _ in connections if protocol.data]
    assert len(heard) == MAX_EVENTS
    ours.until(lambda: all(protocol.data for protocol, _ in connections))


def test_what_a_flush_leads_to_is_not_waited_for(ours: Turning) -> None:
    """A flush before the wait comes after the wait's length was decided."""
    called: list[str] = []

    class Leading:
        """As a connection that collected."""

        def flush(self) -> None:
            ours.reactor.callLater(0, called.append, "soon")

        def hand_over(self) -> None:
            """Nothing to hand over."""

    ours.reactor.flush_later(Leading())
    began = time.monotonic()
    ours.reactor.doPoll(5.0)
    ours.turn()
    assert called == ["soon"]
    assert time.monotonic() - began < 4


def test_a_flush_of_one_may_queue_another(ours: Turning) -> None:
    """Which then waits for a turn of its own, with an event or without one."""
    flushed: list[int] = []

    class Chain:
        def __init__(self, number: int) -> None:
            self._number = number

        def flush(self) -> None:
            flushed.append(self._number)
            if self._number < 19:
                ours.reactor.flush_later(Chain(self._number + 1))

        def hand_over(self) -> None:
            """Nothing to hand over."""

    ours.reactor.flush_later(Chain(0))
    began = time.monotonic()
    while len(flushed) < 20:
        before = len(flushed)
        ours.reactor.doPoll(5.0)
        assert len(flushed) <= before + 2
    assert time.monotonic() - began < 4


def test_an_error_in_connection_lost_is_logged_and_the_loop_goes_on(either: Turning) -> None:
    class Bad(Recorder):
        def connectionLost(self, reason: Any = Failure(CONNECTION_DONE)) -> None:  # noqa: B008
            super().connectionLost(reason)
            raise ZeroDivisionError

    bad, bad_peer = either.connect(Bad())
    good, good_peer = either.connect()
    bad_peer.close()
    either.until(lambda: bad.lost)
    good_peer.send(b"still here")
    either.until(lambda: good.data == b"still here")
    assert [error.type for error in either.errors] == [ZeroDivisionError]
    assert len(bad.lost) == 1
