"""Where an address leads, and where that name leads back: for those who check both."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdatatype
import dns.reversename
from dns.rdtypes.ANY.PTR import PTR

from watchducks.lookups.client import LookupFailed
from watchducks.lookups.resolver import Resolver, follow
from watchducks.model.origins import Address


class ReverseLookUps:
    """Asks the recursive resolvers. Both methods raise LookupError if nobody can tell."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def names_of(self, address: Address) -> list[str]:
        """Return where an address leads: lower case, without final dot; none: nowhere."""
        name = dns.reversename.from_address(str(address))
        try:
            response = await self._resolver.ask(name, dns.rdatatype.PTR)
        except LookupFailed as error:
            raise LookupError(str(error)) from error
        found = follow(response.answer, name, dns.rdatatype.PTR)
        return [
            record.rdata.target.to_text(omit_final_dot=True).lower()
            for record in found
            if isinstance(record.rdata, PTR)
        ]

    async def addresses_of(self, name: str) -> tuple[Address, ...]:
        """Return where a name leads; none: nowhere."""
        try:
            found, _ = await self._resolver.addresses(dns.name.from_text(name))
        except (LookupFailed, dns.exception.DNSException) as error:
            raise LookupError(str(error)) from error
        return found
