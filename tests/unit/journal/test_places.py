"""Where addresses are, by files that the sysadmin has, changes, damages and takes away."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.journal.mmdb import mmdb
from watchducks.journal.places import (
    LOOK_SECONDS,
    Networks,
    Place,
    Places,
    read_address,
    read_networks,
    truncated,
)

KOREA = {"country": {"iso_code": "KR"}, "registered_country": {"iso_code": "US"}}


def country(places: Places, address: str) -> str:
    return places.of(ipaddress.ip_address(address)).country


def test_countries_of_both_kinds_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    path.write_bytes(
        mmdb(
            {
                "203.0.113.0/24": KOREA,
                "198.51.100.0/25": {"registered_country": {"iso_code": "de"}},
                "192.0.2.0/24": {"country_code": "FR"},
                "2001:db8::/32": {"country": "JP"},
                "233.252.0.0/24": {"country": {"iso_code": "too long"}},
            }
        )
    )
    places = Places(path)
    assert country(places, "203.0.113.7") == ""
    places.refresh(0.0)
    for address, code in {
        "203.0.113.7": "KR",
        "198.51.100.1": "DE",
        "198.51.100.200": "",
        "192.0.2.1": "FR",
        "2001:db8::1": "JP",
        "2001:db9::1": "",
        "233.252.0.1": "",
        "127.0.0.1": "",
    }.items():
        assert country(places, address) == code, address


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    places = Places(path)
    places.refresh(0.0)
    assert country(places, "203.0.113.7") == ""
    path.write_bytes(mmdb({"203.0.113.0/24": KOREA}))
    places.refresh(LOOK_SECONDS - 1)
    assert country(places, "203.0.113.7") == ""
    places.refresh(LOOK_SECONDS)
    assert country(places, "203.0.113.7") == "KR"
    # Written over in place, and then taken away.
    path.write_bytes(mmdb({"203.0.113.0/24": {"country": {"iso_code": "US"}}}))
    os.utime(path, ns=(1, 1))
    places.refresh(2 * LOOK_SECONDS)
    assert country(places, "203.0.113.7") == "US"
    path.unlink()
    places.refresh(3 * LOOK_SECONDS)
    assert country(places, "203.0.113.7") == ""


@pytest.mark.parametrize("cut", [0, 1, 100, -40, -100])
def test_a_damaged_file_only_costs_what_it_would_tell(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "country.mmdb"
    whole = mmdb({"203.0.113.0/24": KOREA})
    path.write_bytes(whole[:cut] if cut else b"")
    places = Places(path)
    places.refresh(0.0)
    assert country(places, "203.0.113.7") == ""
    damaged = bytearray(whole)
    damaged[200:400] = b"\xff" * 200
    path.write_bytes(damaged)
    places.refresh(LOOK_SECONDS)
    assert country(places, "203.0.113.7") in ("", "KR")


def test_networks_of_data_centres(tmp_path: Path) -> None:
    path = tmp_path / "data-centres.txt"
    path.write_text(
        "# clouds\n\n203.0.113.0/25 somebody\n203.0.113.64/26,else\n2001:db8::/32\n192.0.2.1\n"
    )
    places = Places(None, path)
    places.refresh(0.0)
    for address, known in {
        "203.0.113.0": True,
        "203.0.113.127": True,
        "203.0.113.128": False,
        "192.0.2.1": True,
        "192.0.2.2": False,
        "2001:db8:ffff::1": True,
        "2001:db9::": False,
        "0.0.0.0": False,
    }.items():
        assert places.of(ipaddress.ip_address(address)) == Place("", known), address
    path.write_text("203.0.113.0/24\nnonsense\n")
    places.refresh(LOOK_SECONDS)
    assert not places.of(ipaddress.ip_address("203.0.113.1")).data_centre
    with pytest.raises(ValueError, match="line 2 is no network: nonsense"):
        read_networks(path.read_text())
    assert ipaddress.ip_address("::1") not in Networks([])


def test_addresses_as_rows_have_them() -> None:
    for text, network in {
        "203.0.113.77": "203.0.113.0/24",
        "::ffff:203.0.113.77": "203.0.113.0/24",
        "2001:db8:1:2:3:4:5:6": "2001:db8:1::/48",
        "fe80::1%eth0": "fe80::/48",
    }.items():
        address = read_address(text)
        assert address is not None
        assert truncated(address) == network
    for text in ("", "unknown", "203.0.113", "203.0.113.777", "1:2", "::1%", "\0", "\udcff", ":"):
        assert (read_address(text) is None) == (text != "::1%"), text


@given(st.ip_addresses())
def test_any_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert read_address(str(address)) == (getattr(address, "ipv4_mapped", None) or address)
