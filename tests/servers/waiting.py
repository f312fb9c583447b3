"""Waiting for a condition instead of sleeping: in a thread's time, and in the reactor's."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

T = TypeVar("T")

# Short beside what is waited for (processes, batches), long enough not to load the machine.
POLL_SECONDS = 0.05


def wait_until(
    condition: Callable[[], T], what: str, seconds: float, every: float = POLL_SECONDS
) -> T:
    """Return what ``condition`` returns as soon as that is true; blocks the thread.

    :param what: completes "waited in vain for ...".
    :raises AssertionError: it did not become true within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}, {seconds:g} s")
        time.sleep(every)


async def eventually(
    clock: IReactorTime,
    condition: Callable[[], Awaitable[T]],
    what: str,
    seconds: float,
    every: float = POLL_SECONDS,
) -> T:
    """Like :func:`wait_until` for an asynchronous condition; the reactor runs meanwhile."""
    deadline = clock.seconds() + seconds
    while True:
        result = await condition()
        if result:
            return result
        if clock.seconds() > deadline:
            raise AssertionError(f"waited in vain for {what}, {seconds:g} s")
        await deferLater(clock, every)
