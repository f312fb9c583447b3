"""Signing: how far a zone's DNSSEC has come, and which of its keys do what. Pure.

A zone has one key, which signs everything and is what the parent's DS names (RFC 6781 section 3.1:
a single-type signing scheme), and during a rollover a second one. All are ECDSA P-256 (RFC 6605).
What is stored is a phase and, where the next one comes by time alone, the moment; so every name
server finds the same phase by its own clock, whether or not it reaches the registry:

===========  =====  ===========  ========  ====================================================
phase        keys   data signed  CDS       ends
===========  =====  ===========  ========  ====================================================
off          none                          when the owner switches DNSSEC on
beginning    1      by it        none      by time: nobody holds an unsigned answer of before
signed       1      by it        its own   when the owner rolls the keys, or switches off
publishing   1, 2   by 1         of 1      by time: nobody holds a DNSKEY set without 2
replacing    1, 2   by 2         of 2      when the parent has the DS of 2, and no other
retiring     1, 2   by 2         of 2      by time: nobody holds the DS of 1, or what 1 signed
withdrawing  1 (2)  by the last  "delete"  when the parent has no DS any more
ending       1 (2)  by the last  "delete"  by time: nobody holds the DS
===========  =====  ===========  ========  ====================================================

``beginning`` becomes ``signed``, ``publishing`` ``replacing``, ``retiring`` ``signed`` with the
second key alone, and ``ending`` ``off``. The DNSKEY set is signed by every key in it. "Delete" is
RFC 8078 section 4; the order (first the DS goes, then the signatures) is what keeps a zone from
being bogus: an unsigned zone below a DS is an error for everybody who validates.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

# ECDSA P-256 with SHA-256 (RFC 6605): what RFC 8624 recommends for signing, every validator knows
# it, and its signatures are a quarter of RSA's.
ALGORITHM: Final = 13
# A zone key that is also a secure entry point (RFC 4034 section 2.1.1, RFC 3757): "257".
KEY_FLAGS: Final = 257
_PROTOCOL: Final = 3
_SHA256: Final = 2
PUBLIC_KEY_OCTETS: Final = 64

# The records of the apex: DNSKEY, CDS and CDNSKEY. An hour, like SOA and NS: a rollover waits for
# it, and every resolver asks for them that often.
DNSKEY_TTL_SECONDS: Final = 3_600
# How long some resolver may hold a DS: a day is what .com, .org and .kr give theirs, and no
# registry is known to give more than two.
DS_TTL_SECONDS: Final = 172_800
# How late one of our name servers may act: those that reach the registry follow within seconds, and
# give answers that they have ready for ten minutes. The rest is for one that is cut off from the
# registry for an hour or so while its owner is at work.
PROPAGATION_SECONDS: Final = 7_200

# Version of the packed form; what a later version wrote is not guessed at.
_FORMAT: Final = 1
_HEAD: Final = struct.Struct("!BBQB")
_KEY: Final = struct.Struct(f"!{PUBLIC_KEY_OCTETS}sH")
# The one, and its successor.
MAX_KEYS: Final = 2


def apex_name(zone: str) -> bytes:
    """Return the wire name (RFC 1035 section 3.1) of a zone, written in lower-case A-labels."""
    labels = zone.encode("ascii").split(b".")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def seal_context(apex: bytes) -> bytes:
    """Return what a zone's private keys are sealed for, by the zone's wire name."""
    return b"zone key of " + apex


class Phase(Enum):
    """See the table of this module. The numbers are stored."""

    OFF = 0
    BEGINNING = 1
    SIGNED = 2
    PUBLISHING = 3
    REPLACING = 4
    RETIRING = 5
    WITHDRAWING = 6
    ENDING = 7


# What comes by time.
_NEXT: Final = {
    Phase.BEGINNING: Phase.SIGNED,
    Phase.PUBLISHING: Phase.REPLACING,
    Phase.RETIRING: Phase.SIGNED,
    Phase.ENDING: Phase.OFF,
}
# In these the DS of the key in CDS is what the parent should have.
_DS_WANTED: Final = frozenset({Phase.SIGNED, Phase.PUBLISHING, Phase.REPLACING, Phase.RETIRING})
_DS_UNWANTED: Final = frozenset({Phase.WITHDRAWING, Phase.ENDING})


class Ds(NamedTuple):
    """What a parent's DS record says (RFC 4034 section 5.1) of a key of ours."""

    key_tag: int
    digest: bytes

    @property
    def algorithm(self) -> int:
        return ALGORITHM

    @property
    def digest_type(self) -> int:
        return _SHA256

    def __str__(self) -> str:
        return f"{self.key_tag} {self.algorithm} {self.digest_type} {self.digest.hex().upper()}"


