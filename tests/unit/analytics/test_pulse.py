"""One look at the log store for all who want to know, even if who looked first leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from watchducks.analytics.pulse import LOOK_SECONDS, Pulse
from watchducks.stores.interfaces import Value
from watchducks.stores.logs_fake import FakeLogStore

Rows = list[tuple[Value, ...]]


class _Slow(FakeLogStore):
    """Answers when the test does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Deferred[Rows]] = []

    async def query(
        self,
        sql: str,
        parameters: Mapping[str, Value | Sequence[Value]] | None = None,
    ) -> Rows:
        waiting: Deferred[Rows] = Deferred()
        self.asked.append(waiting)
        return await waiting


def test_one_look_for_all_who_come_meanwhile() -> None:
    store, clock = _Slow(), Clock()
    pulse = Pulse(store, clock=clock)
    asking = [Deferred.fromCoroutine(pulse.version()) for _ in range(3)]
    assert len(store.asked) == 1
    # It takes so long that it is old when it comes; those who have waited for it take it.
    clock.advance(LOOK_SECONDS * 2)
    store.asked[0].callback([("requests", 1)])
    assert {each.result for each in asking} == {"[('requests', 1)]"}
    assert pulse.known is None
    _ = Deferred.fromCoroutine(pulse.version())
    assert len(store.asked) == 2


def test_another_looks_where_the_first_leaves() -> None:
    store = _Slow()
    pulse = Pulse(store, clock=Clock())
    leaving, *staying = [Deferred.fromCoroutine(pulse.version()) for _ in range(3)]
    gone = leaving.addErrback(lambda failure: failure.trap(CancelledError))
    leaving.cancel()
    assert gone.result is CancelledError
    assert len(store.asked) == 2
    store.asked[1].callback([("requests", 2)])
    assert {each.result for each in staying} == {"[('requests', 2)]"}
