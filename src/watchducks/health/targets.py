"""Which URL tells the health of which proxy. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from watchducks.background import StartupError
from watchducks.model.origins import Address

HEALTH_PATH: Final = "/.well-known/watchducks/health"
# Twisted's endpoint string: "tcp:8080", "tcp:port=8080", "tcp:8080:interface=127.0.0.1".
_TCP_PORT: Final = re.compile(r"tcp:(?:port=)?([0-9]{1,5})(?::.*)?")


@dataclass(frozen=True, slots=True)
class Target:
    """One proxy and the URL to probe."""

    address: Address
    url: str


def find_targets(
    urls: Sequence[str], addresses: Sequence[Address], http: Sequence[str]
) -> tuple[Target, ...]:
    """Return one target for each of ``addresses``, in their order.

    :param urls: ``nameserver.health.targets``; each URL's host is one of ``addresses``.
    :param addresses: ``proxy.addresses``.
    :param http: ``proxy.http``, from whose first TCP port the URLs are derived if there are none.
    :raises StartupError: a proxy has no URL, or a URL has no proxy.
    """
    if not addresses:
        raise StartupError("proxy.addresses: empty; there is no proxy for DNS to answer with")
    chosen = _given(urls, addresses) if urls else _derived(addresses, http)
    return tuple(Target(address, chosen[address]) for address in dict.fromkeys(addresses))


def _given(urls: Sequence[str], addresses: Sequence[Address]) -> dict[Address, str]:
    chosen: dict[Address, str] = {}
    for url in urls:
        try:
            address = ipaddress.ip_address(urlsplit(url).hostname or "")
        except ValueError:
            raise StartupError(
                f"nameserver.health.targets: {url}: its host must be an IP address"
                " (one of proxy.addresses)"
            ) from None
        if address not in addresses:
            raise StartupError(
                f"nameserver.health.targets: {url}: {address} is not one of proxy.addresses"
            )
        if address in chosen:
            raise StartupError(f"nameserver.health.targets: {url}: a second URL for {address}")
        chosen[address] = url
    for address in addresses:
        if address not in chosen:
            raise StartupError(
                f"nameserver.health.targets: no URL for {address} of proxy.addresses"
            )
    return chosen


def _derived(addresses: Sequence[Address], http: Sequence[str]) -> dict[Address, str]:
    ports = [int(match[1]) for text in http if (match := _TCP_PORT.fullmatch(text))]
    if not ports or not 1 <= ports[0] <= 65_535:
        raise StartupError(
            "nameserver.health.targets: empty, and proxy.http has no fixed tcp: port to probe;"
            " list one health URL for each of proxy.addresses"
        )
    return {address: f"http://{_in_url(address)}:{ports[0]}{HEALTH_PATH}" for address in addresses}


def _in_url(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
