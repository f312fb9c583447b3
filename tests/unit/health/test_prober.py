"""The prober on a clock made for tests, with probes that answer when the test says so."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from watchducks.background import StartupError
from watchducks.health.probe import ProbeFailed
from watchducks.health.prober import (
    FILE_NAME,
    FIRST_INTERVAL_SECONDS,
    MAX_OUTSTANDING_PROBES,
    SUSPICION,
    Health,
)
from watchducks.model.origins import Address
from watchducks.model.verdicts import Verdict
from watchducks.settings import HealthSettings, ProxySettings

P = ParamSpec("P")
T = TypeVar("T")
ONE, TWO = map(ipaddress.ip_address, ("203.0.113.10", "203.0.113.11"))
START = 1_800_000_000.0
OUTCOMES = {True: None, False: ProbeFailed("connection refused")}


class Proxies:
    """Stands in for HTTP: each proxy answers, refuses, or hangs until its timeout.

    :ivar answers: True, False, or None for a proxy that is frozen.
    """

    def __init__(self, clock: Clock, timeout: float) -> None:
        self.answers: dict[Address, bool | None] = {ONE: True, TWO: True}
        self.waiting: list[Deferred[None]] = []
        self.asked: list[tuple[float, str]] = []
        self._clock = clock
        self._timeout = timeout

    async def __call__(self, url: str) -> None:
        self.asked.append((self._clock.seconds() - START, url))
        address = next(address for address in self.answers if str(address) in url)
        answer = self.answers[address]
        if answer is None:
            hanging: Deferred[None] = Deferred()
            self.waiting.append(hanging)
            timeout = self._clock.callLater(
                self._timeout, hanging.errback, ProbeFailed("no answer")
            )
            try:
                await hanging
            finally:
                self.waiting.remove(hanging)
                if timeout.active():
                    timeout.cancel()
        elif not answer:
            raise ProbeFailed("connection refused")


class Probing:
    def __init__(
        self,
        addresses: Sequence[Address] = (ONE,),
        *,
        network: Network | None = None,
        state_dir: Path | None = None,
        **settings: float,
    ) -> None:
        self.network = network or Network()
        self.clock = Clock()
        self.clock.advance(START)
        self.settings = HealthSettings(**settings)  # type: ignore[arg-type]
        self.proxies = Proxies(self.clock, self.settings.timeout)
        self.changes: list[tuple[float, Verdict]] = []
        self.health = Health(
            self.settings,
            ProxySettings(addresses=tuple(addresses), http=("tcp:80",), https=()),
            reactor=self.clock,
            probe=self.proxies,
            reference=network,
            state_dir=state_dir,
            pool=AtOnce(),
        )
        self.health.on_change(lambda verdict: self.changes.append((self.now, verdict)))

    def ttl_limit(self) -> int | None:
        return self.health.ttl_limit

    @property
    def now(self) -> float:
        return round(self.clock.seconds() - START, 3)

    def start(self) -> None:
        succeed(Deferred.fromCoroutine(self.health.start()))

    def run(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))

    def stop(self) -> None:
        succeed(Deferred.fromCoroutine(self.health.stop()))
        assert self.proxies.waiting == []
        assert self.clock.getDelayedCalls() == []


def succeed(deferred: Deferred[None]) -> None:
    """Assert that ``deferred`` is done, and raise what it failed with."""
    results: list[object] = []
    _ = deferred.addBoth(results.append)
    assert results == [None], results


def test_proxies_are_presumed_healthy_and_stay_so() -> None:
    probing = Probing([ONE, TWO])
    assert probing.health.healthy_addresses() == (ONE, TWO)
    assert probing.health.verdicts() == ()
    probing.start()
    probing.run(30)
    assert probing.health.healthy_addresses() == (ONE, TWO)
    assert probing.changes == []
    assert [verdict.reason for verdict in probing.health.verdicts()] == ["answers", "answers"]
    probing.stop()


def test_the_first_probes_come_quickly_and_then_one_each_interval() -> None:
    probing = Probing(interval=2.0, down_after=3)
    probing.start()
    probing.run(9)
    times = [round(when, 1) for when, _ in probing.proxies.asked]
    assert (
        times
        == [0.0, FIRST_INTERVAL_SECONDS, 2 * FIRST_INTERVAL_SECONDS, 3.0, 5.0, 7.0, 9.0][
            : len(times)
        ]
    )
    assert len(times) >= 6
    probing.stop()


def test_a_proxy_that_is_dead_at_our_start_is_out_soon() -> None:
    probing = Probing(interval=2.0, timeout=2.0)
    probing.proxies.answers[ONE] = False
    probing.start()
    probing.run(2 * FIRST_INTERVAL_SECONDS + 0.1)
    assert probing.health.healthy_addresses() == ()
    probing.stop()


def test_a_proxy_that_comes_up_a_moment_after_us_is_never_out() -> None:
    probing = Probing(interval=2.0)
    probing.proxies.answers[ONE] = False
    probing.start()
    probing.run(FIRST_INTERVAL_SECONDS + 0.1)
    probing.proxies.answers[ONE] = True
    probing.run(20)
    assert probing.changes == []
    probing.stop()


@pytest.mark.parametrize("timeout", [0.5, 2.0, 5.0])
def test_a_frozen_proxy_is_out_soon_after_its_first_probe_whatever_the_timeout(
    timeout: float,
) -> None:
    probing = Probing(interval=2.0, timeout=timeout, down_after=3)
    probing.start()
    probing.run(11.1)  # probes at 7, 9, 11, ...
    frozen = probing.now
    probing.proxies.answers[ONE] = None
    probing.run(3 * 2.0 + timeout + 0.2)
    assert probing.health.healthy_addresses() == ()
    ((when, verdict),) = probing.changes
    # Begun at 13, 13.7 and 14.3, because it is slow; the third one's timeout decides.
    assert when == pytest.approx(13 + 2 * 2.0 / SUSPICION + timeout, abs=0.2)
    assert when - frozen <= 6 or timeout > 2
    assert (verdict.address, verdict.healthy, verdict.reason) == (ONE, False, "no answer")
    probing.stop()


def test_a_proxy_that_refuses_is_asked_again_soon_and_may_take_a_second_to_restart() -> None:
    probing = Probing(interval=2.0)
    probing.start()
    probing.run(8.9)
    probing.proxies.answers[ONE] = False
    probing.run(0.2 + 1.2)
    first, second = (when for when, _ in probing.proxies.asked[-2:])
    assert second - first == pytest.approx(2.0 / SUSPICION, abs=0.02)
    probing.proxies.answers[ONE] = True
    probing.run(20)
    assert probing.changes == []
    probing.proxies.answers[ONE] = False
    probing.run(2 + 1.5)
    assert [verdict.healthy for _, verdict in probing.changes] == [False]
    probing.stop()


def test_answers_are_short_lived_while_a_verdict_is_pending() -> None:
    probing = Probing(interval=2.0)
    probing.start()
    probing.run(9.5)
    assert probing.ttl_limit() is None
    quiet, serial = probing.health.revision, probing.health.serial
    probing.proxies.answers[ONE] = False
    probing.run(1.7)
    assert probing.ttl_limit() == 2
    assert probing.changes == []
    assert probing.health.revision > quiet
    assert probing.health.serial == serial, "nothing that a secondary would have to fetch"
    probing.run(4)
    assert [verdict.healthy for _, verdict in probing.changes] == [False]
    assert probing.ttl_limit() is None
    probing.proxies.answers[ONE] = True
    probing.run(2.1)
    assert probing.ttl_limit() == 2
    probing.stop()


class Network:
    """Stands in for what should answer as long as our own network works."""

    works = True

    async def answers(self) -> bool:
        return self.works


def test_a_name_server_that_is_cut_off_keeps_its_verdicts() -> None:
    probing = Probing([ONE, TWO], network=Network())
    probing.start()
    probing.run(9)
    probing.network.works = False
    probing.proxies.answers.update({ONE: False, TWO: False})
    with capturedLogs() as events:
        probing.run(60)
    assert probing.health.healthy_addresses() == (ONE, TWO)
    warnings = [event for event in events if event["log_level"] is LogLevel.warn]
    assert len(warnings) == 1, "said once"
    # The network is back, and the proxies are still away: so it was not the network.
    probing.network.works = True
    probing.run(10)
    assert probing.health.healthy_addresses() == ()
    probing.stop()


def test_one_proxy_that_answers_proves_the_network() -> None:
    probing = Probing([ONE, TWO], network=Network())
    probing.start()
    probing.run(9)
    probing.network.works = False
    probing.proxies.answers[ONE] = False
    probing.run(10)
    assert probing.health.healthy_addresses() == (TWO,)
    probing.stop()


def test_a_reference_that_never_answered_tells_nothing_by_its_silence() -> None:
    network = Network()
    network.works = False
    probing = Probing(network=network)
    probing.start()
    probing.proxies.answers[ONE] = False
    probing.run(10)
    assert probing.health.healthy_addresses() == ()
    probing.stop()


class AtOnce:
    """Stands in for threads."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


