"""What a scan finds at real name servers: NSD holds the domain and its parent, unbound resolves."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
import pytest_twisted
from dns import rdata, rdataclass, rdatatype
from twisted.internet import reactor

from tests.servers.nsd import Nsd
from tests.servers.ports import free_port
from tests.servers.unbound import Unbound
from watchducks.lookups.client import Client, Server
from watchducks.lookups.resolver import Resolver
from watchducks.lookups.scan import Scanner
from watchducks.lookups.servers import Directory
from watchducks.model.scans import NameServer
from watchducks.model.zones import Record

CHILD, PARENT = "127.0.0.21", "127.0.0.22"

TEST = f"""\
$ORIGIN test.
$TTL 3600
@ SOA a.nic hostmaster.nic 1 7200 900 1209600 300
@ NS a.nic
a.nic A {PARENT}
pond NS ns1.old
pond NS ns2.old
pond DS 12345 13 2 {"ab" * 32}
lake NS ns1.old
lake NS silent.old
moved NS NS1.watchducks.example.
ns1.old A {CHILD}
silent.old A 127.0.0.23
"""

START = """\
$TTL 3600
@ SOA ns1.old.test. hostmaster.old.test. 7 7200 900 1209600 300
@ NS ns1.old.test.
"""

POND = (
    START
    + """\
