"""Some work for many names at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults

from watchducks.certificates.acme.errors import Reason, Rejected

T = TypeVar("T")
R = TypeVar("R")


async def side_by_side(
    at_once: int, work: Callable[[T], Coroutine[Deferred[Any], Any, R]], items: Sequence[T]
) -> list[R]:
    """Do ``work`` for each item, ``at_once`` at a time; what fails is raised when all have ended.

    Failures of names are put together into one, so that one order tells of all its bad names.
    """
    turns = DeferredSemaphore(at_once)
    errors: list[Exception] = []

    async def one(item: T) -> R | None:
        try:
            return await work(item)
        except CancelledError:
            raise
        except Exception as error:
            errors.append(error)
            return None

    running = [turns.run(one, item) for item in items]
    done: Awaitable[list[Any]] = gatherResults(running)
    try:
        results = await done
    finally:
        for deferred in running:
            deferred.cancel()
    rejected: dict[str, Reason] = {}
    for error in errors:
        if not isinstance(error, Rejected):
            raise error
        rejected |= error.names
    if rejected:
        raise Rejected(rejected)
    return results