def test_a_restart_during_an_outage_goes_on_as_it_was(tmp_path: Path) -> None:
    probing = Probing([ONE, TWO], state_dir=tmp_path)
    probing.proxies.answers[ONE] = False
    probing.start()
    probing.run(10)
    probing.stop()
    again = Probing([ONE, TWO], state_dir=tmp_path)
    again.proxies.answers[ONE] = None  # says nothing yet
    again.start()
    assert again.health.healthy_addresses() == (TWO,)
    assert again.health.verdicts()[0].reason == "connection refused"
    assert again.health.serial >= probing.health.serial
    again.stop()


@pytest.mark.parametrize("content", ["", "{}", '{"serial": 1, "verdicts": [3]}', "[" * 100_000])
def test_a_damaged_memory_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    probing = Probing(state_dir=tmp_path)
    probing.start()
    assert probing.health.healthy_addresses() == (ONE,)
    probing.stop()


def test_a_disk_that_is_full_only_costs_the_memory(tmp_path: Path) -> None:
    probing = Probing(state_dir=tmp_path / "missing" / "\0")
    probing.proxies.answers[ONE] = False
    probing.start()
    with capturedLogs() as events:
        probing.run(10)
    assert probing.health.healthy_addresses() == ()
    assert [event for event in events if event["log_level"] >= LogLevel.error]
    probing.stop()


