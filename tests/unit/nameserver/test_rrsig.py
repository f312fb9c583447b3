"""Signatures and proofs, checked by dnspython's validator and its canonical order."""

from __future__ import annotations

import dns.dnssec
import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from watchducks.model.signing import ZoneKey
from watchducks.nameserver import rrsig
from watchducks.nameserver.records import RRset

APEX = b"\x07example\x03com\x00"
ZONE = dns.name.from_text("example.com.")
NOW = 1_800_000_000

PRIVATE = ec.generate_private_key(ec.SECP256R1())
_numbers = PRIVATE.public_key().public_numbers()
KEY = ZoneKey(_numbers.x.to_bytes(32) + _numbers.y.to_bytes(32), b"")


def name(wire: bytes) -> dns.name.Name:
    return dns.name.from_wire(wire, 0)[0]


def read(type_: int, wire: bytes) -> dns.rdata.Rdata:
    kind = dns.rdatatype.RdataType.make(type_)
    return dns.rdata.from_wire(dns.rdataclass.IN, kind, wire, 0, len(wire))


def validate(owner: bytes, rrset: RRset, signature: bytes, now: float = NOW) -> None:
    """Let dnspython check a signature with our key's DNSKEY record. :raises ValidationFailure:"""
    rdatas = [read(rrset.type, one) for one in rrset.rdatas]
    theirs = dns.rrset.from_rdata_list(name(owner), rrset.ttl, rdatas)
    signed = [read(rrsig.RRSIG, signature)]
    signatures = dns.rrset.from_rdata_list(name(owner), rrset.ttl, signed)
    keys = dns.rrset.from_rdata_list(ZONE, 3600, [read(rrsig.DNSKEY, KEY.dnskey)])
    dns.dnssec.validate(theirs, signatures, {ZONE: keys}, now=now)


def sign(owner: bytes, rrset: RRset) -> bytes:
    return rrsig.rrsig(
        owner, rrset, APEX, KEY, PRIVATE, inception=NOW - 3600, expiration=NOW + 86_400
    )


addresses = st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=5, unique=True)
octets = st.binary(min_size=1, max_size=63).map(bytes.lower)
owners = st.lists(octets, max_size=3).map(
    lambda labels: b"".join(bytes((len(label),)) + label for label in labels) + APEX
)


@given(owners, addresses, st.integers(0, 2**31 - 1))
def test_signatures_validate(owner: bytes, found: list[bytes], ttl: int) -> None:
    rrset = RRset(1, ttl, tuple(found))
    validate(owner, rrset, sign(owner, rrset))


@pytest.mark.parametrize(
    ("owner", "labels"),
    [(APEX, 2), (b"\x03www" + APEX, 3), (b"\x01*" + APEX, 2), (b"\x01a\x01*" + APEX, 4)],
)
def test_a_leading_star_is_no_label(owner: bytes, labels: int) -> None:
    rrset = RRset(1, 30, (bytes(4),))
    signature = sign(owner, rrset)
    assert signature[3] == labels
    validate(owner, rrset, signature)


def test_what_is_changed_does_not_validate() -> None:
    owner = b"\x03www" + APEX
    signature = sign(owner, RRset(1, 30, (bytes(4),)))
    for other in (
        RRset(1, 30, (b"\x01" + bytes(3),)),
        RRset(1, 30, (bytes(4), b"\x01" + bytes(3))),
    ):
        with pytest.raises(dns.exception.ValidationFailure):
            validate(owner, other, signature)
    for now in (NOW - 3601, NOW + 86_401):
        with pytest.raises(dns.exception.ValidationFailure):
            validate(owner, RRset(1, 30, (bytes(4),)), signature, now)


def test_a_records_twin_is_signed_once() -> None:
    owner = b"\x03www" + APEX
    rrset = RRset(1, 30, (bytes(4), bytes(4)))
    validate(owner, RRset(1, 30, (bytes(4),)), sign(owner, rrset))


@given(st.sets(st.integers(1, 65_279).filter(lambda type_: type_ not in (41, 46, 47, 249, 255))))
def test_bitmaps_are_read_as_written(types: set[int]) -> None:
    owner = b"\x03www" + APEX
    wire = rrsig.nsec(owner, APEX, types)
    record = read(rrsig.NSEC, wire)
    listed = {
        window * 256 + octet * 8 + bit
        for window, bitmap in record.windows  # type: ignore[attr-defined]
        for octet, value in enumerate(bitmap)
        for bit in range(8)
        if value & 0x80 >> bit
    }
    assert listed == types | {rrsig.RRSIG, rrsig.NSEC}
    assert record.to_wire() == wire


@given(owners)
def test_the_successor_is_the_next_name(owner: bytes) -> None:
    following = name(rrsig.successor(owner, APEX))
    assert following > name(owner)
    assert following.is_subdomain(ZONE)
    if len(owner) + 2 <= 255:
        assert following.labels == (b"\0", *name(owner).labels)


LONG = b"".join(bytes((60,)) + letter * 60 for letter in (b"a", b"b", b"c"))  # 183 octets


@pytest.mark.parametrize(
    ("label", "following"),
    [
        # 254 octets: a zero fits into the label only.
        (b"d" * 57, b"d" * 57 + b"\0"),
        # 255 octets: the label is counted up, where it can be.
        (b"d" * 58, b"d" * 57 + b"e"),
        (b"d" * 57 + b"@", b"d" * 57 + b"["),
        (b"d" * 57 + b"\xff", b"d" * 56 + b"e"),
    ],
)
def test_the_successor_of_a_name_without_room(label: bytes, following: bytes) -> None:
    owner = bytes((len(label),)) + label + LONG + APEX
    assert len(owner) in (254, 255)
    found = rrsig.successor(owner, APEX)
    assert found == bytes((len(following),)) + following + LONG + APEX
    assert name(found) > name(owner)


def test_the_successor_of_the_zones_last_name_is_its_first() -> None:
    full = b"\x3f" + b"\xff" * 63
    owner = b"\x31" + b"\xff" * 49 + full * 3 + APEX
    assert len(owner) == 255
    assert rrsig.successor(owner, APEX) == APEX
