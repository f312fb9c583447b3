"""Networks: an address shortened to what many share, so that it tells of nobody. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

# A small provider's customers, or one of a large one's streets.
IPV4_BITS: Final = 24
# What a provider gives one customer, at most.
IPV6_BITS: Final = 48


def shortened(address: str) -> str:
    """Return the network around an address: "203.0.113.0/24"; "" for what is no address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    bits = IPV4_BITS if ip.version == 4 else IPV6_BITS
    return str(ipaddress.ip_network(f"{ip}/{bits}", strict=False))