def test_a_proxy_comes_back_after_up_after_successes_and_one_failure_begins_anew() -> None:
    probing = Probing(interval=1.0, down_after=1, up_after=3)
    probing.start()
    probing.run(0.5)
    for answers, expected in (
        ([False], ()),
        ([True, True], ()),
        ([False], ()),
        ([True, True], ()),
        ([True], (ONE,)),
    ):
        for answer in answers:
            probing.proxies.answers[ONE] = answer
            probing.run(1)
        assert probing.health.healthy_addresses() == expected
    assert [verdict.healthy for _, verdict in probing.changes] == [False, True]
    probing.stop()


def test_each_proxy_has_a_verdict_of_its_own_in_the_configured_order() -> None:
    probing = Probing([TWO, ONE], interval=1.0, down_after=2, up_after=2)
    probing.start()
    probing.run(3)
    probing.proxies.answers[TWO] = False
    probing.run(3)
    assert probing.health.healthy_addresses() == (ONE,)
    probing.proxies.answers[TWO] = True
    probing.run(3)
    assert probing.health.healthy_addresses() == (TWO, ONE)
    probing.stop()


def test_the_serial_grows_with_each_change_and_over_a_restart() -> None:
    probing = Probing(interval=1.0, down_after=1, up_after=1)
    first = probing.health.serial
    assert first == int(START)
    probing.start()
    probing.proxies.answers[ONE] = False
    probing.run(30)
    second = probing.health.serial
    assert first < second <= probing.clock.seconds()
    probing.stop()
    again = Health(
        probing.settings,
        ProxySettings(addresses=(ONE,), http=("tcp:80",), https=()),
        reactor=probing.clock,
        probe=probing.proxies,
    )
    assert again.serial >= second


def test_probes_under_way_are_bounded() -> None:
    probing = Probing(interval=1.0, timeout=60.0)
    probing.proxies.answers[ONE] = None
    probing.start()
    probing.run(50)
    assert len(probing.proxies.waiting) == MAX_OUTSTANDING_PROBES
    probing.stop()


def test_a_result_that_a_newer_one_overtook_does_not_count() -> None:
    probing = Probing(interval=1.0, timeout=3.0, down_after=1, up_after=1)
    probing.start()
    probing.run(1.5)
    probing.proxies.answers[ONE] = None
    probing.run(1)  # one probe hangs ...
    probing.proxies.answers[ONE] = True
    probing.run(5)  # ... while later ones succeed, before its timeout and after it
    assert probing.changes == []
    probing.stop()


def test_changes_are_logged_with_how_long_the_last_verdict_lasted() -> None:
    probing = Probing(interval=1.0, down_after=1, up_after=1)
    with capturedLogs() as events:
        probing.start()
        probing.run(10.5)
        probing.proxies.answers[ONE] = False
        probing.run(1)
        probing.proxies.answers[ONE] = True
        probing.run(5)
    changes = [event for event in events if "lasted" in event]
    assert [
        (event["log_level"], event["verdict"], event["reason"], event["lasted"], event["address"])
        for event in changes
    ] == [
        (LogLevel.warn, "down", "connection refused", pytest.approx(11, abs=0.6), str(ONE)),
        (LogLevel.info, "healthy", "answers", pytest.approx(1, abs=0.1), str(ONE)),
    ]
    probing.stop()


def test_a_listener_that_fails_is_logged_and_stops_nothing() -> None:
    probing = Probing(interval=1.0, down_after=1)

    def broken(verdict: Verdict) -> None:
        raise RuntimeError("a bug")

    probing.health.on_change(broken)
    later: list[Verdict] = []
    probing.health.on_change(later.append)
    with capturedLogs() as events:
        probing.start()
        probing.proxies.answers[ONE] = False
        probing.run(3)
    assert len(later) == 1
    assert [event for event in events if event["log_level"] is LogLevel.critical]
    probing.stop()


def test_nothing_to_probe_is_a_startup_error_and_nothing_runs() -> None:
    clock = Clock()
    health = Health(
        HealthSettings(), ProxySettings(addresses=(ONE,), http=(), https=()), reactor=clock
    )
    failures: list[object] = []
    _ = Deferred.fromCoroutine(health.start()).addErrback(failures.append)
    assert [getattr(failure, "type", None) for failure in failures] == [StartupError]
    assert clock.getDelayedCalls() == []
