"""Signing: the phases, and what the parent is told in each."""

from __future__ import annotations

import dns.dnssec
import dns.name
import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.model.signing import (
    DELETE_CDNSKEY,
    DELETE_CDS,
    DNSKEY_TTL_SECONDS,
    DS_TTL_SECONDS,
    PROPAGATION_SECONDS,
    UNSIGNED,
    NotNow,
    Phase,
    Signing,
    ZoneKey,
    confirm,
    roll,
    switch_off,
    switch_on,
)

APEX = b"\x07example\x03com\x00"
OLD = ZoneKey(bytes(range(64)), b"sealed old")
NEW = ZoneKey(bytes(range(64, 128)), b"sealed new")
NOW = 1_800_000_000
TTL = 86_400

SIGNED = Signing(Phase.SIGNED, 0, (OLD,))
BOTH = (OLD, NEW)

signings = st.builds(
    Signing,
    st.sampled_from([phase for phase in Phase if phase is not Phase.OFF]),
    st.integers(0, 2**40),
    st.lists(
        st.builds(ZoneKey, st.binary(min_size=64, max_size=64), st.binary(max_size=200)),
        min_size=1,
        max_size=2,
    ).map(tuple),
)


def test_a_zone_that_is_switched_on_tells_the_parent_when_unsigned_answers_are_forgotten() -> None:
    signing = switch_on(UNSIGNED, OLD, NOW, TTL)
    assert signing == Signing(Phase.BEGINNING, NOW + TTL + PROPAGATION_SECONDS, (OLD,))
    assert signing.wanted
    assert signing.wanted_ds(APEX) == ()
    assert signing.cds(APEX) == signing.cdnskey() == ()
    assert signing.at(signing.due - 1) is signing
    assert signing.at(signing.due) == SIGNED
    assert SIGNED.at(NOW * 10) == SIGNED
    assert SIGNED.wanted_ds(APEX) == (OLD.ds(APEX),)
    assert SIGNED.cds(APEX) == (OLD.cds(APEX),)
    assert SIGNED.cdnskey() == (OLD.dnskey,)


def test_switching_on_twice_changes_nothing() -> None:
    for phase in (Phase.BEGINNING, Phase.SIGNED, Phase.RETIRING):
        signing = Signing(phase, 7, (OLD,))
        assert switch_on(signing, NEW, NOW, TTL) is signing


def test_a_rollover() -> None:
    signing = roll(SIGNED, NEW, NOW)
    assert signing == Signing(
        Phase.PUBLISHING, NOW + DNSKEY_TTL_SECONDS + PROPAGATION_SECONDS, BOTH
    )
    # Nobody who holds the old DNSKEY set could check the new key's signatures.
    assert signing.data_key == OLD
    assert signing.wanted_ds(APEX) == (OLD.ds(APEX),)

    signing = signing.at(signing.due)
    assert signing == Signing(Phase.REPLACING, 0, BOTH)
    assert signing.data_key == NEW
    assert signing.wanted_ds(APEX) == (NEW.ds(APEX),)
    assert signing.cds(APEX) == (NEW.cds(APEX),)
    assert signing.cdnskey() == (NEW.dnskey,)
    assert signing.at(NOW * 10) == signing  # it waits for the parent, however long

    signing = confirm(signing, NOW, TTL)
    assert signing == Signing(Phase.RETIRING, NOW + DS_TTL_SECONDS + PROPAGATION_SECONDS, BOTH)
    assert signing.data_key == NEW
    assert signing.at(signing.due) == Signing(Phase.SIGNED, 0, (NEW,))


def test_the_old_key_stays_as_long_as_what_it_signed_may_be_remembered() -> None:
    week = 7 * 86_400
    signing = confirm(Signing(Phase.REPLACING, 0, BOTH), NOW, week)
    assert signing.due == NOW + week + PROPAGATION_SECONDS


def test_switching_off_first_takes_the_ds_away() -> None:
    signing = switch_off(SIGNED)
    assert signing == Signing(Phase.WITHDRAWING, 0, (OLD,))
    assert not signing.wanted
    assert signing.wanted_ds(APEX) == ()
    assert signing.cds(APEX) == (DELETE_CDS,)
    assert signing.cdnskey() == (DELETE_CDNSKEY,)
    assert signing.at(NOW * 10) == signing
    assert switch_off(signing) is signing

    signing = confirm(signing, NOW, TTL)
    assert signing == Signing(Phase.ENDING, NOW + DS_TTL_SECONDS + PROPAGATION_SECONDS, (OLD,))
    assert signing.cds(APEX) == (DELETE_CDS,)
    assert signing.at(signing.due - 1).keys == (OLD,)
    assert signing.at(signing.due) is UNSIGNED
    assert switch_off(UNSIGNED) is UNSIGNED


