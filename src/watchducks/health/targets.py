"""Which URLs tell the health of which proxy. Pure."""

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
    """One proxy and the URLs to probe: it is healthy when every one of them answers."""

    address: Address
    urls: tuple[str, ...]


def find_targets(
    urls: Sequence[str],
    addresses: Sequence[Address],
    http: Sequence[str],
    https: Sequence[str],
) -> tuple[Target, ...]:
    """Return one target for each of ``addresses``, in their order.

    :param urls: ``nameserver.health.targets``; each URL's host is one of ``addresses``.
    :param addresses: ``proxy.addresses``.
    :param http: ``proxy.http``; the first fixed TCP port of each kind is probed if no URL is given
        (80 and 443 of sockets that systemd opens).
    :param https: ``proxy.https``.
    :raises StartupError: a proxy has no URL, or a URL has no proxy.
    """
    if not addresses:
        raise StartupError("proxy.addresses: empty; there is no proxy for DNS to answer with")
    chosen = _given(urls, addresses) if urls else _derived(addresses, http, https)
    return tuple(Target(address, chosen[address]) for address in dict.fromkeys(addresses))


def _given(urls: Sequence[str], addresses: Sequence[Address]) -> dict[Address, tuple[str, ...]]:
    chosen: dict[Address, tuple[str, ...]] = {}
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
        chosen[address] = tuple(dict.fromkeys((*chosen.get(address, ()), url)))
    for address in addresses:
        if address not in chosen:
            raise StartupError(
                f"nameserver.health.targets: no URL for {address} of proxy.addresses"
            )
    return chosen


def _derived(
    addresses: Sequence[Address], http: Sequence[str], https: Sequence[str]
) -> dict[Address, tuple[str, ...]]:
    ports = {"http": _fixed_port(http, 80), "https": _fixed_port(https, 443)}
    if not any(ports.values()):
        raise StartupError(
            "nameserver.health.targets: empty, and neither proxy.http nor proxy.https has a fixed"
            " tcp: port to probe; list the health URLs of each of proxy.addresses"
        )
    return {
        address: tuple(
            f"{scheme}://{_in_url(address)}:{port}{HEALTH_PATH}"
            for scheme, port in ports.items()
            if port
        )
        for address in addresses
    }


def _fixed_port(endpoints: Sequence[str], usual: int) -> int | None:
    """Return the first TCP port; None if there is none, or the system chooses it.

    :param usual: of sockets that systemd opens: their port is in its units, and visitors, who come
        by DNS, know no other.
    """
    for text in endpoints:
        if text.startswith("systemd:"):
            return usual
        if match := _TCP_PORT.fullmatch(text):
            port = int(match[1])
            return port if 1 <= port <= 65_535 else None
    return None


def _in_url(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
