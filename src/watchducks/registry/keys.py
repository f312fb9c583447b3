"""Zone keys: made, sealed at once, and moved from phase to phase as their owner asks.

The rules of the phases are in :mod:`watchducks.model.signing`; here they meet what makes keys and
tells the time. A private key is open only within :meth:`ZoneKeys.make`, and on the name servers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.signing import (
    DNSKEY_TTL_SECONDS,
    NotNow,
    Phase,
    Signing,
    ZoneKey,
    apex_name,
    confirm,
    roll,
    seal_context,
    switch_off,
    switch_on,
)
from watchducks.model.sites import Site

_COORDINATE_OCTETS: Final = 32


class KeyStep(StrEnum):
    """What an owner asks for beside switching on and off."""

    ROLL = "roll"
    CONFIRM = "confirm"


class ZoneKeys:
    """For any thread.

    :param seal: closes a secret for a context, and raises :class:`SealError` if it cannot.
    :param ttl: seconds, of the records that the name servers make themselves.
    :param now: gives POSIX seconds.
    """

    def __init__(
        self, seal: Callable[[bytes, bytes], bytes], *, ttl: int, now: Callable[[], float]
    ) -> None:
        self._seal = seal
        self._ttl = max(ttl, DNSKEY_TTL_SECONDS)
        self._now = now

    def make(self, zone: str) -> ZoneKey:
        """Return a new key of this zone. Blocks.

        :raises SealError: it cannot be sealed.
        """
        private = generate_private_key(SECP256R1())
        numbers = private.private_numbers()
        public = numbers.public_numbers
        secret = numbers.private_value.to_bytes(_COORDINATE_OCTETS)
        return ZoneKey(
            public.x.to_bytes(_COORDINATE_OCTETS) + public.y.to_bytes(_COORDINATE_OCTETS),
            self._seal(secret, seal_context(apex_name(zone))),
        )

    def switched(self, site: Site, *, on: bool) -> Signing:
        """Return how the site's zone is signed after its owner switched DNSSEC on or off. Blocks.

        :raises SealError: the key that is needed cannot be sealed.
        """
        now = int(self._now())
        before = site.signing.at(now)
        if not on:
            return switch_off(before)
        if before.wanted:
            return before
        return switch_on(before, self.make(site.zone), now, self._longest_ttl(site))

    def stepped(self, site: Site, step: KeyStep) -> Signing:
        """Return how the site's zone is signed after ``step``. Blocks.

        :raises InvalidFields: the step does not fit what the zone's keys are at.
        :raises SealError: the key that is needed cannot be sealed.
        """
        now = int(self._now())
        before = site.signing.at(now)
        try:
            if step is KeyStep.CONFIRM:
                return confirm(before, now, self._longest_ttl(site))
            if before.phase is not Phase.SIGNED:
                raise NotNow
            return roll(before, self._successor(site), now)
        except NotNow:
            problem = Problem(
                "not-now", "This does not fit the phase “{phase}”.", phase=before.phase.name.lower()
            )
            raise InvalidFields({"step": problem}) from None

    def _successor(self, site: Site) -> ZoneKey:
        """Return a new key that differs from the present one in its tag as well: the parent's DS
        then says by its number whose it is."""
        present = {key.tag for key in site.signing.keys}
        while True:  # once in 65,536 rollovers it is made twice
            key = self.make(site.zone)
            if key.tag not in present:
                return key

    def _longest_ttl(self, site: Site) -> int:
        """Return for how long, in seconds, an answer of the site's zone may be remembered."""
        return max((self._ttl, *(record.ttl for record in site.contents.records)))
