"""Response rate limiting, and what counts as one network."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from watchducks.nameserver import guard
from watchducks.nameserver.guard import Kind, RateLimit, Verdict, network_of, packed_address

ZONE = Kind(b"\7example\3com\0", b"")
NETWORK = "192.0.2"


def test_beyond_the_limit_each_second_response_is_cut_and_the_others_are_dropped() -> None:
    limit = RateLimit(3, clock=Clock())
    verdicts = [limit.verdict(NETWORK, ZONE) for _ in range(7)]
    assert verdicts == [Verdict.SEND] * 3 + [Verdict.DROP, Verdict.TRUNCATE] * 2


def test_networks_and_kinds_have_limits_of_their_own() -> None:
    limit = RateLimit(1, clock=Clock())
    others = (
        (NETWORK, Kind(ZONE.zone, b"3")),
        (NETWORK, Kind(b"\7example\3org\0", b"")),
        ("192.0.3", ZONE),
    )
    for network, kind in ((NETWORK, ZONE), *others):
        assert limit.verdict(network, kind) is Verdict.SEND
        assert limit.verdict(network, kind) is not Verdict.SEND


def test_one_network_has_a_limit_over_all_kinds_which_what_is_dropped_does_not_use_up() -> None:
    clock = Clock()
    limit = RateLimit(2, clock=clock)
    for _ in range(100):
        limit.verdict(NETWORK, ZONE)
    kinds = [Kind(b"%d" % number, b"") for number in range(2 * guard.KINDS_TOGETHER)]
    verdicts = [limit.verdict(NETWORK, kind) for kind in kinds]
    within = 2 * guard.KINDS_TOGETHER - 2
    assert verdicts == [Verdict.SEND] * within + [Verdict.DROP, Verdict.TRUNCATE]
    assert limit.verdict("192.0.3", kinds[-1]) is Verdict.SEND
    clock.advance(1)
    assert limit.verdict(NETWORK, kinds[-1]) is Verdict.SEND


def test_the_next_second_begins_anew() -> None:
    clock = Clock()
    limit = RateLimit(1, clock=clock)
    limit.verdict(NETWORK, ZONE)
    clock.advance(0.9)
    assert limit.verdict(NETWORK, ZONE) is Verdict.DROP
    clock.advance(0.1)
    assert limit.verdict(NETWORK, ZONE) is Verdict.SEND


def test_a_full_table_opens_no_account_and_amplifies_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1_000_000, clock=clock)
    limit.verdict(NETWORK, ZONE)
    for number in range(guard.MAX_ACCOUNTS - 1):
        limit.verdict(str(number), ZONE)
    assert limit.verdict("one more", ZONE) is Verdict.TRUNCATE
    assert limit.verdict(NETWORK, ZONE) is Verdict.SEND
    assert len(limit._accounts) == guard.MAX_ACCOUNTS
    clock.advance(1)
    assert limit.verdict("one more", ZONE) is Verdict.SEND


@pytest.mark.parametrize(
    ("host", "network", "packed"),
    [
        ("192.0.2.77", "192.0.2", bytes((192, 0, 2, 77))),
        ("::ffff:192.0.2.77", "192.0.2", bytes((192, 0, 2, 77))),
        ("2001:db8:1:203::1", bytes.fromhex("20010db8000102"), None),
        ("2001:db8:1:2ff::1", bytes.fromhex("20010db8000102"), None),
        ("fe80::1%lo", bytes.fromhex("fe800000000000"), None),
        ("", "", b""),
    ],
)
def test_addresses(host: str, network: str | bytes, packed: bytes | None) -> None:
    assert network_of(host) == network
    assert packed_address(host) == packed if packed is not None else len(packed_address(host)) == 16