@ NS ns2.old.test.
@ A 192.0.2.80
@ AAAA 2001:db8::80
@ MX 10 Mail
@ MX 20 backup.mail.example.
@ TXT "v=spf1 mx -all"
@ CAA 0 issue "ca.example"
www CNAME @
mail A 192.0.2.25
_25._tcp.mail TLSA 3 1 0 cdcdcdcd
_dmarc TXT "v=DMARC1; p=none"
selector1._domainkey CNAME selector1-pond.mail.example.
_caldavs._tcp SRV 0 1 443 unusual-calendar
unusual-calendar 60 A 192.0.2.44
shop CNAME unusual-shop
unusual-shop A 192.0.2.99
dev NS ns.dev
dev NS ns.elsewhere.example.
dev DS 54321 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.dev A 192.0.2.53
"""
)
SECRET = 'never-guessed TXT "only a transfer shows it"\n'
POND_LINES = [
    "@ 3600 A 192.0.2.80",
    "@ 3600 AAAA 2001:db8::80",
    '@ 3600 CAA 0 issue "ca.example"',
    "@ 3600 MX 10 mail.pond.test.",
    "@ 3600 MX 20 backup.mail.example.",
    '@ 3600 TXT "v=spf1 mx -all"',
    "_25._tcp.mail 3600 TLSA 3 1 0 cdcdcdcd",
    "_caldavs._tcp 3600 SRV 0 1 443 unusual-calendar.pond.test.",
    '_dmarc 3600 TXT "v=DMARC1; p=none"',
    f"dev 3600 DS 54321 13 2 {'0' * 64}",
    "dev 3600 NS ns.dev.pond.test.",
    "dev 3600 NS ns.elsewhere.example.",
    "mail 3600 A 192.0.2.25",
    "ns.dev 3600 A 192.0.2.53",
    "selector1._domainkey 3600 CNAME selector1-pond.mail.example.",
    "shop 3600 CNAME unusual-shop.pond.test.",
    "unusual-calendar 60 A 192.0.2.44",
    "unusual-shop 3600 A 192.0.2.99",
    "www 3600 CNAME pond.test.",
]
SECRET_LINE = 'never-guessed 3600 TXT "only a transfer shows it"'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, unbound: Unbound) -> Iterator[tuple[Nsd, int]]:
    """The parent's server, and the domain's, which has no zone yet; and their port."""
    port = free_port()
    parent, child = (
        Nsd(tmp_path_factory.mktemp("nsd"), address=address, port=port)
        for address in (PARENT, CHILD)
    )
    # The NS of a domain whose servers are ours; unbound takes them for its own.
    parent.serve(
        {"test": TEST, "moved.test": START.replace("ns1.old.test", "ns1.watchducks.example")}
    )
    try:
        parent.start()
        child.start()
        unbound.know(
            {
                "test": [(PARENT, port)],
                "pond.test": [(CHILD, port)],
                "lake.test": [(CHILD, port)],
            }
        )
        yield child, port
    finally:
        parent.stop()
        child.stop()


@pytest.fixture
def scanner(world: tuple[Nsd, int], unbound: Unbound) -> Scanner:
    return scanner_for(unbound, world[1], allow_private=True)


def scanner_for(unbound: Unbound, port: int, *, allow_private: bool) -> Scanner:
    client = Client(reactor=reactor, allow_private=allow_private)
    resolver = Resolver([Server(ipaddress.ip_address(unbound.address), unbound.port)], client)
    directory = Directory(resolver, client, clock=reactor, port=port)
    return Scanner(directory, client, own_names=("ns1.watchducks.example",), clock=reactor)


def lines(records: tuple[Record, ...]) -> list[str]:
    found = []
    for owner, type_, ttl, wire in records:
        labels, rest = [], owner
        while rest:
            labels.append(rest[1 : 1 + rest[0]].decode())
            rest = rest[1 + rest[0] :]
        text = rdata.from_wire(
            rdataclass.IN, rdatatype.RdataType(type_), wire, 0, len(wire)
        ).to_text()
        found.append(f"{'.'.join(labels) or '@'} {ttl} {rdatatype.RdataType(type_).name} {text}")
    return sorted(found, key=str.split)


@pytest_twisted.ensureDeferred
async def test_without_a_transfer_the_usual_names_and_what_they_lead_to(
    world: tuple[Nsd, int], scanner: Scanner
) -> None:
    world[0].serve({"pond.test": POND + SECRET})
    scan = await scanner.scan("pond.test")
    assert lines(scan.records) == POND_LINES
    assert not scan.whole
    assert (scan.served, scan.notes) == ("pond.test", ())
    assert scan.ds == (f"12345 13 2 {'ab' * 32}",)
    assert sorted(scan.servers, key=lambda server: server.name) == [
        NameServer("ns1.old.test", (ipaddress.ip_address(CHILD),)),
        NameServer("ns2.old.test", ()),
    ]


@pytest_twisted.ensureDeferred
async def test_a_transfer_shows_everything(world: tuple[Nsd, int], scanner: Scanner) -> None:
    many = "".join(f'text{number} TXT "{"x" * 200}"\n' for number in range(500))
    world[0].serve({"pond.test": POND + SECRET + many}, transfers=True)
    scan = await scanner.scan("pond.test")
    found = [line for line in lines(scan.records) if not line.startswith("text")]
    assert found == sorted([*POND_LINES, SECRET_LINE], key=str.split)
    assert len(scan.records) == len(POND_LINES) + 1 + 500
    assert scan.whole
    assert scan.notes == ()


@pytest_twisted.ensureDeferred
async def test_a_wildcard_is_found_once(world: tuple[Nsd, int], scanner: Scanner) -> None:
    wild = '* A 192.0.2.66\n*._domainkey TXT "v=DKIM1; p="\napi A 192.0.2.67\nblog A 192.0.2.66\n'
    world[0].serve({"pond.test": POND + wild})
    scan = await scanner.scan("pond.test")
    # The blog has what the wildcard would answer anyway.
    assert lines(scan.records) == sorted(
        [
            *POND_LINES,
            "* 3600 A 192.0.2.66",
            '*._domainkey 3600 TXT "v=DKIM1; p="',
            "api 3600 A 192.0.2.67",
        ],
        key=str.split,
    )


@pytest_twisted.ensureDeferred
async def test_a_wildcard_that_is_an_alias(world: tuple[Nsd, int], scanner: Scanner) -> None:
    world[0].serve({"pond.test": START + "* CNAME www.elsewhere.example.\nwww A 192.0.2.1\n"})
    scan = await scanner.scan("pond.test")
    assert lines(scan.records) == [
        "* 3600 CNAME www.elsewhere.example.",
        "www 3600 A 192.0.2.1",
    ]


@pytest_twisted.ensureDeferred
async def test_a_name_server_that_is_silent_is_noted(
    world: tuple[Nsd, int], scanner: Scanner
) -> None:
    """The server at 127.0.0.23 is none."""
    zone = START + "@ NS silent.old.test.\n@ A 192.0.2.81\n_dmarc TXT dmarc\n"
    world[0].serve({"lake.test": zone})
    scan = await scanner.scan("lake.test")
    assert lines(scan.records) == ["@ 3600 A 192.0.2.81", '_dmarc 3600 TXT "dmarc"']
    assert scan.ds == ()
    assert [note.code for note in scan.notes] == ["server"]
    assert "127.0.0.23" in str(scan.notes[0])


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("transfers", [True, False])
async def test_a_name_inside_another_zone(
    world: tuple[Nsd, int], scanner: Scanner, transfers: bool
) -> None:
    """shop.pond.test shall become a zone of its own: so far its names are its parent's."""
    shop = "shop A 192.0.2.7\nwww.shop A 192.0.2.8\n"
    world[0].serve({"pond.test": START + "www A 192.0.2.1\n" + shop}, transfers=transfers)
    scan = await scanner.scan("shop.pond.test")
    assert lines(scan.records) == ["@ 3600 A 192.0.2.7", "www 3600 A 192.0.2.8"]
    assert (scan.served, scan.whole, scan.ds) == ("pond.test", transfers, ())


@pytest_twisted.ensureDeferred
async def test_nothing_is_asked_of_ourselves(world: tuple[Nsd, int], scanner: Scanner) -> None:
    scan = await scanner.scan("moved.test")
    assert (scan.records, scan.servers) == ((), ())
    assert [note.code for note in scan.notes] == ["ours-already"]


@pytest_twisted.ensureDeferred
async def test_what_the_resolver_does_not_know(scanner: Scanner) -> None:
    scan = await scanner.scan("pond.example")
    assert [note.code for note in scan.notes] == ["not-found", "ds-unknown"]
    assert "REFUSED" in str(scan.notes[0])


@pytest_twisted.ensureDeferred
async def test_strangers_do_not_lead_us_to_private_addresses(
    world: tuple[Nsd, int], unbound: Unbound
) -> None:
    world[0].serve({"pond.test": POND}, transfers=True)
    scan = await scanner_for(unbound, world[1], allow_private=False).scan("pond.test")
    assert scan.records == ()
    assert "127.0.0.21 is a loopback address, where we do not ask" in str(scan.notes[0])
    assert "127.0.0.22 is a loopback address, where we do not ask" in str(scan.notes[-1])
