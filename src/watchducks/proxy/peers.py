"""Who is at the other end, and whether what he says about others is believed. Pure rules.

Three sources, the later ones only where the one before is a trusted peer: the socket, the header of
the PROXY protocol (:mod:`.proxy_protocol`), and X-Forwarded-For. Nothing that an untrusted peer
sends changes what we take for his address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from watchducks.model.origins import Address
from watchducks.settings_values import Network

# How an IPv4 address looks on an IPv6 socket that takes both.
V4_MAPPED: Final = "::ffff:"
# Every hop adds one; real chains have fewer than ten. Beyond, the rest is not looked at.
MAX_HOPS: Final = 32


@dataclass(frozen=True, slots=True)
class Peer:
    """:ivar address: of the client, as text that :mod:`ipaddress` writes; "" if there is none.
    :ivar trusted: whether it is in ``proxy.trusted_peers``, so that its X-Forwarded-For counts.
    """

    address: str
    trusted: bool


def address_of(transport_address: Any) -> str:
    """Return the IP address of an ``IAddress``, without an IPv6 scope; "" if it has none."""
    host = str(getattr(transport_address, "host", "") or "")
    return host.removeprefix(V4_MAPPED).partition("%")[0]


def parse_address(text: str) -> Address | None:
    """Return the IP address that ``text`` is; None if it is none. IPv4 in IPv6 becomes IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def is_trusted(address: Address | None, networks: Sequence[Network]) -> bool:
    """Return whether ``address`` is in one of ``networks``."""
    return address is not None and any(
        address.version == network.version and address in network for network in networks
    )


def peer_at(text: str, networks: Sequence[Network]) -> Peer:
    """Return the peer with the address ``text``."""
    address = parse_address(text)
    return Peer(text if address is None else str(address), is_trusted(address, networks))


def client_address(
    peer: Peer, forwarded_for_values: Sequence[bytes], trusted_networks: Sequence[Network]
) -> str:
    """Return the address of the client who made a request.

    From the end of X-Forwarded-For, where the nearest hop wrote, the first address that is not
    itself trusted; what lies before it was sent by somebody whom nobody vouches for. Something that
    is no address ends the search: the hop that wrote it counts as the client.

    :param peer: who sent the request.
    :param forwarded_for_values: the request's X-Forwarded-For fields, in order.
    """
    if not peer.trusted or not forwarded_for_values:
        return peer.address
    client = peer.address
    # Split from the right, and only as far as is looked at: a visitor chooses how long it is.
    for item in reversed(b",".join(forwarded_for_values).rsplit(b",", MAX_HOPS)[-MAX_HOPS:]):
        address = _forwarded_address(item)
        if address is None:
            break
        client = str(address)
        if not is_trusted(address, trusted_networks):
            break
    return client


def _forwarded_address(item: bytes) -> Address | None:
    """Read one element: an address, perhaps with a port as some balancers write it."""
    text = item.strip(b" \t").decode("ascii", "replace")
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        if not bracket or (rest and (rest == port or not port.isdigit())):
            return None
        return parse_address(inside)
    if text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdigit():
            return None
    return parse_address(text)
