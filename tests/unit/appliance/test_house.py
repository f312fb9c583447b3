"""What all parts are put into: how they stop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from watchducks.appliance.house import House, Reactor
from watchducks.settings import parse

REACTOR: Reactor = reactor
SECONDS = 10.0


@pytest_twisted.ensureDeferred
async def test_a_call_under_way_in_a_thread_does_not_hold_up_the_reactor(tmp_path: Path) -> None:
    names = {"names": ["ns1.watchducks.example"]}
    settings = parse(
        {"node": {"data_dir": str(tmp_path), "roles": ["console"]}, "nameserver": names}
    )
    house = House(settings, REACTOR)
    pool = await house.pool("slow")
    goes_on = threading.Event()
    slow = Deferred.fromCoroutine(pool.run(goes_on.wait, SECONDS))
    stopping = Deferred.fromCoroutine(house.stop())
    # By the reactor alone, which has to be free for it.
    REACTOR.callLater(0, goes_on.set)
    await stopping
    assert await slow
