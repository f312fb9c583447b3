"""Which exchanges share connections, and where these lead: without sockets."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.wire.world import Transport
from watchducks.model.origins import parse_origin
from watchducks.model.routing import Route
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.limits import Limits
from watchducks.proxy.origin import OriginConnection
from watchducks.proxy.pool import OriginKey, OriginPools

PINNED = SiteChoices("pinned", "ab" * 32)


def route(
    origin: str, choices: SiteChoices = DEFAULT_CHOICES, *, domain: str = "ducks.example"
) -> Route:
    return Route(1, "ducks", domain, parse_origin(origin), choices)


def test_only_what_is_believed_for_the_same_reason_is_shared() -> None:
    https = "https://203.0.113.7"
    keys = [
        OriginKey.of(route(https, choices), "http")
        for choices in (
            DEFAULT_CHOICES,
            SiteChoices("off"),
            PINNED,
            SiteChoices("pinned", "cd" * 32),
        )
    ]
    assert len(set(keys)) == 4
    # How the visitors are treated makes no difference towards the origin.
    treated = SiteChoices(redirect_to_https=True, hsts_seconds=9)
    assert OriginKey.of(route(https, treated), "https") == keys[0]
    assert OriginKey.of(route(https, domain="geese.example"), "http") not in keys


def test_a_plain_origin_has_nothing_to_believe() -> None:
    http = "http://203.0.113.7:8080"
    key = OriginKey.of(route(http), "http")
    assert OriginKey.of(route(http, PINNED), "https") == key
    assert OriginKey.of(route(http, domain="geese.example"), "http") == key


@pytest.mark.parametrize(
    ("origin", "visitor_scheme", "host", "port"),
    [
        ("203.0.113.7", "http", "203.0.113.7", 80),
        ("203.0.113.7", "https", "203.0.113.7", 443),
        ("http://203.0.113.7:8080", "https", "203.0.113.7", 8080),
        ("2001:db8::7", "https", "2001:db8::7", 443),
        ("https://[2001:db8::7]:8443", "http", "2001:db8::7", 8443),
    ],
)
def test_connections_lead_to_the_origins_address_and_port(
    origin: str, visitor_scheme: Literal["http", "https"], host: str, port: int
) -> None:
    reactor = MemoryReactorClock()
    limits = Limits()
    pools = OriginPools(reactor=reactor, deadlines=Deadlines(reactor), limits=limits)
    pool = pools.of(route(origin), visitor_scheme)
    leasing = Deferred.fromCoroutine(pool.lease(object(), replayable=True))
    ((to_host, to_port, _factory, timeout, _bind),) = reactor.tcpClients
    assert (to_host, to_port, timeout) == (host, port, limits.connect_seconds)
    assert len(pools) == 1
    leasing.cancel()
    failures: list[object] = []
    _ = leasing.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [CancelledError]
    assert len(pools) == 0


def test_who_waits_too_long_in_line_is_told_and_forgotten() -> None:
    reactor = MemoryReactorClock()
    limits = Limits(origin_connecting=1, origin_queue=2, connect_seconds=60)
    pools = OriginPools(reactor=reactor, deadlines=Deadlines(reactor), limits=limits)
    pool = pools.of(route("http://203.0.113.7"), "http")
    reasons: list[Reason] = []

    def refused(failure: Failure) -> None:
        error = failure.value
        assert isinstance(error, OriginFailure)
        reasons.append(error.reason)

    waiting = [Deferred.fromCoroutine(pool.lease(object(), replayable=True)) for _ in range(4)]
    for one in waiting[1:]:
        _ = one.addErrback(refused)
    # One connects, two wait, and for the fourth there is no room.
    assert [one.called for one in waiting] == [False, False, False, True]
    assert len(reactor.tcpClients) == 1
    reactor.advance(limits.origin_queue_seconds)
    assert [one.called for one in waiting] == [False, True, True, True]
    assert reasons == [Reason.OVERLOADED] * 3
    assert not pool._waiting
    _ = waiting[0].addErrback(lambda _failure: None)
    waiting[0].cancel()
    assert len(pools) == 0


def test_a_burst_that_finds_no_kept_connection_is_served() -> None:
    reactor = MemoryReactorClock()
    limits = Limits()
    pools = OriginPools(reactor=reactor, deadlines=Deadlines(reactor), limits=limits)
    pool = pools.of(route("http://203.0.113.7"), "http")
    # As many as may be served at once; one more is one too many.
    several = [
        Deferred.fromCoroutine(pool.lease(object(), replayable=True))
        for _ in range(limits.origin_exchanges + 1)
    ]
    assert [one.called for one in several] == [False] * limits.origin_exchanges + [True]
    for one in several:
        _ = one.addErrback(lambda _failure: None)
        one.cancel()
    assert len(pools) == 0


class Leases:
    """Exchanges with one origin, whose connections are made at once."""

    def __init__(self, limits: Limits) -> None:
        self.reactor: Any = MemoryReactorClock()
        deadlines = Deadlines(self.reactor)
        deadlines.start()
        self.pools = OriginPools(reactor=self.reactor, deadlines=deadlines, limits=limits)
        self.made = 0

    def lease(self, count: int, origin: str = "http://203.0.113.7") -> list[OriginConnection]:
        pool = self.pools.of(route(origin), "http")
        got: list[OriginConnection] = []
        for _ in range(count):
            connection = pool.take(replayable=True)
            if connection is not None:
                got.append(connection)
                continue
            leasing = Deferred.fromCoroutine(pool.lease(object(), replayable=True))
            _ = leasing.addCallback(got.append)
            factory = self.reactor.tcpClients[-1][2]
            transport = Transport()
            factory.buildProtocol(None).makeConnection(transport)
            self.made += 1
        assert len(got) == count
        return got

    def release(self, connections: list[OriginConnection]) -> None:
        for connection in connections:
            connection._pool.release(connection, reusable=True)

    def turn(self, seconds: float) -> None:
        self.reactor.pump([0.25] * int(seconds * 4))


def test_a_steady_load_makes_no_connections_and_a_burst_leaves_few_behind() -> None:
    limits = Limits()
    leases = Leases(limits)
    for _ in range(20):  # 256 streams whose answers come in a bunch
        leases.release(leases.lease(256))
        leases.turn(limits.pooled_burst_seconds / 2)
    assert leases.made == 256
    leases.turn(limits.pooled_burst_seconds + 1)
    assert leases.pools.idle == limits.pooled_per_origin
    leases.turn(limits.pooled_idle_seconds + 1)
    assert leases.pools.idle == len(leases.pools) == 0


def test_bursts_take_only_half_of_what_all_origins_may_keep() -> None:
    limits = Limits(pooled_per_origin=10, pooled_total=200, origin_exchanges=80)
    leases = Leases(limits)
    for number in range(5):
        leases.release(leases.lease(80, f"http://203.0.113.{number}"))
    # 80, 20 of the second's, and 10 of each after it
    assert leases.pools.idle == 80 + 20 + 10 + 10 + 10
    for number in range(5, 20):
        leases.release(leases.lease(80, f"http://203.0.113.{number}"))
    assert leases.pools.idle == limits.pooled_total


def test_the_way_to_a_pool_is_remembered_for_so_many_sites() -> None:
    leases = Leases(Limits())
    held = leases.lease(1)
    pools = leases.pools
    for site_id in range(3 * 4096):
        site = Route(site_id, "ducks", "a.example", parse_origin("http://203.0.113.7"))
        assert pools.of(site, "http") is held[0]._pool
    assert len(pools) == 1
    assert len(pools._by_site) <= 4096
    assert len(held[0]._pool.sites) <= 4096


def test_of_a_site_whose_origin_is_not_used_nothing_is_remembered() -> None:
    reactor = MemoryReactorClock()
    pools = OriginPools(reactor=reactor, deadlines=Deadlines(reactor), limits=Limits())
    for site_id in range(3):
        site = Route(site_id, "ducks", "a.example", parse_origin(f"http://203.0.113.{site_id}"))
        pool = pools.of(site, "http")
        left = Deferred.fromCoroutine(pool.lease(object(), replayable=True))
        _ = left.addErrback(lambda _failure: None)
        assert len(pools._by_site) == 1
        left.cancel()
        assert not pools._by_site
        assert not pool.sites
