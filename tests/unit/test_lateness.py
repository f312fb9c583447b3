"""How late turns come, as a histogram."""

from __future__ import annotations

import pytest_twisted
from twisted.internet.task import Clock

from watchducks.lateness import INTERVAL_SECONDS, Lateness


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
