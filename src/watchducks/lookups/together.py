"""Several look-ups at a time, of which each may fail by itself."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from watchducks.background import together
from watchducks.lookups.client import LookupFailed

T = TypeVar("T")


async def attempt_all(
    work: Sequence[Coroutine[Deferred[Any], Any, T]],
) -> list[T | LookupFailed]:
    """Run all of ``work`` at the same time; return what each returned, or why it failed.

    What else goes wrong in one of them, and a cancellation, ends them all.
    """
    return await together(map(_attempt, work))


async def _attempt(work: Coroutine[Deferred[Any], Any, T]) -> T | LookupFailed:
    try:
        return await work
    except LookupFailed as error:
        return error


async def within(
    seconds: float, work: Coroutine[Deferred[Any], Any, T], what: str, *, clock: IReactorTime
) -> T:
    """Return what ``work`` returns.

    :param what: begins the sentence that says that it took too long.
    :raises LookupFailed: it took longer, and was cancelled.
    """
    try:
        return await Deferred.fromCoroutine(work).addTimeout(seconds, clock)
    except DeferredTimeout:
        raise LookupFailed(f"{what} took longer than {seconds:g} s") from None
