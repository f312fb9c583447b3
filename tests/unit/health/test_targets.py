"""Which URL is probed for which proxy, and what is said when that is not clear."""

from __future__ import annotations

import ipaddress

import pytest

from watchducks.background import StartupError
from watchducks.health.targets import HEALTH_PATH, Target, find_targets

ONE, TWO, SIX = map(ipaddress.ip_address, ("203.0.113.10", "203.0.113.11", "2001:db8::10"))


@pytest.mark.parametrize(
    ("http", "port"),
    [
        (["tcp:80"], 80),
        (["tcp:port=8080"], 8080),
        (["tcp:8080:interface=127.0.0.1"], 8080),
        (["systemd:http"], 80),
        (["systemd:http", "tcp:8081:interface=127.0.0.1"], 80),
        (["tcp:80", "tcp:81"], 80),
    ],
)
def test_urls_are_derived_from_the_first_tcp_port(http: list[str], port: int) -> None:
    assert find_targets([], [ONE, SIX], http, []) == (
        Target(ONE, (f"http://203.0.113.10:{port}{HEALTH_PATH}",)),
        Target(SIX, (f"http://[2001:db8::10]:{port}{HEALTH_PATH}",)),
    )


def test_http_and_https_are_both_probed() -> None:
    assert find_targets([], [ONE], ["tcp:80"], ["tcp:443"]) == (
        Target(
            ONE,
            (f"http://203.0.113.10:80{HEALTH_PATH}", f"https://203.0.113.10:443{HEALTH_PATH}"),
        ),
    )


def test_a_proxy_for_https_alone_is_probed_there() -> None:
    (target,) = find_targets([], [ONE], [], ["tcp:443"])
    assert target.urls == (f"https://203.0.113.10:443{HEALTH_PATH}",)


def test_urls_that_are_given_are_taken_in_the_order_of_the_addresses() -> None:
    urls = ["https://[2001:db8::10]:8443/up", "http://203.0.113.10/"]
    assert find_targets(urls, [ONE, SIX], [], []) == (
        Target(ONE, (urls[1],)),
        Target(SIX, (urls[0],)),
    )


def test_one_proxy_may_have_several_urls_and_one_named_twice_is_asked_once() -> None:
    urls = ["http://203.0.113.10/", "https://203.0.113.10/", "http://203.0.113.10/"]
    assert find_targets(urls, [ONE], [], []) == (Target(ONE, tuple(urls[:2])),)


def test_an_address_named_twice_is_probed_once() -> None:
    assert len(find_targets([], [ONE, ONE], ["tcp:80"], [])) == 1


@pytest.mark.parametrize(
    ("urls", "addresses", "http", "message"),
    [
        ([], [], ["tcp:80"], r"^proxy\.addresses: "),
        ([], [ONE], [], r"^nameserver\.health\.targets: empty, and neither"),
        ([], [ONE], ["tcp:0"], r"^nameserver\.health\.targets: empty"),
        (["http://proxy.example/"], [ONE], [], r"http://proxy\.example/: its host must be an IP"),
        (["http:///x"], [ONE], [], r"its host must be an IP"),
        (["http://203.0.113.11/"], [ONE], [], r"203\.0\.113\.11 is not one of proxy\.addresses"),
        (["http://203.0.113.10/"], [ONE, TWO], [], r"no URL for 203\.0\.113\.11"),
    ],
)
def test_what_is_not_clear_is_named(
    urls: list[str], addresses: list[ipaddress.IPv4Address], http: list[str], message: str
) -> None:
    with pytest.raises(StartupError, match=message):
        find_targets(urls, addresses, http, [])
