"""Signatures: kept while they are good, bounded in number and in each second."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from tests.unit.nameserver.keys import GlassSeals, zone_key
from watchducks.model.signing import Phase, Signing
from watchducks.nameserver import signatures
from watchducks.nameserver.records import RRset
from watchducks.nameserver.rrsig import CDNSKEY, CDS, DNSKEY, RRSIG
from watchducks.nameserver.signatures import (
    BACKDATED_SECONDS,
    JITTER_SECONDS,
    LIFETIME_SECONDS,
    REUSED_SECONDS,
    CannotSign,
    Signatures,
    TooManySignatures,
)

APEX = b"\x07example\x03com\x00"
WWW = b"\x03www" + APEX
NOW = 1_800_000_000
A = RRset(1, 30, (bytes(4),))
OLD, NEW = zone_key(1), zone_key(2)
SIGNED = Signing(Phase.SIGNED, 0, (OLD,))


class Desk:
    """Signatures with a clock and seals of the test's own."""

    def __init__(self, per_second: int = 1_000) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.seals = GlassSeals()
        self.signatures = Signatures(self.seals, clock=self.clock, per_second=per_second)

    def over(
        self,
        owner: bytes = WWW,
        rrset: RRset = A,
        signing: Signing = SIGNED,
        *,
        datagram: bool = True,
        lasting: bool = True,
    ) -> RRset:
        return self.signatures.over(owner, rrset, APEX, signing, datagram=datagram, lasting=lasting)


def times(rdata: bytes) -> tuple[int, int]:
    """Return (inception, expiration)."""
    expiration, inception = struct.unpack_from("!LL", rdata, 8)
    return inception, expiration


def tags(signed: RRset) -> list[int]:
    return [struct.unpack_from("!H", rdata, 16)[0] for rdata in signed.rdatas]


def test_a_signature_holds_longer_than_its_records_may_be_remembered() -> None:
    desk = Desk()
    for ttl in (30, 7 * 86_400):
        signed = desk.over(rrset=RRset(1, ttl, (bytes(4),)))
        assert (signed.type, signed.ttl) == (RRSIG, ttl)
        inception, expiration = times(signed.rdatas[0])
        assert inception == NOW - BACKDATED_SECONDS
        latest = NOW + LIFETIME_SECONDS + ttl
        assert latest - JITTER_SECONDS < expiration <= latest
        # Until it is made anew, and however long it is remembered then: a day is always left.
        assert expiration - (NOW + REUSED_SECONDS) - ttl >= 86_400 - JITTER_SECONDS


def test_not_all_end_at_the_same_time() -> None:
    desk = Desk()
    names = [bytes((1, number)) + APEX for number in range(1, 50)]
    assert len({times(desk.over(name).rdatas[0])[1] for name in names}) > 40


def test_a_signature_is_used_again_until_it_is_due() -> None:
    desk = Desk()
    first = desk.over()
    assert desk.over() == first
    desk.clock.advance(REUSED_SECONDS - JITTER_SECONDS - 1)
    assert desk.over() == first
    desk.clock.advance(JITTER_SECONDS + 1)
    second = desk.over()
    assert times(second.rdatas[0])[1] == times(first.rdatas[0])[1] + REUSED_SECONDS
    assert desk.seals.opened == 1  # the key stays open


def test_whatever_differs_has_a_signature_of_its_own() -> None:
    desk = Desk()
    found = {
        desk.over().rdatas,
        desk.over(APEX).rdatas,
        desk.over(rrset=RRset(1, 60, A.rdatas)).rdatas,
        desk.over(rrset=RRset(28, 30, A.rdatas)).rdatas,
        desk.over(rrset=RRset(1, 30, (b"\x01\0\0\0",))).rdatas,
        desk.over(signing=replace(SIGNED, keys=(NEW,))).rdatas,
    }
    assert len(found) == 6


@pytest.mark.parametrize(
    ("phase", "signer"),
    [(Phase.PUBLISHING, OLD), (Phase.REPLACING, NEW), (Phase.RETIRING, NEW)],
)
def test_amid_a_rollover_what_leads_to_the_keys_is_signed_by_both(
    phase: Phase, signer: object
) -> None:
    desk = Desk()
    signing = Signing(phase, 0, (OLD, NEW))
    for type_ in (DNSKEY, CDS, CDNSKEY):
        rrset = RRset(type_, 3600, (OLD.dnskey, NEW.dnskey))
        assert tags(desk.over(APEX, rrset, signing)) == [OLD.tag, NEW.tag]
    assert tags(desk.over(signing=signing)) == [signer.tag]  # type: ignore[attr-defined]


def test_no_more_than_allowed_are_made_in_a_second() -> None:
    desk = Desk(per_second=3)
    names = [bytes((1, number)) + APEX for number in range(1, 20)]
    for name in names[:3]:
        desk.over(name)
    with pytest.raises(TooManySignatures):
        desk.over(names[3])
    desk.over(names[0])  # what is kept costs nothing
    for name in names[3:6]:  # by TCP they are counted apart
        desk.over(name, datagram=False)
    with pytest.raises(TooManySignatures):
        desk.over(names[6], datagram=False)
    desk.clock.advance(0.4)
    desk.over(names[6])
    with pytest.raises(TooManySignatures):
        desk.over(names[7])
    desk.clock.advance(60)  # one second's worth is saved up, no more
    for name in names[7:10]:
        desk.over(name)
    with pytest.raises(TooManySignatures):
        desk.over(names[10])


def test_names_that_do_not_exist_push_out_nothing_that_does() -> None:
    desk = Desk(per_second=1_000_000)
    kept = desk.over()
    for number in range(signatures.MAX_PROOFS + 10):
        desk.over(number.to_bytes(3) + APEX, RRset(47, 30, (b"x",)), lasting=False)
    assert desk.over() == kept
    assert len(desk.signatures._proofs) == signatures.MAX_PROOFS


def test_a_lost_key_is_tried_again_later() -> None:
    desk = Desk()
    desk.seals.lost = True
    for _ in range(3):
        with pytest.raises(CannotSign):
            desk.over()
    desk.seals.lost = False
    with pytest.raises(CannotSign):
        desk.over()  # not for each question: that would be a log line and a look-up each
    desk.clock.advance(signatures.RETRY_SECONDS)
    assert len(desk.over().rdatas) == 1


def test_a_key_that_is_not_the_published_one_signs_nothing() -> None:
    desk = Desk()
    swapped = replace(OLD, public=NEW.public)
    with pytest.raises(CannotSign):
        desk.over(signing=replace(SIGNED, keys=(swapped,)))
    other_zone = zone_key(1, "example.net")
    with pytest.raises(CannotSign):
        desk.over(signing=replace(SIGNED, keys=(replace(NEW, sealed=other_zone.sealed),)))
    zero = b"00" * 32 + OLD.sealed[64:]
    with pytest.raises(CannotSign):
        desk.over(signing=replace(SIGNED, keys=(replace(zone_key(3), sealed=zero),)))
