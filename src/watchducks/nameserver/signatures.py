"""Signatures: made when they are needed, kept while they are good, and never too many at once.

A signature costs some 40 microseconds of the reactor, 23 of them in OpenSSL. What exists is asked
for again and again and signed once; names that do not exist can be asked for without end, so their
proofs are kept apart (they cannot push the others out), and the signatures made in a second are
bounded in number.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.model.seals import SealError, Seals
from watchducks.model.signing import Signing, ZoneKey, seal_context
from watchducks.nameserver.records import RRset
from watchducks.nameserver.rrsig import CDNSKEY, CDS, DNSKEY, RRSIG, rrsig

# Behind "now", so that a validator with a slow clock, or one in the wrong time zone, takes what was
# signed this moment. Costs nothing: the key was good yesterday as well.
BACKDATED_SECONDS: Final = 86_400
# How long a signature holds beyond the time for which a resolver may keep its records: for a
# validator whose clock is a day fast, and one day more in which we may use it again. Not longer: a
# failover's answer of yesterday cannot be passed off as today's for ever.
LIFETIME_SECONDS: Final = 2 * 86_400
REUSED_SECONDS: Final = 86_400
# Signatures made in the same second, as after a start, do not all end in the same second.
JITTER_SECONDS: Final = 4 * 3_600
# Some 600 octets each with key and table, so 30 MB: ten for each of 5,000 zones in use.
MAX_SIGNATURES: Final = 50_000
# Proofs about names that do not exist: enough for those that are asked for again, 3 MB.
MAX_PROOFS: Final = 5_000
# An open key takes 2.3 kB, so 23 MB; opening one takes 40 microseconds.
MAX_OPEN_KEYS: Final = 10_000
# A sixth of a core for questions by UDP, whose askers nobody knows, and as much for those by TCP.
SIGNATURES_PER_SECOND: Final = 4_000
# A key that cannot be opened is tried again this often, and reported as often.
RETRY_SECONDS: Final = 10.0

# Signed by every key there is: the DNSKEY set, so that each DS leads to it; the others, because
# whoever acts on them trusts only the key that the present DS names (RFC 7344 section 4.1).
_BY_EVERY_KEY: Final = frozenset({DNSKEY, CDS, CDNSKEY})


class CannotSign(Exception):
    """The zone's keys cannot be opened: SERVFAIL, for an unsigned answer would be bogus."""


class TooManySignatures(Exception):
    """Enough were made this second: the asker is to come by TCP, or later."""


class Allowance:
    """So many signatures a second, and at most one second's saved up."""

    def __init__(self, per_second: int, now: float) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._counted = now

    def take(self, now: float) -> bool:
        """Return whether one more is allowed."""
        most = float(self._per_second)
        self._left = min(most, self._left + (now - self._counted) * most)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Signatures:
    """Makes and keeps the signatures of all zones; on the reactor's thread.

    :param clock: its seconds are POSIX seconds.
    """

    _log = Logger()

    def __init__(
        self, seals: Seals, *, clock: IReactorTime, per_second: int = SIGNATURES_PER_SECOND
    ) -> None:
        self._seals = seals
        self._clock = clock
        now = clock.seconds()
        self._allowances = {True: Allowance(per_second, now), False: Allowance(per_second, now)}
        self._kept: dict[tuple[bytes, bytes, RRset], tuple[float, bytes]] = {}
        self._proofs: dict[tuple[bytes, bytes, RRset], tuple[float, bytes]] = {}
        self._keys: OrderedDict[bytes, EllipticCurvePrivateKey] = OrderedDict()
        # By public key: when it could not be opened.
        self._closed: dict[bytes, float] = {}
        self._reported: float | None = None

    def over(
        self,
        owner: bytes,
        rrset: RRset,
        apex: bytes,
        signing: Signing,
        *,
        datagram: bool,
        lasting: bool = True,
    ) -> RRset:
        """Return the RRSIG records over ``rrset`` at ``owner``.

        :param signing: that of the zone ``apex``, as it is now.
        :param lasting: false for a name that does not stand in the zone, of which there are many.
        :raises CannotSign: the zone's keys cannot be opened.
        :raises TooManySignatures: it is not kept, and no more are made in this second.
        """
        keys = signing.keys if rrset.type in _BY_EVERY_KEY else (signing.data_key,)
        kept = self._kept if lasting else self._proofs
        now = self._clock.seconds()
        rdatas = []
        for key in keys:
            entry = key.public, owner, rrset
            found = kept.get(entry)
            if found is None or found[0] <= now:
                found = self._made(owner, rrset, apex, key, now, datagram=datagram)
                if entry not in kept and len(kept) >= (MAX_SIGNATURES if lasting else MAX_PROOFS):
                    del kept[next(iter(kept))]
                kept[entry] = found
            rdatas.append(found[1])
        return RRset(RRSIG, rrset.ttl, tuple(rdatas))

    def _made(
        self, owner: bytes, rrset: RRset, apex: bytes, key: ZoneKey, now: float, *, datagram: bool
    ) -> tuple[float, bytes]:
        private = self._opened(apex, key, now)
        if not self._allowances[datagram].take(now):
            raise TooManySignatures
        earlier = zlib.crc32(owner) % JITTER_SECONDS
        signature = rrsig(
            owner,
            rrset,
            apex,
            key,
            private,
            inception=int(now) - BACKDATED_SECONDS,
            expiration=int(now) + LIFETIME_SECONDS + rrset.ttl - earlier,
        )
        return now + REUSED_SECONDS - earlier, signature

    def _opened(self, apex: bytes, key: ZoneKey, now: float) -> EllipticCurvePrivateKey:
        private = self._keys.get(key.public)
        if private is not None:
            return private
        failed = self._closed.get(key.public)
        if failed is not None and now < failed + RETRY_SECONDS:
            raise CannotSign
        try:
            private = self._open(apex, key)
        except SealError as error:
            if len(self._closed) >= MAX_OPEN_KEYS:
                self._closed.clear()
            self._closed[key.public] = now
            self._report(error, now)
            raise CannotSign from error
        self._closed.pop(key.public, None)
        if len(self._keys) >= MAX_OPEN_KEYS:
            self._keys.popitem(last=False)
        self._keys[key.public] = private
        return private

    def _open(self, apex: bytes, key: ZoneKey) -> EllipticCurvePrivateKey:
        number = int.from_bytes(self._seals.unseal(key.sealed, seal_context(apex)))
        try:
            private = derive_private_key(number, SECP256R1())
        except ValueError as error:
            raise SealError("what was sealed is no private key") from error
        numbers = private.public_key().public_numbers()
        if numbers.x.to_bytes(32) + numbers.y.to_bytes(32) != key.public:
            raise SealError("a private key does not belong to the public one beside it")
        return private

    def _report(self, error: SealError, now: float) -> None:
        if self._reported is None or now - self._reported >= RETRY_SECONDS:
            self._reported = now
            self._log.error("signed zones are answered with SERVFAIL: {error}", error=str(error))
