"""Origins: the owner's own server, and which addresses we are willing to send requests to."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from watchducks.model.names import normalise_host
from watchducks.model.problems import Problem

OriginScheme = Literal["http", "https", "same"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}
# Ports on which a server without a written scheme speaks TLS.
_TLS_PORTS = frozenset({443, 8443})

# Of the addresses that an origin's name has: each that does not answer costs a visitor up to the
# time limit of a connect, and a failover's answer has to fit into a datagram.
MAX_ORIGIN_ADDRESSES: Final = 4

# Networks that a stranger must not be able to make us talk to, with the word that explains it
# (IANA special-purpose registries, RFC 6890). Documentation networks (RFC 5737, RFC 3849) are not
# here on purpose: nothing is routed there, and every guide is written with them.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("169.254.169.254/32", "cloud metadata"),
        ("168.63.129.16/32", "cloud metadata"),
        ("100.100.100.200/32", "cloud metadata"),
        ("fd00:ec2::254/128", "cloud metadata"),
        ("fd20:ce::254/128", "cloud metadata"),
        ("127.0.0.0/8", "loopback"),
        ("::1/128", "loopback"),
        ("0.0.0.0/8", "unspecified"),
        ("::/128", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("100.64.0.0/10", "private"),
        ("fc00::/7", "private"),
        ("fec0::/10", "private"),
        ("198.18.0.0/15", "private"),
        ("192.0.0.0/24", "reserved"),
        ("169.254.0.0/16", "link-local"),
        ("fe80::/10", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("100::/64", "reserved"),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a site really lives.

    :ivar scheme: how the proxy speaks to it; ``same`` is "as the visitor came": http visitors by
        http and https visitors by https, each on its default port, which is what the origin did
        before it had a proxy.
    :ivar address: where it is; of an origin with a name the first that it has, and None until
        somebody has looked it up (:class:`watchducks.lookups.names.HostNames`).
    :ivar port: 1-65535, or None with ``same``.
    :ivar name: the host name (A-labels) that the owner gave instead of an address, or empty.
    :ivar others: the further addresses of that name.
    """

    scheme: OriginScheme
    address: Address | None
    port: int | None
    name: str = ""
    others: tuple[Address, ...] = ()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to try, in this order; empty: nobody knows the name's addresses yet."""
        return () if self.address is None else (self.address, *self.others)

    def at(self, addresses: Iterable[Address]) -> Origin:
        """Return this origin, which has a name, at those of ``addresses`` that are tried."""
        tried = tuple(addresses)[:MAX_ORIGIN_ADDRESSES]
        return replace(self, address=tried[0] if tried else None, others=tried[1:])

    def endpoint(
        self, visitor_scheme: Literal["http", "https"]
    ) -> tuple[Literal["http", "https"], int]:
        """Return the scheme and port with which to forward a request of ``visitor_scheme``."""
        scheme = visitor_scheme if self.scheme == "same" else self.scheme
        return scheme, self.port or DEFAULT_PORTS[scheme]

    @property
    def tls_port(self) -> int:
        """The port where the origin itself speaks TLS, for HTTPS passed through untouched."""
        return self.port if self.scheme == "https" and self.port else DEFAULT_PORTS["https"]

    def __str__(self) -> str:
        host = self.name or str(self.address)
        if ":" in host and self.scheme != "same":
            host = f"[{host}]"
        if self.scheme == "same":
            return host
        port = "" if self.port in (None, DEFAULT_PORTS[self.scheme]) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_origin(text: str) -> Origin:
    """Read ``203.0.113.7``, ``203.0.113.7:8443``, ``https://203.0.113.7``,
    ``http://[2001:db8::7]:8080``, ``origin.example.net`` or ``https://origin.example.net:8443``.

    A port without a scheme means https for 443 and 8443, and http for any other.

    :raises Problem: it is none of these.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    scheme = scheme.lower()
    if separator:
        if scheme not in DEFAULT_PORTS:
            raise _not_an_origin()
        rest = rest.removesuffix("/")
    address: Address | None = None
    host, colon, port_text = rest.partition(":")
    name = _name_of_host(host)
    if name:
        port = _port_of(port_text) if colon else None
    else:
        address, port = address_and_port(rest)
    if not separator and port is None:
        return Origin("same", address, None, name)
    if scheme == "https" or (not separator and port in _TLS_PORTS):
        return Origin("https", address, port or DEFAULT_PORTS["https"], name)
    return Origin("http", address, port or DEFAULT_PORTS["http"], name)


def _not_an_origin() -> Problem:
    return Problem(
        "origin",
        "Enter the server's address, such as 203.0.113.7, https://203.0.113.7:8443 or"
        " origin.example.net.",
    )


def _name_of_host(text: str) -> str:
    """Return the host name that ``text`` is, or nothing if it can only be an address."""
    # A single label is a machine of somebody's own; a number at the end is an IPv4 address.
    if "." not in text or text[-1:].isdigit():
        return ""
    try:
        name = normalise_host(text)
    except Problem:
        return ""
    return "" if "." not in name or name.rpartition(".")[2].isdigit() else name


def address_and_port(text: str) -> tuple[Address, int | None]:
    """Take ``203.0.113.7:80``, ``[2001:db8::7]:80`` or ``2001:db8::7`` apart.

    :raises Problem: it is none of these.
    """
    if text.startswith("["):
        host, bracket, port_text = text[1:].partition("]")
        if not bracket or ":" not in host or (port_text and port_text[0] != ":"):
            raise _not_an_origin()
        has_port, port_text = bool(port_text), port_text[1:]
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        has_port = True
    else:
        host, port_text, has_port = text, "", False
    if "%" in host:  # a zone index would name an interface of this machine
        raise _not_an_origin()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise _not_an_origin() from None
    return address, _port_of(port_text) if has_port else None


def _port_of(port_text: str) -> int:
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5):
        raise _not_an_origin()
    port = int(port_text)
    if not 1 <= port <= 65535:
        raise Problem("port", "{port} is not a port: use 1 to 65535.", port=port)
    return port


def _embedded(address: Address) -> list[Address]:
    """Return the IPv4 addresses that an IPv6 address really leads to, or may."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inside: list[Address] = []
    if address.ipv4_mapped is not None:
        inside.append(address.ipv4_mapped)
    if address.sixtofour is not None:
        inside.append(address.sixtofour)
    if address.teredo is not None:
        inside.extend(address.teredo)
    if address in _NAT64 or address in _V4_COMPATIBLE or address in _NAT64_LOCAL:
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return inside


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Return why a stranger must not make us talk to ``address``, in a word, or None if he may.

    :param allow_private: the sysadmin's ``security.allow_private_origins``; it permits everything.
    """
    if allow_private:
        return None
    for inside in (address, *_embedded(address)):
        for network, why in _REFUSED:
            if inside.version == network.version and inside in network:
                return why
    return None


def check_origin(
    origin: Origin, *, own_addresses: Collection[Address], allow_private: bool
) -> None:
    """Refuse an origin that a stranger could use to reach what is not his.

    Of an origin with a name, as far as its addresses are known: whoever looks them up asks
    :func:`usable` each time.

    :param own_addresses: the proxies' and name servers' own addresses: a request sent there would
        come back to us.
    :param allow_private: the sysadmin's ``security.allow_private_origins``; it permits everything.
    :raises Problem: an address is private, loopback, link-local, multicast, metadata, or our own.
    """
    for address in origin.addresses:
        _check_address(address, own_addresses, allow_private=allow_private)


def leads_back(origin: Origin, hosts: Collection[str]) -> Problem | None:
    """Return what is wrong with an origin whose name is one of the site's own proxied ``hosts``:
    it will have our addresses."""
    if origin.name not in hosts:
        return None
    return Problem(
        "own-host",
        "{name} will lead to our proxies, and so cannot be the server behind them; enter that"
        " server's address, or another name of it.",
        name=origin.name,
    )


def usable(
    addresses: Iterable[Address], *, own_addresses: Collection[Address], allow_private: bool
) -> tuple[Address, ...]:
    """Return those of a name's addresses that :func:`check_origin` would accept.

    Whoever holds the name can change them at any time, so they are asked for at each look-up.
    """
    found = []
    for address in addresses:
        try:
            _check_address(address, own_addresses, allow_private=allow_private)
        except Problem:
            continue
        found.append(address)
    return tuple(found)


def _check_address(
    wanted: Address, own_addresses: Collection[Address], *, allow_private: bool
) -> None:
    if allow_private:
        return
    for address in (wanted, *_embedded(wanted)):
        if address in own_addresses:
            raise Problem(
                "own-address",
                "{address} is our own address; enter the address the site has now.",
                address=str(wanted),
            )
    why = refusal(wanted, allow_private=allow_private)
    if why is not None:
        raise Problem(
            "reserved-address",
            "{address} is a {why} address that visitors cannot reach; enter a public one.",
            address=str(wanted),
            why=why,
        )
