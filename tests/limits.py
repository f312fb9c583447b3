"""Pytest plugin: a test's time limit holds inside the reactor, too.

pytest-timeout's signal raises in whatever code runs at that moment. A test that waits for a
Deferred runs no code of its own: the signal lands in the reactor's main loop, which logs the
exception and goes on waiting, for ever. pytest-timeout's other method, a thread, ends the whole run
with ``os._exit``, so that no fixture stops its server. Therefore there are three limits, each for
what the one before it cannot reach:

1. shortly before the time is up, the test's coroutine is cancelled, so that its ``finally`` clauses
   run, and the test fails;
2. when the time is up, pytest-timeout's signal ends code that does not return to the reactor;
3. shortly after, whatever still waits for a Deferred (a coroutine that ignored its cancellation, an
   asynchronous fixture) stops waiting for it and fails.
"""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

# Shares of the time limit. Far enough apart for the three not to race on a loaded machine with the
# usual limit of a minute, near enough for a failure not to cost much more than the limit.
CANCEL_AT = 0.95
ABANDON_AT = 1.05

# What is left after that for the fixtures to clean up and for pytest to write its report: without
# more time, the signal of limit 2 would end pytest itself while it does so.
GRACE_SECONDS = 10.0


class TestTimeout(Exception):
    """The test, or one of its fixtures, still waited for a Deferred when its time was up."""

    __test__ = False


class _Current:
    """The running test's limit. Tests run one after another, so there is only one."""

    limit_seconds: float | None = None
    started: float = 0.0

    def seconds_until(self, share: float) -> float | None:
        """Return the seconds until ``share`` of the limit is used up; None: there is no limit."""
        if self.limit_seconds is None:
            return None
        return max(0.0, self.started + share * self.limit_seconds - time.monotonic())

    def failure(self) -> TestTimeout:
        limit = f"{self.limit_seconds:g} s"
        return TestTimeout(f"still waiting for a Deferred when its {limit} were up")


_current = _Current()


def _limit(deferred: Deferred[Any], share: float) -> None:
    """Cancel ``deferred`` at ``share`` of the limit, and let it fail with TestTimeout then."""
    from twisted.internet import reactor

    seconds = _current.seconds_until(share)
    if seconds is None:
        return

    def explain(result: object, _seconds: float) -> Failure:
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        error = _current.failure()
        if isinstance(result, Failure) and result.value is not None:
            # Its traceback tells where the test was waiting.
            error.__cause__ = result.value.with_traceback(result.getTracebackObject())
        # Else it swallowed its cancellation and ended; it is over its time nevertheless.
        return Failure(error)

    # What it returns is `deferred` itself, which our caller waits for.
    _ = deferred.addTimeout(seconds, reactor, onTimeoutCancel=explain)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Learn the limit that pytest-timeout found for this test; its own timer is set after us."""
    _current.limit_seconds = settings.timeout
    _current.started = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """Forget the limit."""
    _current.limit_seconds = None


def _cancelled_in_time(test: Callable[..., Any]) -> Callable[..., Any]:
    # `wraps` copies the mark by which pytest_twisted knows an asynchronous test.
    @functools.wraps(test)
    async def limited(**arguments: object) -> None:
        running = Deferred.fromCoroutine(test(**arguments))
        _limit(running, CANCEL_AT)
        await running

    return limited


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Run an asynchronous test so that limit 1 holds."""
    hypothesis = getattr(pyfuncitem.obj, "hypothesis", None)
    if hypothesis is not None:
        if _is_asynchronous(hypothesis.inner_test):
            hypothesis.inner_test = _cancelled_in_time(hypothesis.inner_test)
    elif _is_asynchronous(pyfuncitem.obj):
        pyfuncitem.obj = _cancelled_in_time(pyfuncitem.obj)
    return (yield)


def _is_asynchronous(test: object) -> bool:
    return getattr(test, "_pytest_twisted_mark", None) == "async_test"


_wait_for = pytest_twisted.blockon_default


def _wait_for_at_most(deferred: Deferred[Any]) -> Any:
    _limit(deferred, ABANDON_AT)
    return _wait_for(deferred)


def pytest_configure() -> None:
    """Put limit 3 into the one function through which pytest_twisted waits for anything."""
    pytest_twisted.blockon_default = _wait_for_at_most


def pytest_unconfigure() -> None:
    """Give pytest_twisted its own function back."""
    pytest_twisted.blockon_default = _wait_for
