"""Who is at the other end, and whether what he says about others is believed. Pure rules.

Three sources, the later ones only where the one before is a trusted peer: the socket, the header of
the PROXY protocol (:mod:`.proxy_protocol`), and X-Forwarded-For or Forwarded. The same fields say
whether the visitor came by https. Nothing that an untrusted peer sends changes what we take for his
address and scheme.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from watchducks.model.origins import Address
from watchducks.proxy.heads import Fields
from watchducks.settings_values import Network

Scheme = Literal["http", "https"]

# How an IPv4 address looks on an IPv6 socket that takes both.
V4_MAPPED: Final = "::ffff:"
# Every hop adds one; real chains have fewer than ten. Beyond, the rest is not looked at.
MAX_HOPS: Final = 32

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_FORWARDED: Final = b"forwarded"
# Some balancers name WebSocket's schemes.
_SCHEMES: Final[dict[bytes, Scheme]] = {
    b"http": "http",
    b"https": "https",
    b"ws": "http",
    b"wss": "https",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """:ivar address: of the client, as text that :mod:`ipaddress` writes; "" if there is none.
    :ivar trusted: whether it is in ``proxy.trusted_peers``, so that its word counts.
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


def visitor_of(
    peer: Peer, scheme: Scheme, fields: Fields, trusted_networks: Sequence[Network]
) -> tuple[str, Scheme]:
    """Return the address of who made a request, and the scheme by which he did.

    From the end of X-Forwarded-For, where the nearest hop wrote, the first address that is not
    itself trusted; what lies before it was sent by somebody whom nobody vouches for. Something that
    is no address ends the search: the hop that wrote it counts as the visitor. X-Forwarded-Proto is
    read at the same place from its end, or at its beginning if it is shorter: most balancers write
    one value over whatever came. Forwarded (RFC 7239) counts only where there is neither, because
    those who write these pass on what visitors claim there.

    :param peer: who sent the request. :param scheme: by which he did, which stands where nothing is
        believed. :param fields: the request's.
    """
    if not peer.trusted:
        return peer.address, scheme
    said: dict[bytes, list[bytes]] = {_FOR: [], _PROTO: [], _FORWARDED: []}
    for name, value in fields:
        values = said.get(name.lower())
        if values is not None:
            values.append(value)
    if said[_FOR] or said[_PROTO]:
        hops = [_address(item) for item in _from_end(said[_FOR])]
        address, place = _nearest_untrusted(peer, hops, trusted_networks)
        protos = _from_end(said[_PROTO])
        proto = protos[min(place, len(protos) - 1)] if protos else b""
    else:
        elements = [_read_element(item) for item in _from_end(said[_FORWARDED])]
        hops = [_address(element.get(b"for", b"")) for element in elements]
        address, place = _nearest_untrusted(peer, hops, trusted_networks)
        proto = elements[place].get(b"proto", b"") if elements else b""
    return address, _SCHEMES.get(proto.lower(), scheme)


def _from_end(values: Sequence[bytes]) -> list[bytes]:
    """Return the items of a list field, the last first; only as many as are looked at: a visitor
    chooses how long it is."""
    if not values:
        return []
    items = b",".join(values).rsplit(b",", MAX_HOPS)[-MAX_HOPS:]
    return [item.strip(b" \t") for item in reversed(items)]


def _nearest_untrusted(
    peer: Peer, hops: Sequence[Address | None], trusted_networks: Sequence[Network]
) -> tuple[str, int]:
    """Return the visitor's address, and its place among ``hops``, which begin at the nearest."""
    visitor, place = peer.address, 0
    for number, address in enumerate(hops):
        if address is None:
            break
        visitor, place = str(address), number
        if not is_trusted(address, trusted_networks):
            break
    return visitor, place


def _read_element(item: bytes) -> dict[bytes, bytes]:
    """Read one element of Forwarded (RFC 7239 section 4); nothing of one that is malformed."""
    element: dict[bytes, bytes] = {}
    for pair in item.split(b";"):
        name, equals, value = pair.strip(b" \t").partition(b"=")
        name = name.lower()
        if not equals or name in element:
            return {}
        if len(value) > 1 and value[:1] == value[-1:] == b'"':
            value = value[1:-1]
        element[name] = value
    return element


def _address(item: bytes) -> Address | None:
    """Read an address, perhaps with a port as some balancers write it."""
    text = item.decode("ascii", "replace")
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
