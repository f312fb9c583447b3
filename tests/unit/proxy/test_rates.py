"""Limits per client."""

from __future__ import annotations

from twisted.internet.task import Clock

from watchducks.proxy.rates import MAX_CLIENTS, ClientRates, client_of


def rates(connections: int = 0, per_second: float = 0.0) -> tuple[ClientRates, Clock]:
    clock = Clock()
    return ClientRates(connections=connections, requests_per_second=per_second, clock=clock), clock


def test_a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() -> None:
    assert client_of("203.0.113.9") == "203.0.113.9"
    assert client_of("2001:db8:1:2:3:4:5:6") == client_of("2001:db8:1:2::1")
    assert client_of("2001:db8:1:3::1") != client_of("2001:db8:1:2::1")
    assert client_of("") == ""
    assert client_of("not:an:address") == "not:an:address"


def test_requests_are_allowed_in_a_burst_and_then_at_their_rate() -> None:
    limits, clock = rates(per_second=5)
    assert [limits.allows("203.0.113.9") for _ in range(11)] == [True] * 10 + [False]
    assert limits.allows("203.0.113.10")  # somebody else's bucket
    clock.advance(0.2)
    assert [limits.allows("203.0.113.9") for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [limits.allows("203.0.113.9") for _ in range(11)] == [True] * 10 + [False]


def test_less_than_one_a_second_still_allows_one() -> None:
    limits, clock = rates(per_second=0.1)
    assert limits.allows("203.0.113.9")
    clock.advance(9)
    assert not limits.allows("203.0.113.9")
    clock.advance(1.1)
    assert limits.allows("203.0.113.9")


def test_without_a_rate_everything_is_allowed() -> None:
    limits, _ = rates(connections=1)
    assert all(limits.allows("203.0.113.9") for _ in range(1000))


def test_the_clients_remembered_are_bounded_and_the_busy_ones_stay() -> None:
    limits, _ = rates(per_second=1)
    assert [limits.allows("203.0.113.9") for _ in range(3)] == [True, True, False]
    for number in range(MAX_CLIENTS + 10):
        limits.allows(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        if number % 1000 == 0:
            assert not limits.allows("203.0.113.9")
    assert len(limits._buckets) == MAX_CLIENTS


def test_connections_are_counted_and_nothing_stays_of_those_that_ended() -> None:
    limits, _ = rates(connections=2)
    assert limits.limits_connections
    assert [limits.connected("2001:db8::1") for _ in range(3)] == [True, True, False]
    assert not limits.connected("2001:db8::2")  # the same /64
    limits.disconnected("2001:db8::1")
    assert limits.connected("2001:db8::3")
    for _ in range(2):
        limits.disconnected("2001:db8::1")
    assert not limits._connections
