"""The part that probes the proxies and keeps the verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from watchducks.background import Overloaded, Repeating, Tasks, Threads
from watchducks.health import memory
from watchducks.health.judge import Standing, judge
from watchducks.health.probe import HttpProbe, Probe, ProbeFailed, probe_all
from watchducks.health.reference import Reference
from watchducks.health.targets import Target, find_targets
from watchducks.model.origins import Address
from watchducks.model.verdicts import Verdict
from watchducks.settings import HealthSettings, ProxySettings

# Until the presumption of health is confirmed or refuted (the first `down_after` probes) they run
# this often: a proxy that is dead at our start is out after a second or two. Not at once, because a
# proxy that starts together with us, in this very process perhaps, needs a moment to listen.
FIRST_INTERVAL_SECONDS: Final = 0.5
# A proxy under suspicion (it failed, or is slow to answer) is probed this many times as often,
# until the verdict stands again. With the defaults a proxy that freezes is out of DNS after at most
# 2 s (until the next probe) + 2 x 2/3 s (two more) + 2 s (the last one's timeout) = 5.4 s, and one
# that refuses connections while it is restarted may take 1.3 s for that.
SUSPICION: Final = 3
# A probe that takes longer than this part of the interval is slow; good ones take milliseconds.
SLOW: Final = 0.25
# Probes of one proxy under way at once. A new one begins each interval whether or not the last has
# ended, so that a slow answer does not delay the verdict; with a timeout beyond eight intervals
# the count of failures lags anyway, and more would only burden a proxy that is in trouble.
MAX_OUTSTANDING_PROBES: Final = 8
# How often the reference is asked while all is well, only to know whether it answers at all.
REFERENCE_SECONDS: Final = 60.0
FILE_NAME: Final = "verdicts.json"


@dataclass(slots=True)
class _Watch:
    """One proxy: its standing, and the bookkeeping of its probes.

    :ivar failing: whether the newest result was a failure.
    :ivar began: when the last probe began, seconds.
    :ivar begun: probes begun so far; the number of the last one.
    :ivar judged: the number of the newest probe whose result was judged.
    """

    target: Target
    since: float
    standing: Standing = field(default_factory=Standing)
    reason: str = "not probed yet"
    failing: bool = False
    began: float = 0.0
    begun: int = 0
    judged: int = 0
    outstanding: int = 0
    next_probe: IDelayedCall | None = None


class Health:
    """Probes every proxy and offers :class:`watchducks.model.verdicts.Verdicts`.

    Before :meth:`start`, and until the first verdict on a proxy of which nothing is remembered, it
    is presumed healthy.

    :ivar revision: see :class:`watchducks.model.verdicts.Verdicts`.
    :ivar serial: at least the POSIX second of the last change of a verdict.
    :ivar ttl_limit: one interval of probes while a verdict is pending.
    """

    _log = Logger()

    def __init__(
        self,
        settings: HealthSettings,
        proxy: ProxySettings,
        *,
        reactor: Any,
        state_dir: Path | None = None,
        pool: Threads | None = None,
        probe: Probe | None = None,
        reference: Reference | None = None,
    ) -> None:
        """
        :param reactor: provides IReactorTCP (for the probes) and IReactorTime.
        :param state_dir: where the verdicts are remembered, by ``pool``; None: nowhere.
        :param probe: asks one URL; None: by HTTP, within ``settings.timeout``.
        :param reference: what tells whether our own network works; None: nothing does.
        """
        self._settings = settings
        self._proxy = proxy
        self._clock = reactor
        self._path = None if state_dir is None else state_dir / FILE_NAME
        self._pool = pool
        self._probe = probe or HttpProbe(settings.timeout, reactor=reactor)
        self._tasks = Tasks(self._log)
        self._watches: list[_Watch] = []
        self._listeners: list[Callable[[Verdict], None]] = []
        self._healthy: tuple[Address, ...] = tuple(dict.fromkeys(proxy.addresses))
        self._reference = reference
        # A reference that never answered (a closed network, perhaps) tells nothing by its silence.
        self._reference_known = False
        self._reference_answers = True
        self._keeping = False
        self._references = Repeating(
            self._ask_the_reference,
            REFERENCE_SECONDS,
            clock=reactor,
            log=self._log,
            name="asking whether our own network works",
        )
        self.revision = 0
        self.serial = int(reactor.seconds())
        self.ttl_limit: int | None = None

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
        """Go on with the verdicts remembered and begin to probe; does not wait for a result.

        :raises StartupError: it is not clear what to probe.
        """
        await self.recall()
        if self._reference is not None:
            self._references.start()
        for watch in self._watches:
            self._log.info(
                "probing {address}: {urls}",
                address=str(watch.target.address),
                urls=", ".join(watch.target.urls),
            )
            self._beat(watch)

    async def recall(self) -> None:
        """Take up the verdicts remembered, if that has not been done: they may be wanted before
        there is anything to probe.

        :raises StartupError: it is not clear what to probe.
        """
        if self._watches:
            return
        targets = find_targets(
            self._settings.targets, self._proxy.addresses, self._proxy.http, self._proxy.https
        )
        remembered = memory.Remembered()
        if self._path is not None and self._pool is not None:
            remembered = await self._pool.run(memory.read, self._path)
        now = self._clock.seconds()
        self.serial = max(self.serial, remembered.serial)
        known = {verdict.address: verdict for verdict in remembered.verdicts}
        for target in targets:
            watch = _Watch(target, now)
            if target.address in known:
                before = known[target.address]
                watch.since, watch.reason = before.since, before.reason
                watch.standing = Standing(before.healthy)
            self._watches.append(watch)
        self._count_healthy()

    async def stop(self) -> None:
        """End every probe; the verdicts stand."""
        for watch in self._watches:
            if watch.next_probe is not None:
                watch.next_probe.cancel()
                watch.next_probe = None
        await self._references.stop()
        await self._tasks.stop()

    # --- probing ----------------------------------------------------------------------------------

    def _beat(self, watch: _Watch) -> None:
        """Arrange the next beat, then begin a probe: neither waits for the other."""
        interval = self._settings.interval
        if watch.begun + 1 < self._settings.down_after:
            interval = min(interval, FIRST_INTERVAL_SECONDS)
        if watch.standing.healthy and watch.standing.pending:
            interval = min(interval, self._settings.interval / SUSPICION)
        watch.next_probe = self._clock.callLater(interval, self._beat, watch)
        if watch.outstanding >= MAX_OUTSTANDING_PROBES:
            return
        watch.begun += 1
        watch.began = self._clock.seconds()
        self._tasks.start(self._ask(watch, watch.begun), f"health probe of {watch.target.address}")

    async def _ask(self, watch: _Watch, number: int) -> None:
        watch.outstanding += 1
        slow = self._clock.callLater(self._settings.interval * SLOW, self._suspect, watch)
        reason, success = "answers", True
        try:
            await probe_all(self._probe, watch.target.urls)
        except CancelledError:
            raise
        except ProbeFailed as failed:
            reason, success = str(failed), False
        finally:
            watch.outstanding -= 1
            if slow.active():
                slow.cancel()
        self._judge(watch, number, reason, success=success)

    def _suspect(self, watch: _Watch) -> None:
        """Bring the next probe forward, and find out early whether it is our network."""
        if not watch.standing.healthy or watch.next_probe is None:
            return
        now = self._clock.seconds()
        soon = max(0.0, watch.began + self._settings.interval / SUSPICION - now)
        if watch.next_probe.getTime() - now > soon:
            watch.next_probe.reset(soon)
        if self._reference is not None:
            self._references.nudge()

    async def _ask_the_reference(self) -> None:
        if self._reference is None:
            return
        self._reference_answers = await self._reference.answers()
        self._reference_known = self._reference_known or self._reference_answers

    # --- judging ----------------------------------------------------------------------------------

    def _judge(self, watch: _Watch, number: int, reason: str, *, success: bool) -> None:
        if number < watch.judged:
            return  # a slow result that a newer one has overtaken tells nothing of the present
        watch.judged = number
        watch.reason = reason
        watch.failing = not success
        before = watch.standing
        after = judge(
            before,
            success=success,
            now=self._clock.seconds(),
            down_after=self._settings.down_after,
            up_after=self._settings.up_after,
        )
        if before.healthy and not after.healthy and self._is_cut_off():
            self._suspect(watch)
            return
        watch.standing = after
        if after.healthy != before.healthy:
            self._changed(watch)
        if after.pending and after.healthy:
            self._suspect(watch)
        self._limit_the_ttl()

    def _is_cut_off(self) -> bool:
        """Whether it is our own network that fails, so that the last verdicts must stand."""
        cut_off = (
            self._reference_known
            and not self._reference_answers
            and all(watch.failing for watch in self._watches)
        )
        if cut_off != self._keeping:
            self._keeping = cut_off
            if cut_off:
                self._log.warn(
                    "keeping the last verdicts: every proxy fails, and so does our own network"
                )
        return cut_off

    def _limit_the_ttl(self) -> None:
        pending = any(watch.standing.pending for watch in self._watches)
        limit = math.ceil(self._settings.interval) if pending else None
        if limit != self.ttl_limit:
            self.ttl_limit = limit
            self.revision += 1

    def _count_healthy(self) -> None:
        self._healthy = tuple(
            watch.target.address for watch in self._watches if watch.standing.healthy
        )
        self.revision += 1

    def _changed(self, watch: _Watch) -> None:
        now = self._clock.seconds()
        lasted, watch.since = now - watch.since, now
        self._count_healthy()
        self.serial = max(self.serial + 1, int(now))
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
        self._tasks.start(self._remember(), "remembering the verdicts")
        for listener in self._listeners:
            try:
                listener(verdict)
            except Exception:  # one listener's fault is not the verdict's
                self._log.failure("a listener of verdicts failed")

    async def _remember(self) -> None:
        if self._path is None or self._pool is None:
            return
        try:
            await self._pool.run(memory.write, self._path, self.serial, self.verdicts())
        except (OSError, Overloaded) as error:
            self._log.error("cannot remember the verdicts: {error}", error=str(error))


def _verdict(watch: _Watch) -> Verdict:
    return Verdict(watch.target.address, watch.standing.healthy, watch.since, watch.reason)
