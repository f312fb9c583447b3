"""Which exchanges share connections, and where these lead: without sockets."""

from __future__ import annotations

from typing import Literal

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from watchducks.model.origins import parse_origin
from watchducks.model.routing import Route
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.limits import Limits
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
    assert OriginKey.of(route(http, PINNED), "https") == OriginKey.of(route(http), "http")


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
    leasing = Deferred.fromCoroutine(pool.lease(replayable=True))
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

    waiting = [Deferred.fromCoroutine(pool.lease(replayable=True)) for _ in range(4)]
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