@dataclass(frozen=True, slots=True)
class ZoneKey:
    """:ivar public: the 64 octets of the public key (RFC 6605 section 4).
    :ivar sealed: the private key, as :mod:`watchducks.registry.sealing` closed it."""

    public: bytes
    sealed: bytes

    @property
    def dnskey(self) -> bytes:
        """The RDATA of its DNSKEY record."""
        return struct.pack("!HBB", KEY_FLAGS, _PROTOCOL, ALGORITHM) + self.public

    @property
    def tag(self) -> int:
        """The key tag (RFC 4034 appendix B)."""
        total: int = sum(struct.unpack(f"!{(PUBLIC_KEY_OCTETS + 4) // 2}H", self.dnskey))
        return (total + (total >> 16)) & 0xFFFF

    def ds(self, apex: bytes) -> Ds:
        """Return its DS for the zone with this wire name (lower case)."""
        return Ds(self.tag, hashlib.sha256(apex + self.dnskey).digest())

    def cds(self, apex: bytes) -> bytes:
        """Return the RDATA of its CDS record (RFC 7344 section 3.1)."""
        tag, digest = self.ds(apex)
        return struct.pack("!HBB", tag, ALGORITHM, _SHA256) + digest


# RFC 8078 section 4, as its erratum 5049 has it: "delete the DS set".
DELETE_CDS: Final = bytes((0, 0, 0, 0, 0))
DELETE_CDNSKEY: Final = bytes((0, 0, _PROTOCOL, 0, 0))