@pytest.mark.parametrize("phase", [Phase.WITHDRAWING, Phase.ENDING])
def test_an_owner_who_changes_his_mind_keeps_his_key(phase: Phase) -> None:
    due = NOW + 5 if phase is Phase.ENDING else 0
    assert switch_on(Signing(phase, due, (OLD,)), NEW, NOW, TTL) == SIGNED
    # The parent may still name either key.
    assert switch_on(Signing(phase, due, BOTH), NEW, NOW, TTL) == Signing(Phase.REPLACING, 0, BOTH)


@pytest.mark.parametrize(
    ("phase", "keys"),
    [(Phase.PUBLISHING, (OLD,)), (Phase.REPLACING, BOTH), (Phase.RETIRING, BOTH)],
)
def test_switching_off_amid_a_rollover_keeps_every_key_that_is_needed(
    phase: Phase, keys: tuple[ZoneKey, ...]
) -> None:
    before = Signing(phase, 7, BOTH)
    signing = switch_off(before)
    assert signing == Signing(Phase.WITHDRAWING, 0, keys)
    assert signing.data_key == before.data_key


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.SIGNED])
def test_a_rollover_begins_only_from_rest(phase: Phase) -> None:
    with pytest.raises(NotNow):
        roll(Signing(phase, 0, (OLD,)), NEW, NOW)


@pytest.mark.parametrize(
    "phase", [phase for phase in Phase if phase not in (Phase.REPLACING, Phase.WITHDRAWING)]
)
def test_nothing_is_confirmed_that_was_not_asked_for(phase: Phase) -> None:
    with pytest.raises(NotNow):
        confirm(Signing(phase, 0, (OLD,)), NOW, TTL)


def written(key: ZoneKey) -> str:
    """Return its DS as tools write it: the digest in two parts, and in lower case."""
    tag, algorithm, digest_type, digest = str(key.ds(APEX)).split()
    return f"{tag} {algorithm} {digest_type} {digest[:40].lower()} {digest[40:].lower()}"


def test_a_parent_has_done_its_part_when_only_the_new_keys_ds_is_left() -> None:
    waiting = Signing(Phase.REPLACING, 0, BOTH)
    assert waiting.waits_for_parent
    assert waiting.fulfilled(APEX, [str(NEW.ds(APEX))])
    assert waiting.fulfilled(APEX, [written(NEW), f"{NEW.tag} 13 4 {'ab' * 48}"])
    for found in (
        [],
        [written(OLD)],
        [written(OLD), written(NEW)],
        [f"{NEW.tag} 13 4 {'ab' * 48}"],
        [f"{NEW.tag} 13 2 {'ab' * 32}"],
        [written(NEW), f"{OLD.tag} 13 4 {'ab' * 48}"],
    ):
        assert not waiting.fulfilled(APEX, found), found
    leaving = Signing(Phase.WITHDRAWING, 0, (OLD,))
    assert leaving.waits_for_parent
    assert leaving.fulfilled(APEX, [])
    assert not leaving.fulfilled(APEX, [written(OLD)])
    others = set(Phase) - {Phase.REPLACING, Phase.WITHDRAWING}
    assert not any(Signing(phase, 0, (OLD,)).waits_for_parent for phase in others)


@given(signings)
def test_what_is_packed_is_unpacked(signing: Signing) -> None:
    packed = signing.pack()
    assert Signing.unpack(packed) == signing
    for broken in (packed[:-1], packed + b"\0", b"\x02" + packed[1:], packed[:5]):
        with pytest.raises(ValueError, match="signing"):
            Signing.unpack(broken)


def test_unsigned_zones_take_no_room() -> None:
    assert UNSIGNED.pack() == b""
    assert Signing.unpack(b"") is UNSIGNED


@given(st.binary(min_size=64, max_size=64))
def test_tag_and_ds_are_dnspythons(public: bytes) -> None:
    key = ZoneKey(public, b"")
    theirs = dns.rdata.from_wire("IN", "DNSKEY", key.dnskey, 0, len(key.dnskey))
    assert key.tag == dns.dnssec.key_id(theirs)  # type: ignore[arg-type]
    name = dns.name.from_text("example.com.")
    ds = dns.dnssec.make_ds(name, theirs, "SHA256")
    assert str(key.ds(APEX)).lower() == ds.to_text().lower()
    assert key.cds(APEX) == ds.to_wire()
