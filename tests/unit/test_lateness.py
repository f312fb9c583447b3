"""How late turns come, as a histogram."""

from __future__ import annotations

import time

import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from watchducks.lateness import INTERVAL_SECONDS, NOTICED_SECONDS, Lateness


@pytest_twisted.ensureDeferred
async def test_a_turn_that_takes_long_is_seen() -> None:
    clock = Clock()
    lateness = Lateness(clock)
    await lateness.start()
    clock.advance(INTERVAL_SECONDS)
    clock.advance(INTERVAL_SECONDS + 0.2)  # the reactor was busy
    await lateness.stop()
    assert clock.getDelayedCalls() == []
    found = {(s.name, dict(s.labels).get("le")): s.value for s in lateness.samples()}
    name = "watchducks_reactor_late_seconds"
    assert found[f"{name}_count", None] == 2
    assert found[f"{name}_bucket", "0.131072"] == 1
    assert found[f"{name}_bucket", "0.262144"] == 2


@pytest_twisted.ensureDeferred
async def test_what_visitors_notice_is_told_with_what_it_went_by() -> None:
    clock = Clock()
    lateness = Lateness(clock)
    with capturedLogs() as events:
        await lateness.start()
        clock.advance(INTERVAL_SECONDS + NOTICED_SECONDS / 2)
        assert not events
        began = time.thread_time()
        while time.thread_time() < began + 0.1:
            pass
        clock.advance(INTERVAL_SECONDS + NOTICED_SECONDS)
        await lateness.stop()
    (event,) = events
    assert "for 1.0 s" in str(formatEvent(event))
    assert (event["late"], event["worked"]) == (1.0, 0.1)
