"""Work in the background that is never forgotten: tasks, repetition, threads, start-up errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool as _TwistedThreadPool

P = ParamSpec("P")
T = TypeVar("T")

# After a piece of long work that took so long, the next one waits as long as it took: a visitor,
# whose request takes several turns of the reactor, then meets one piece instead of one a turn.
SHORT_SECONDS: Final = 0.0005
# A piece that took longer was held up by something else.
LONGEST_REST_SECONDS: Final = 0.005


class StartupError(Exception):
    """The appliance cannot start; the text is the one line that the sysadmin sees."""


class Part(Protocol):
    """A part of the appliance: started once, stopped once."""

    async def start(self) -> None:
        """Begin. :raises StartupError: with one line that says what to do."""

    async def stop(self) -> None:
        """End, and let go of everything. Bounded in time; never raises for what is broken."""


class Tasks:
    """Coroutines that run beside their starter: failures are logged and counted, stop joins them.

    :ivar failures: how many ended with an exception.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._running: set[Deferred[None]] = set()
        self.failures = 0

    def start(self, coroutine: Coroutine[Deferred[Any], Any, None], name: str) -> None:
        """Run ``coroutine`` now, up to its first wait, and then beside the caller."""
        deferred: Deferred[None] = Deferred.fromCoroutine(self._guarded(coroutine, name))
        self._running.add(deferred)
        _ = deferred.addBoth(lambda _: self._running.discard(deferred))

    async def _guarded(self, coroutine: Coroutine[Deferred[Any], Any, None], name: str) -> None:
        try:
            await coroutine
        except CancelledError:
            pass
        except Exception:
            self.failures += 1
            self._log.failure("{name} failed", name=name)

    async def stop(self) -> None:
        """Cancel what still runs and wait for it."""
        for deferred in list(self._running):
            await _cancelled(deferred)


async def _cancelled(running: Deferred[None]) -> None:
    """Cancel ``running`` and wait until it has really ended, however it ends."""
    ended: Deferred[None] = Deferred()
    _ = running.addBoth(lambda _: ended.callback(None))
    running.cancel()
    await ended


async def together(work: Iterable[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """Do all of ``work`` at the same time; return what each returned.

    What one of them raises is raised here, and ends the others; so does a cancellation.
    """
    running = [Deferred.fromCoroutine(one) for one in work]
    try:
        return await gatherResults(running, consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()
    finally:
        for one in running:
            one.cancel()


class Turns:
    """Work that takes long, in pieces: one a turn of the reactor, whoever they are for, so that
    what is due meanwhile waits for one piece at most. After a long one there is a rest.

    A piece is what a coroutine does from one :meth:`next` to the following wait.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Callable[[], None]] = deque()

    async def next(self) -> None:
        """Wait for a turn."""
        waiter: Deferred[None] = Deferred()
        self.call(partial(waiter.callback, None))
        await waiter

    def call(self, function: Callable[[], None]) -> None:
        """Call ``function``, which does not raise, in a turn of its own."""
        self._waiting.append(function)
        if len(self._waiting) == 1:
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        function, began = self._waiting[0], self._clock.seconds()
        try:
            function()
        finally:
            _ = self._waiting.popleft()
            if self._waiting:
                took = self._clock.seconds() - began
                rest = min(took, LONGEST_REST_SECONDS) if took >= SHORT_SECONDS else 0.0
                self._clock.callLater(rest, self._turn)


class Repeating:
    """Call an async function again and again, ``interval_seconds`` after it last *began*, or at
    once when it took longer. Unlike with Twisted's Timerservice, an exception is logged and does
    not end it.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[None]],
        interval_seconds: float,
        *,
        clock: IReactorTime,
        log: Logger,
        name: str,
    ) -> None:
        self._work = work
        self._interval = interval_seconds
        self._clock = clock
        self._log = log
        self._name = name
        self._call: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._nudged = False
        self.failures = 0

    def start(self) -> None:
        """Begin with a first run at once."""
        self._stopping = False
        self._turn()

    def nudge(self) -> None:
        """Run now instead of at the next time; while a run is under way, once more after it: it may
        have looked already where there is something new."""
        if self._call is not None:
            self._call.reset(0)
        self._nudged = self._running is not None

    def _turn(self) -> None:
        self._call = None
        self._running = Deferred.fromCoroutine(self._once())

    async def _once(self) -> None:
        began = self._clock.seconds()
        self._nudged = False
        try:
            await self._work()
        except CancelledError:
            pass
        except Exception:
            self.failures += 1
            self._log.failure("{name} failed; it is tried again", name=self._name)
        finally:
            self._running = None
            if not self._stopping:
                took = self._clock.seconds() - began
                wait = 0.0 if self._nudged else max(0.0, self._interval - took)
                self._call = self._clock.callLater(wait, self._turn)

    async def stop(self) -> None:
        """Cancel the run under way, wait for its end, and do not run again."""
        self._stopping = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._running is not None:
            await _cancelled(self._running)


class Threads(Protocol):
    """Where blocking work is done: :class:`ThreadPool`, or what a test has instead."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` off the reactor's thread and return what it returns."""


class ThreadPool:
    """A named pool of a fixed number of threads for one kind of blocking work.

    Calls beyond the number of threads wait in line; ``max_waiting`` bounds that line, because a
    store that hangs must not collect the memory of everyone who asks.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        *,
        reactor: IReactorFromThreads,
        max_waiting: int = 1000,  # seconds of the busiest console; who waits longer has left
    ) -> None:
        self._pool = _TwistedThreadPool(threads, threads, name)
        self._reactor = reactor
        self._max_waiting = max_waiting
        self._waiting = 0

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """Wait for the calls under way. Blocks: give the calls time limits of their own."""
        self._pool.stop()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in one of the threads and return what it returns.

        :raises Overloaded: too many calls wait already.
        """
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                f"more than {self._max_waiting} calls wait for the pool {self._pool.name}"
            )
        self._waiting += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
        finally:
            self._waiting -= 1


class Overloaded(Exception):
    """More work is waiting than can be done in useful time."""
