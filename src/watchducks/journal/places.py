"""Where an address is: in which country, and whether in a data centre, by the sysadmin's files.

Both are read as a whole, because a file that is mapped into memory and then written over takes the
process along, and again when they have changed. A file that cannot be read costs what it would have
told, and is complained about once.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final, NamedTuple

import maxminddb
from twisted.logger import Logger

from watchducks.model.origins import Address, Network

# Of countries: some 10 MB. A file of cities is not needed, and would be held in memory.
MAX_COUNTRY_BYTES: Final = 64 * 1024 * 1024
# All networks of the large providers are some 100,000.
MAX_NETWORKS_BYTES: Final = 16 * 1024 * 1024
# How often it is looked whether the files have changed: they do once a week.
LOOK_SECONDS: Final = 60.0
# 40 us each without; some 3 MB.
KEPT_ADDRESSES: Final = 16_384

# What is kept of an address where the owner wants it: a neighbourhood, not a household.
_KEPT_BITS: Final = {4: 24, 6: 48}

_Stamp = tuple[int, int, int]


class Place(NamedTuple):
    """:ivar country: ISO 3166-1 alpha-2, or ""."""

    country: str
    data_centre: bool


def read_address(client: str) -> Address | None:
    """Return what a row has of its visitor's address; None: it has none."""
    # The C library reads an address in a tenth of the time that ipaddress takes.
    try:
        if ":" not in client:
            return ipaddress.IPv4Address(inet_pton(AF_INET, client))
        address = ipaddress.IPv6Address(inet_pton(AF_INET6, client.partition("%")[0]))
    except (OSError, ValueError):
        return None
    return address.ipv4_mapped or address


def truncated(address: Address) -> str:
    """Return the network that an address is in, without the rest of it: /24, or /48."""
    network = ipaddress.ip_network((address, _KEPT_BITS[address.version]), strict=False)
    return str(network)


class Networks:
    """Some networks, as ranges in order."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._ranges: dict[int, tuple[list[int], list[int]]] = {4: ([], []), 6: ([], [])}
        for network in ipaddress.collapse_addresses(n for n in networks if n.version == 4):
            self._add(network)
        for network6 in ipaddress.collapse_addresses(n for n in networks if n.version == 6):
            self._add(network6)

    def _add(self, network: Network) -> None:
        first, last = self._ranges[network.version]
        first.append(int(network.network_address))
        last.append(int(network.broadcast_address))

    def __contains__(self, address: Address) -> bool:
        first, last = self._ranges[address.version]
        at = bisect_right(first, int(address)) - 1
        return at >= 0 and int(address) <= last[at]


def read_networks(text: str) -> Networks:
    """Return the networks of a list: one a line, and anything after "#" or a space or comma.

    :raises ValueError: a line is none; it is named.
    """
    networks = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].replace(",", " ").strip().partition(" ")[0]
        if word:
            try:
                networks.append(ipaddress.ip_network(word, strict=False))
            except ValueError:
                raise ValueError(f"line {number} is no network: {word[:60]}") from None
    return Networks(networks)


class Places:
    """Knows addresses. For one thread at a time."""

    _log = Logger()

    def __init__(self, country_file: Path | None = None, networks_file: Path | None = None) -> None:
        self._country_file = country_file
        self._networks_file = networks_file
        self._stamps: dict[Path, _Stamp | None] = {}
        self._looked_at: float | None = None
        self._countries: maxminddb.Reader | None = None
        self._networks = Networks(())
        self.of = lru_cache(maxsize=KEPT_ADDRESSES)(self._of)

    def refresh(self, now: float) -> bool:
        """Read the files again if they have changed; return whether they have. Blocks.

        :param now: seconds of a clock that does not jump.
        """
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        changed = False
        if self._country_file is not None and self._has_changed(self._country_file):
            self._countries = self._read_countries(self._country_file)
            changed = True
        if self._networks_file is not None and self._has_changed(self._networks_file):
            self._networks = self._read_networks(self._networks_file)
            changed = True
        if changed:
            self.of.cache_clear()
        return changed

    def _has_changed(self, path: Path) -> bool:
        try:
            found = path.stat()
        except OSError:
            stamp = None
        else:
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        before = self._stamps.get(path, ())
        self._stamps[path] = stamp
        return stamp != before

    def _read_countries(self, path: Path) -> maxminddb.Reader | None:
        try:
            if path.stat().st_size > MAX_COUNTRY_BYTES:
                raise ValueError(f"it is larger than {MAX_COUNTRY_BYTES} bytes")
            return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
        except Exception as error:  # what a damaged file makes the reader stumble over is its own
            self._complain("country_file", path, error)
            return None

    def _read_networks(self, path: Path) -> Networks:
        try:
            if path.stat().st_size > MAX_NETWORKS_BYTES:
                raise ValueError(f"it is larger than {MAX_NETWORKS_BYTES} bytes")
            return read_networks(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            self._complain("data_centre_file", path, error)
            return Networks(())

    def _complain(self, key: str, path: Path, error: Exception) -> None:
        self._log.error(
            "logs.{key}: {path} cannot be used: {error}", key=key, path=str(path), error=str(error)
        )

    def _of(self, address: Address) -> Place:
        return Place(self._country(address), address in self._networks)

    def _country(self, address: Address) -> str:
        if self._countries is None:
            return ""
        try:
            found = self._countries.get(address)
        except Exception:  # as above; and a file for IPv4 alone knows no IPv6
            return ""
        return _country_in(found)


def _country_in(found: Any) -> str:
    """Return the country of a database's entry, as MaxMind and its imitators write it."""
    if not isinstance(found, dict):
        return ""
    for key in ("country", "registered_country", "country_code"):
        value = found.get(key)
        code = value.get("iso_code") if isinstance(value, dict) else value
        if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha():
            return code.upper()
    return ""
