"""Blocks: who and what may not register here, by the word of whoever runs the service. Pure.

A block is a domain, an e-mail address or a network; what it refuses is found by exact look-ups,
however many there are: :func:`keys_of` lists every value of a block that would refuse something.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from watchducks.model.names import normalise_email, normalise_host
from watchducks.model.origins import Address, Origin
from watchducks.model.problems import Problem
from watchducks.model.sites import Site

# More than these would be somebody else's list, which belongs into a firewall.
MAX_BLOCKS: Final = 5_000
# A sentence for the colleague who wonders, next year.
MAX_REASON_CHARACTERS: Final = 200
# Shorter prefixes are a slip: they refuse half of everybody.
SHORTEST_PREFIX: Final = {4: 8, 6: 16}


class BlockKind(StrEnum):
    """What a block is about."""

    DOMAIN = "domain"
    EMAIL = "email"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    :ivar value: a domain, which stands for the names below it as well; an address, or "@" and a
        domain, which stands for all addresses there and below; a network.
    :ivar reason: why, for those who run the service; nobody else is told.
    :ivar by: who made it. :ivar created: POSIX seconds.
    """

    number: int
    kind: BlockKind
    value: str
    reason: str
    by: str
    created: int

    def concerns(self, site: Site) -> bool:
        """Return whether the site could not be registered today, wherever its owner came from."""
        return self.value in keys_of((site.domain, site.zone), site.email, site.origin, None)


def read_block(text: str) -> tuple[BlockKind, str]:
    """Return what ``text`` says is to be blocked, and how it is written.

    :raises Problem: it is no domain, address or network.
    """
    text = text.strip()
    if text.startswith("@"):
        return BlockKind.EMAIL, f"@{_host(text[1:])}"
    if "@" in text:
        return BlockKind.EMAIL, normalise_email(text).lower()
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return BlockKind.DOMAIN, _host(text.removeprefix("."))
    if network.prefixlen < SHORTEST_PREFIX[network.version]:
        raise Problem(
            "wide-network",
            "{network} is too much of the internet: at least /{shortest}.",
            network=str(network),
            shortest=SHORTEST_PREFIX[network.version],
        )
    return BlockKind.NETWORK, str(network)


def _host(text: str) -> str:
    try:
        host = normalise_host(text)
    except Problem:
        host = ""
    if not host or host.rpartition(".")[2].isdigit():
        raise Problem(
            "block",
            "Enter a domain (example.com), an e-mail address (somebody@example.com, or"
            " @example.com for all there), or a network (203.0.113.0/24).",
        )
    return host


def keys_of(
    hosts: Iterable[str], email: str, origin: Origin | None, visitor: Address | None
) -> frozenset[str]:
    """Return the values of all blocks that refuse a site.

    :param hosts: its domain and its zone. :param email: its owner's; "": not asked about.
    :param origin: where it lives; by a name as well. :param visitor: who asks; None: not known.
    """
    found: set[str] = set()
    addresses = [] if visitor is None else [visitor]
    names = list(hosts)
    if origin is not None:
        addresses += origin.addresses
        names += [origin.name] if origin.name else []
    for name in names:
        found.update(_around(name))
    if email:
        found.add(email.lower())
        found.update(f"@{name}" for name in _around(email.rpartition("@")[2].lower()))
    for address in addresses:
        found.update(_networks(address))
    return frozenset(found)


def _around(name: str) -> Iterator[str]:
    """Return a domain and all domains that it is below of."""
    while name:
        yield name
        name = name.partition(".")[2]


def _networks(address: Address) -> Iterator[str]:
    """Return all networks that an address is in, and may be blocked."""
    inside = getattr(address, "ipv4_mapped", None) or address
    for bits in range(SHORTEST_PREFIX[inside.version], inside.max_prefixlen + 1):
        yield str(ipaddress.ip_network((inside, bits), strict=False))