@dataclass(frozen=True, slots=True)
class Signing:
    """:ivar due: POSIX seconds at which the next phase comes by itself; 0: it does not.
    :ivar keys: the older one first."""

    phase: Phase = Phase.OFF
    due: int = 0
    keys: tuple[ZoneKey, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether the owner wants the zone to be signed."""
        return self.phase is not Phase.OFF and self.phase not in _DS_UNWANTED

    def at(self, now: float) -> Signing:
        """Return what this has become by ``now`` (POSIX seconds)."""
        if not self.due or now < self.due:
            return self
        following = _NEXT[self.phase]
        if following is Phase.OFF:
            return UNSIGNED
        keys = self.keys[-1:] if self.phase is Phase.RETIRING else self.keys
        return Signing(following, 0, keys)

    @property
    def data_key(self) -> ZoneKey:
        """The key that signs everything but the DNSKEY set, which all of them sign."""
        return self.keys[0] if self.phase is Phase.PUBLISHING else self.keys[-1]

    def wanted_ds(self, apex: bytes) -> tuple[Ds, ...]:
        """Return the DS set that the parent should have now; empty: none."""
        return (self.data_key.ds(apex),) if self.phase in _DS_WANTED else ()

    def own_ds(self, apex: bytes) -> tuple[str, ...]:
        """Return the DS of every key of ours: while keys are changed, or while signing ends, the
        parent may have any of them."""
        return tuple(str(key.ds(apex)) for key in self.keys)

    @property
    def waits_for_parent(self) -> bool:
        """Whether the next phase comes when the parent has :meth:`wanted_ds`."""
        return self.phase in (Phase.REPLACING, Phase.WITHDRAWING)

    def fulfilled(self, apex: bytes, found: Sequence[str]) -> bool:
        """Whether a parent with these DS records, as zone files write them, has what it should.

        Other digests of the same key do no harm.
        """
        wanted = self.wanted_ds(apex)
        # A digest may be written in pieces, and in either case.
        fields = [text.upper().split() for text in found]
        texts = {" ".join((*one[:3], "".join(one[3:]))) for one in fields}
        tags = {one[0] for one in fields}
        return tags == {str(ds.key_tag) for ds in wanted} and {str(ds) for ds in wanted} <= texts

    def cds(self, apex: bytes) -> tuple[bytes, ...]:
        """Return the RDATAs of the CDS records (RFC 7344; RFC 8078)."""
        if self.phase in _DS_UNWANTED:
            return (DELETE_CDS,)
        return (self.data_key.cds(apex),) if self.phase in _DS_WANTED else ()

    def cdnskey(self) -> tuple[bytes, ...]:
        """Return the RDATAs of the CDNSKEY records, which say the same."""
        if self.phase in _DS_UNWANTED:
            return (DELETE_CDNSKEY,)
        return (self.data_key.dnskey,) if self.phase in _DS_WANTED else ()

    # --- how stores keep it ---------------------------------------------------------------------

    def pack(self) -> bytes:
        """Return the form in which stores keep it; empty for a zone that is not signed."""
        if self == UNSIGNED:
            return b""
        parts = [_HEAD.pack(_FORMAT, self.phase.value, self.due, len(self.keys))]
        for key in self.keys:
            parts += (_KEY.pack(key.public, len(key.sealed)), key.sealed)
        return b"".join(parts)

    @classmethod
    def unpack(cls, packed: bytes) -> Signing:
        """Return what :meth:`pack` was given; all unsigned zones share one object.

        :raises ValueError: this was not packed by us, or by a later version.
        """
        if not packed:
            return UNSIGNED
        try:
            version, phase, due, count = _HEAD.unpack_from(packed)
            if version != _FORMAT:
                raise ValueError(f"a zone's signing has format {version}, and we know {_FORMAT}")
            keys, start = [], _HEAD.size
            for _ in range(count):
                public, length = _KEY.unpack_from(packed, start)
                start += _KEY.size + length
                keys.append(ZoneKey(public, packed[start - length : start]))
        except struct.error as error:
            raise ValueError("this is no zone's signing") from error
        signing = cls(Phase(phase), due, tuple(keys))
        if start != len(packed) or not 1 <= count <= MAX_KEYS or signing.phase is Phase.OFF:
            raise ValueError("this is no zone's signing")
        return signing


UNSIGNED: Final = Signing()


# --- what the owner and the parent do -------------------------------------------------------------


class NotNow(Exception):
    """The step does not fit the phase; nothing is changed."""


def switch_on(signing: Signing, key: ZoneKey, now: int, ttl: int) -> Signing:
    """Begin to sign with ``key``, or go back to signing while it was about to end.

    :param signing: as it is at ``now``.
    :param ttl: the largest of the zone, in seconds: what was answered unsigned lives that long.
    """
    if signing.phase is Phase.OFF:
        return Signing(Phase.BEGINNING, now + ttl + PROPAGATION_SECONDS, (key,))
    if signing.wanted:
        return signing
    # It was signed all the time. With two keys nobody knows which of them the parent's DS named.
    return Signing(Phase.REPLACING if len(signing.keys) > 1 else Phase.SIGNED, 0, signing.keys)


def switch_off(signing: Signing) -> Signing:
    """Ask the parent to remove its DS; signatures stay until that is done."""
    if not signing.wanted:
        return signing
    # A key that is not yet used for anything is dropped at once.
    keys = signing.keys[:1] if signing.phase is Phase.PUBLISHING else signing.keys
    return Signing(Phase.WITHDRAWING, 0, keys)


def roll(signing: Signing, key: ZoneKey, now: int) -> Signing:
    """Begin to replace the zone's key by ``key``.

    :raises NotNow: the zone is not signed, or on its way somewhere else.
    """
    if signing.phase is not Phase.SIGNED:
        raise NotNow
    due = now + DNSKEY_TTL_SECONDS + PROPAGATION_SECONDS
    return Signing(Phase.PUBLISHING, due, (*signing.keys, key))


def confirm(signing: Signing, now: int, ttl: int) -> Signing:
    """The parent has the DS set that was asked for: the new key's alone, or none.

    :param ttl: the largest of the zone, in seconds.
    :raises NotNow: nothing was asked of the parent that has to be waited for.
    """
    if signing.phase is Phase.REPLACING:
        due = now + max(DS_TTL_SECONDS, ttl) + PROPAGATION_SECONDS
        return replace(signing, phase=Phase.RETIRING, due=due)
    if signing.phase is Phase.WITHDRAWING:
        due = now + DS_TTL_SECONDS + PROPAGATION_SECONDS
        return replace(signing, phase=Phase.ENDING, due=due)
    raise NotNow
