"""The part that probes the proxies and keeps the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from watchducks.background import Tasks
from watchducks.health.judge import Standing, judge
from watchducks.health.probe import HttpProbe, Probe, ProbeFailed
from watchducks.health.targets import Target, find_targets
from watchducks.model.origins import Address
from watchducks.model.verdicts import Verdict
from watchducks.settings import HealthSettings, ProxySettings

# Until the presumption of health is confirmed or refuted (the first `down_after` probes) they run
# this often: a proxy that is dead at our start is out after a second or two. Not at once, because a
# proxy that starts together with us, in this very process perhaps, needs a moment to listen.
FIRST_INTERVAL_SECONDS: Final = 0.5
# Probes of one proxy under way at once. A new one begins each interval whether or not the last has
# ended, so that a slow answer does not delay the verdict; with a timeout beyond eight intervals
# the count of failures lags anyway, and more would only burden a proxy that is in trouble.
MAX_OUTSTANDING_PROBES: Final = 8


@dataclass(slots=True)
class _Watch:
    """One proxy: its standing, and the bookkeeping of its probes.

    :ivar begun: probes begun so far; the number of the last one.
    :ivar judged: the number of the newest probe whose result was judged.
    """

    target: Target
    since: float
    standing: Standing = field(default_factory=Standing)
    reason: str = "not probed yet"
    begun: int = 0
    judged: int = 0
    outstanding: int = 0
    next_probe: IDelayedCall | None = None


class Health:
    """Probes every proxy and offers :class:`watchducks.model.verdicts.Verdicts`.

    Before :meth:`start` and until the first verdict every proxy is presumed healthy.

    :ivar revision: grows with each change of a verdict. It is at least the POSIX second of the
        change, so that it also grows over a restart: it is part of the serial in every SOA.
    """

    _log = Logger()

    def __init__(
        self,
        settings: HealthSettings,
        proxy: ProxySettings,
        *,
        reactor: Any,
        probe: Probe | None = None,
    ) -> None:
        """
        :param reactor: provides IReactorTCP (for the probes) and IReactorTime.
        :param probe: asks one URL; None: by HTTP, within ``settings.timeout``.
        """
        self._settings = settings
        self._proxy = proxy
        self._clock = reactor
        self._probe = probe or HttpProbe(settings.timeout, reactor=reactor)
        self._tasks = Tasks(self._log)
        self._watches: list[_Watch] = []
        self._listeners: list[Callable[[Verdict], None]] = []
        self._healthy: tuple[Address, ...] = tuple(dict.fromkeys(proxy.addresses))
        self.revision = int(reactor.seconds())

    def healthy_addresses(self) -> Sequence[Address]:
        """See :meth:`watchducks.model.verdicts.Verdicts.healthy_addresses`."""
        return self._healthy

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the present verdict on every proxy, for people; empty before :meth:`start`."""
        return tuple(_verdict(watch) for watch in self._watches)

    def on_change(self, callback: Callable[[Verdict], None]) -> None:
        """Call ``callback`` with each verdict that changes, after it counts. It must not block."""
        self._listeners.append(callback)

    async def start(self) -> None:
        """Begin to probe; does not wait for a result.

        :raises StartupError: it is not clear what to probe.
        """
        targets = find_targets(self._settings.targets, self._proxy.addresses, self._proxy.http)
        now = self._clock.seconds()
        self._watches = [_Watch(target, now) for target in targets]
        for watch in self._watches:
            self._log.info(
                "probing {address}: {url}", address=str(watch.target.address), url=watch.target.url
            )
            self._beat(watch)

    async def stop(self) -> None:
        """End every probe; the verdicts stand."""
        for watch in self._watches:
            if watch.next_probe is not None:
                watch.next_probe.cancel()
                watch.next_probe = None
        await self._tasks.stop()

    def _beat(self, watch: _Watch) -> None:
        """Arrange the next beat, then begin a probe: neither waits for the other."""
        interval = self._settings.interval
        if watch.begun + 1 < self._settings.down_after:
            interval = min(interval, FIRST_INTERVAL_SECONDS)
        watch.next_probe = self._clock.callLater(interval, self._beat, watch)
        if watch.outstanding >= MAX_OUTSTANDING_PROBES:
            return
        watch.begun += 1
        self._tasks.start(self._ask(watch, watch.begun), f"health probe of {watch.target.address}")

    async def _ask(self, watch: _Watch, number: int) -> None:
        watch.outstanding += 1
        reason, success = "answers", True
        try:
            await self._probe(watch.target.url)
        except CancelledError:
            raise
        except ProbeFailed as failed:
            reason, success = str(failed), False
        finally:
            watch.outstanding -= 1
        self._judge(watch, number, reason, success=success)

    def _judge(self, watch: _Watch, number: int, reason: str, *, success: bool) -> None:
        if number < watch.judged:
            return  # a slow result that a newer one has overtaken tells nothing of the present
        watch.judged = number
        watch.reason = reason
        before = watch.standing
        watch.standing = judge(
            before,
            success=success,
            down_after=self._settings.down_after,
            up_after=self._settings.up_after,
        )
        if watch.standing.healthy != before.healthy:
            self._changed(watch)

    def _changed(self, watch: _Watch) -> None:
        now = self._clock.seconds()
        lasted, watch.since = now - watch.since, now
        self._healthy = tuple(
            watch.target.address for watch in self._watches if watch.standing.healthy
        )
        self.revision = max(self.revision + 1, int(now))
        verdict = _verdict(watch)
        report = self._log.info if verdict.healthy else self._log.warn
        report(
            "proxy {address} is {verdict} ({reason}) after {lasted} s {before};"
            " {healthy} of {proxies} healthy",
            address=str(verdict.address),
            verdict="healthy" if verdict.healthy else "down",
            before="down" if verdict.healthy else "healthy",
            reason=verdict.reason,
            lasted=round(lasted, 1),
            healthy=len(self._healthy),
            proxies=len(self._watches),
        )
        for listener in self._listeners:
            try:
                listener(verdict)
            except Exception:  # one listener's fault is not the verdict's
                self._log.failure("a listener of verdicts failed")


def _verdict(watch: _Watch) -> Verdict:
    return Verdict(watch.target.address, watch.standing.healthy, watch.since, watch.reason)
